/* The element-wise work of a decoder-only language model, one row per call: RMSNorm, gated units, rotary positions. */
#ifndef TSLREC_LLM_ELEMENTWISE_H
#define TSLREC_LLM_ELEMENTWISE_H

#include <math.h>
#include <stddef.h>

#include "dispatch.h"
#include "exponential.h"

/* SiLU and GELU (in its tanh approximation) are both x * sigmoid(z) with z = x * (linear + cubic * x^2):
 * (1 + tanh(u)) / 2 is sigmoid(2u). x is cut at -100 and 100 where only z and its derivative need it: there the
 * sigmoid has reached 0 or 1, and nothing overflows. */
#define TSLREC_CUT 100.0f

static inline float tslrec_exp_minus_z(float cut, float linear, float cubic) {
    return tslrec_exp(tslrec_clamp(-cut * (linear + cubic * cut * cut), -87.0f, 87.0f));
}

/* out = activation(gate) * up. */
TSLREC_CLONES
static void tslrec_gated(const float *restrict gate, const float *restrict up, float *restrict out, ptrdiff_t n,
                         float linear, float cubic) {
    for (ptrdiff_t j = 0; j < n; j++) {
        const float x = gate[j] < -TSLREC_CUT ? -TSLREC_CUT : gate[j];
        const float e = tslrec_exp_minus_z(x > TSLREC_CUT ? TSLREC_CUT : x, linear, cubic);
        out[j] = x / (1.0f + e) * up[j];
    }
}

TSLREC_CLONES
static void tslrec_gated_gradient(const float *restrict d_out, const float *restrict gate, const float *restrict up,
                                  float *restrict d_gate, float *restrict d_up, ptrdiff_t n, float linear,
                                  float cubic) {
    for (ptrdiff_t j = 0; j < n; j++) {
        const float x = gate[j] < -TSLREC_CUT ? -TSLREC_CUT : gate[j];
        const float cut = x > TSLREC_CUT ? TSLREC_CUT : x;
        const float e = tslrec_exp_minus_z(cut, linear, cubic);
        const float sigmoid = 1.0f / (1.0f + e);
        const float slope = cut * (linear + 3.0f * cubic * cut * cut); /* x dz/dx */
        d_gate[j] = d_out[j] * up[j] * sigmoid * (1.0f + slope * (e * sigmoid)); /* e * sigmoid = 1 - sigmoid */
        d_up[j] = d_out[j] * x * sigmoid;
    }
}

/* out = x / rms(x) * weight; returns 1 / rms(x). */
TSLREC_CLONES
static float tslrec_rms_norm(const float *restrict x, const float *restrict weight, float *restrict out, ptrdiff_t n,
                             float eps) {
    float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
    for (ptrdiff_t j = 0; j < n; j++)
        squares += x[j] * x[j];
    const float inverse = 1.0f / sqrtf(squares / (float)n + eps);
    for (ptrdiff_t j = 0; j < n; j++)
        out[j] = x[j] * inverse * weight[j];
    return inverse;
}

TSLREC_CLONES
static void tslrec_rms_norm_gradient(const float *restrict d_out, const float *restrict x,
                                     const float *restrict weight, float inverse, float *restrict d_x, ptrdiff_t n) {
    float product = 0.0f;
#pragma omp simd reduction(+ : product)
    for (ptrdiff_t j = 0; j < n; j++)
        product += d_out[j] * weight[j] * x[j];
    const float along = product * inverse * inverse / (float)n; /* what rescaling x would change of the loss */
    for (ptrdiff_t j = 0; j < n; j++)
        d_x[j] = (d_out[j] * weight[j] - x[j] * along) * inverse;
}

/* Turn the pairs (x[j], x[j + half]) of one head by the angles whose cosines and sines are given. */
TSLREC_CLONES
static void tslrec_rotate(const float *restrict x, const float *restrict cosines, const float *restrict sines,
                          float direction, float *restrict out, ptrdiff_t half) {
    for (ptrdiff_t j = 0; j < half; j++) {
        const float cosine = cosines[j], sine = direction * sines[j];
        const float first = x[j], second = x[j + half];
        out[j] = first * cosine - second * sine;
        out[j + half] = second * cosine + first * sine;
    }
}

#endif
