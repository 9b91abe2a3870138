/* A causal filter of sequences that lie end to end; _causal_filter.pyx calls it. */
#ifndef TSLREC_FILTER_KERNELS_H
#define TSLREC_FILTER_KERNELS_H

#include <stddef.h>

/* Row t of a sequence becomes y + keep * (x - y), y the filtered row: with the reach N
 *
 *     y[t] = sum over lags l of weights[l] * x[t - l]     or, backwards,     sum of weights[l] * x[t + l]
 *
 * Backwards is the transposed map. So the gradient by x is the same with that by the output in place of x; and that by
 * `keep` is the sum of x[t] * (g[t] - y[t]), where y is made of the gradient g. */
typedef struct {
    ptrdiff_t width;
    int backwards;
    const float *weights; /* from lag 0 on; before it are FILTER_PADDING zeros, after the last lag as many numbers */
    const float *keep;    /* [width] */
    const float *values;  /* [T, width]: x, or the gradient */
    float *out;           /* [T, width] */
    const float *states;  /* backwards: [T, width], the x of the forward pass */
    float *d_keep;        /* backwards: [B, width], the sum of each sequence */
} filter_args;

/* A row of a register tile may lie this far beyond the sequence. */
#define FILTER_PADDING 8

/* `workspace`: how many numbers of work space a thread needs for sequences of at most `longest` tokens. `run` filters
 * sequence number `sequence`, `length` rows from `begin` on; its result depends on nothing else. */
typedef struct {
    ptrdiff_t (*workspace)(ptrdiff_t longest, ptrdiff_t width);
    void (*run)(const filter_args *args, ptrdiff_t sequence, ptrdiff_t begin, ptrdiff_t length, float *workspace);
} filter_kernel;

extern const filter_kernel *const filter_kernels[]; /* in the order of INSTRUCTION_SETS in dispatch.h */

#endif
