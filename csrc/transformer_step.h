/* The work of a transformer's training step between its matrix products, one token's row per call. */
#ifndef TSLREC_TRANSFORMER_STEP_H
#define TSLREC_TRANSFORMER_STEP_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "dispatch.h"
#include "dropout.h"
#include "exponential.h"

/* out = (x - mean) / deviation * weight + bias; returns 1 / deviation, and the mean by its address. */
TSLREC_CLONES
static float tslrec_layer_norm(const float *restrict x, const float *restrict weight, const float *restrict bias,
                               float *restrict out, float *mean, ptrdiff_t n, float eps) {
    float sum = 0.0f, squares = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (ptrdiff_t j = 0; j < n; j++)
        sum += x[j];
    const float centre = sum / (float)n;
#pragma omp simd reduction(+ : squares)
    for (ptrdiff_t j = 0; j < n; j++)
        squares += (x[j] - centre) * (x[j] - centre);
    const float inverse = 1.0f / sqrtf(squares / (float)n + eps);
    for (ptrdiff_t j = 0; j < n; j++)
        out[j] = (x[j] - centre) * inverse * weight[j] + bias[j];
    *mean = centre;
    return inverse;
}

/* d_x = the gradient by x, plus `past`, the gradient that does not pass through the norm; adds to those of the weight
 * and the bias. */
TSLREC_CLONES
static void tslrec_layer_norm_gradient(const float *restrict d_out, const float *restrict x,
                                       const float *restrict weight, float mean, float inverse,
                                       const float *restrict past, float *restrict d_x, float *restrict d_weight,
                                       float *restrict d_bias, ptrdiff_t n) {
    float sum = 0.0f, along = 0.0f;
#pragma omp simd reduction(+ : sum, along)
    for (ptrdiff_t j = 0; j < n; j++) {
        const float by_unit = d_out[j] * weight[j];
        sum += by_unit;
        along += by_unit * ((x[j] - mean) * inverse);
    }
    sum /= (float)n;
    along /= (float)n;
    for (ptrdiff_t j = 0; j < n; j++) {
        const float unit = (x[j] - mean) * inverse;
        d_weight[j] += d_out[j] * unit;
        d_bias[j] += d_out[j];
        d_x[j] = (d_out[j] * weight[j] - sum - unit * along) * inverse + past[j];
    }
}

/* The normal distribution's function at x; *power is e^(-x^2 / 2). erfc: Abramowitz and Stegun, formula 7.1.26, whose
 * error is at most 1.5e-7, about one rounding of a float32 near 1. */
static inline float tslrec_normal(float x, float *power) {
    const float cut = tslrec_clamp(x, -13.0f, 13.0f); /* beyond, the exponential leaves the normal numbers */
    const float e = tslrec_exp(-0.5f * cut * cut), z = 0.70710678f * (cut < 0.0f ? -cut : cut);
    const float t = 1.0f / (1.0f + 0.3275911f * z);
    float sum = 1.061405429f;
    sum = sum * t - 1.453152027f;
    sum = sum * t + 1.421413741f;
    sum = sum * t - 0.284496736f;
    sum = sum * t + 0.254829592f;
    const float tail = 0.5f * (sum * t * e);
    *power = e;
    return cut < 0.0f ? tail : 1.0f - tail;
}

/* out = GELU(x + bias). */
TSLREC_CLONES
static void tslrec_gelu(const float *restrict x, const float *restrict bias, float *restrict out, ptrdiff_t n) {
    for (ptrdiff_t j = 0; j < n; j++) {
        float power;
        const float value = x[j] + bias[j];
        out[j] = value * tslrec_normal(value, &power);
    }
}

/* The gradient by x in place of that by the output, added to that of the bias; out = GELU(x + bias) once more. */
TSLREC_CLONES
static void tslrec_gelu_gradient(float *restrict gradient, const float *restrict x, const float *restrict bias,
                                 float *restrict out, float *restrict d_bias, ptrdiff_t n) {
    for (ptrdiff_t j = 0; j < n; j++) {
        float power;
        const float value = x[j] + bias[j], share = tslrec_normal(value, &power);
        const float d_x = gradient[j] * (share + value * power * 0.39894228f);
        out[j] = value * share;
        gradient[j] = d_x;
        d_bias[j] += d_x;
    }
}

/* out = states + dropout(x + bias); the draws are those of tslrec_drop. */
TSLREC_CLONES
static void tslrec_drop_add(const float *restrict x, const float *restrict bias, const float *restrict states,
                            float *restrict out, ptrdiff_t n, uint64_t key, uint32_t threshold, float scale) {
    const uint32_t low = (uint32_t)key, high = (uint32_t)(key >> 32);
    for (ptrdiff_t j = 0; j < n; j++) {
        const uint32_t word = tslrec_mix32(tslrec_mix32((uint32_t)j + low) ^ high);
        const float kept = (x[j] + bias[j]) * scale;
        out[j] = states[j] + (word >= threshold ? kept : 0.0f);
    }
}

/* out = the gradient by dropout's input, added to that of the bias. */
TSLREC_CLONES
static void tslrec_drop_gradient(const float *restrict gradient, float *restrict out, float *restrict d_bias,
                                 ptrdiff_t n, uint64_t key, uint32_t threshold, float scale) {
    const uint32_t low = (uint32_t)key, high = (uint32_t)(key >> 32);
    for (ptrdiff_t j = 0; j < n; j++) {
        const uint32_t word = tslrec_mix32(tslrec_mix32((uint32_t)j + low) ^ high);
        const float kept = word >= threshold ? gradient[j] * scale : 0.0f;
        out[j] = kept;
        d_bias[j] += kept;
    }
}

/* The key of a token's elements: those of its row of the batch begin at element `first`. */
static inline uint64_t tslrec_drop_from(uint64_t row_key, uint64_t first) {
    return (row_key & ~(uint64_t)0xffffffffU) | (uint32_t)((uint32_t)row_key + (uint32_t)first);
}

#endif
