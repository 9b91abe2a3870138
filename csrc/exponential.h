/* e^x for loops that become vector code. */
#ifndef TSLREC_EXPONENTIAL_H
#define TSLREC_EXPONENTIAL_H

#include <stdint.h>
#include <string.h>

static inline float tslrec_clamp(float x, float low, float high) {
    x = x < low ? low : x; /* not fminf, fmaxf: NaN stays NaN */
    return x > high ? high : x;
}

/* e^x for |x| <= 87, where neither it nor its inverse leaves float32's normal numbers. Without a library call or a
 * branch, so that loops around it become vector code. e^x = 2^n e^r with |r| <= ln(2) / 2, where seven terms of the
 * Taylor series are left out by less than 1e-8. */
static inline float tslrec_exp(float x) {
    const float shift = 12582912.0f; /* 1.5 * 2^23: its sum with a small number is rounded to a whole number */
    const float shifted = x * 1.44269504f + shift;
    const float n = shifted - shift;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* ln(2) in two parts; the first product is exact */
    float sum = 1.0f / 5040;
    sum = sum * r + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    uint32_t word;
    float power;
    memcpy(&word, &shifted, sizeof word);
    word = (word << 23) + 0x3f800000U; /* n's low bits, moved to the exponent */
    memcpy(&power, &word, sizeof power);
    return sum * power;
}

#endif
