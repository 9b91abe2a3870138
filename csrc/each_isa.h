/* Compiles the header ISA_SOURCE once per instruction set of dispatch.h. It is included again for each type of number.
 *
 * Defined for it: ISA (name of the set), TARGET (attribute of functions that may use it), VECTOR_BYTES (0: no vector
 * extensions) and NAME(x): x with the type and the set as a suffix, such as kernel_float_avx2. The includer defines
 * NUMBER, the type. ISA_SOURCE undefines the first three at its end.
 */
#ifndef NAME
#define JOINED(x, number, isa) x##_##number##_##isa
#define EXPANDED(x, number, isa) JOINED(x, number, isa)
#define NAME(x) EXPANDED(x, NUMBER, ISA)
#endif

#define TARGET
#define ISA scalar
#define VECTOR_BYTES 0
#include ISA_SOURCE

#ifdef __GNUC__
#define TARGET
#define ISA vector
#define VECTOR_BYTES 16
#include ISA_SOURCE
#endif

#if defined(__GNUC__) && defined(__x86_64__)
#define TARGET __attribute__((target("avx2,fma")))
#define ISA avx2
#define VECTOR_BYTES 32
#include ISA_SOURCE

#define TARGET __attribute__((target("avx512f,fma")))
#define ISA avx512
#define VECTOR_BYTES 64
#include ISA_SOURCE
#endif
