/* Dropout without a stored mask: whether element j of a row is kept is a hash of the row's key and j. */
#ifndef TSLREC_DROPOUT_H
#define TSLREC_DROPOUT_H

#include <stddef.h>
#include <stdint.h>

#include "dispatch.h"

/* A bijection of 32-bit words with full avalanche: the two-round multiply-xorshift finaliser with the
 * constants of Wellons' hash-prospector ("lowbias32"). 32-bit lanes, unlike the 64-bit generator of the other
 * kernels: this one runs for every element of every layer. */
static inline uint32_t tslrec_mix32(uint32_t word) {
    word ^= word >> 16;
    word *= 0x7feb352dU;
    word ^= word >> 15;
    word *= 0x846ca68bU;
    return word ^ (word >> 16);
}

/* out[j] = in[j] * scale where the hash of (key, j) is at least threshold, else 0. in may be out. */
TSLREC_CLONES
static void tslrec_drop(const float *in, float *out, ptrdiff_t n, uint64_t key, uint32_t threshold, float scale) {
    const uint32_t low = (uint32_t)key, high = (uint32_t)(key >> 32);
    for (ptrdiff_t j = 0; j < n; j++) {
        const uint32_t word = tslrec_mix32(tslrec_mix32((uint32_t)j + low) ^ high);
        out[j] = word >= threshold ? in[j] * scale : 0.0f;
    }
}

#endif
