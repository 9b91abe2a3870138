/* Causal filters: what is the same for every instruction set. filter_isa.h has the product. */

#include "filter_kernels.h"

#include <string.h>

#include "dispatch.h"

/* See attention_kernels.c. */
#define ROWS 6
#define VECTORS 2
_Static_assert(ROWS <= FILTER_PADDING, "a tile reads no weight beyond the padding");

#define NUMBER float
#define ISA_SOURCE "filter_isa.h"
#include "each_isa.h"

#define KERNEL(isa) &kernel_float_##isa
const filter_kernel *const filter_kernels[] = {INSTRUCTION_SETS(KERNEL)};
