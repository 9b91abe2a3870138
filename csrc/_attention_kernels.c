/* Attention kernels for every instruction set in one build, and their choice at run time. */

#include "_attention_kernels.h"

#include <math.h>
#include <string.h>

#include "exponential.h"

/* Rows of scores that are made at a time: the queries of some tokens, the heads that share a key head side by side.
 * A multiple of ROWS. Their scores, with gradient, stay in a second-level cache. */
#define BLOCK 96
#define PADDING 16 /* a tile of rows may reach this far beyond the keys; also keeps rows apart from powers of two */

#ifdef __GNUC__
#define NOINLINE __attribute__((noinline))
#define INLINE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#else
#define NOINLINE
#define INLINE inline
#define UNROLL
#endif

typedef struct {
    ptrdiff_t (*scratch)(ptrdiff_t longest, ptrdiff_t width);
    void (*forward)(const attention_query *query, ptrdiff_t prompt, ptrdiff_t kv_head, float *scratch);
    void (*backward)(const attention_query *query, ptrdiff_t prompt, ptrdiff_t kv_head, float *scratch);
} attention_kernel;

static inline ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b)
{
    return a < b ? a : b;
}

static inline ptrdiff_t larger(ptrdiff_t a, ptrdiff_t b)
{
    return a > b ? a : b;
}

static inline ptrdiff_t round_up(ptrdiff_t n, ptrdiff_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* One piece of work: queries of `own` tokens, which see `before` shared tokens and each other. */
typedef struct {
    const attention_query *query;
    ptrdiff_t before, begin, own, length; /* length = before + own */
    ptrdiff_t kv_head, group;             /* query heads of a key head */
} piece;

static piece piece_of(const attention_query *query, ptrdiff_t prompt, ptrdiff_t kv_head)
{
    const int is_prompt = prompt < query->n_prompts;
    piece work = {query, is_prompt ? query->shared : 0, is_prompt ? query->starts[prompt] : 0,
                  is_prompt ? query->lengths[prompt] : query->shared, 0, kv_head, query->heads / query->kv_heads};
    work.length = work.before + work.own;
    return work;
}

/* The row among the T tokens of the token at a position of the prompt. */
static inline ptrdiff_t token_at(const piece *work, ptrdiff_t position)
{
    return position < work->before ? position : work->begin + position - work->before;
}

/* Keys or values of the piece as rows of `columns` numbers, the last ones 0. */
static void pack_rows(const piece *work, const float *heads, ptrdiff_t row, ptrdiff_t columns, float *restrict packed)
{
    const ptrdiff_t width = work->query->width;
    for (ptrdiff_t position = 0; position < work->length; position++, packed += columns) {
        memcpy(packed, heads + token_at(work, position) * row + work->kv_head * width, sizeof *packed * width);
        memset(packed + width, 0, sizeof *packed * (columns - width));
    }
}

/* Keys or values in panels of `lanes` positions: panel[k * lanes + lane] = head[lane][k]; 0 beyond the last one. */
NOINLINE static void pack_panels(const piece *work, const float *heads, ptrdiff_t row, ptrdiff_t lanes,
                                 float *restrict panels)
{
    const ptrdiff_t width = work->query->width;
    for (ptrdiff_t first = 0; first < work->length; first += lanes, panels += lanes * width)
        for (ptrdiff_t lane = 0; lane < lanes; lane++) {
            const int exists = first + lane < work->length;
            const float *head = exists ? heads + token_at(work, first + lane) * row + work->kv_head * width : NULL;
            for (ptrdiff_t k = 0; k < width; k++)
                panels[k * lanes + lane] = exists ? head[k] : 0.0f;
        }
}

/* Row `index` of the piece is one token's query of one head: its place in [T, heads, ...]. */
static inline ptrdiff_t token_of(const piece *work, ptrdiff_t index)
{
    return work->begin + index / work->group;
}

static inline ptrdiff_t head_of(const piece *work, ptrdiff_t index)
{
    return work->kv_head * work->group + index % work->group;
}

static inline ptrdiff_t position_of(const piece *work, ptrdiff_t index)
{
    return work->before + index / work->group;
}

/* Rows first .. first + count, times a factor, as rows of `columns` numbers; rows of 0 up to a multiple of `rows`. */
static void pack_block(const piece *work, const float *heads, ptrdiff_t row, ptrdiff_t first, ptrdiff_t count,
                       ptrdiff_t rows, ptrdiff_t columns, float factor, float *restrict packed)
{
    const ptrdiff_t width = work->query->width;
    for (ptrdiff_t m = 0; m < round_up(count, rows); m++, packed += columns) {
        memset(packed, 0, sizeof *packed * columns);
        if (m >= count)
            continue;
        const float *head = heads + token_of(work, first + m) * row + head_of(work, first + m) * width;
        for (ptrdiff_t k = 0; k < width; k++)
            packed[k] = head[k] * factor;
    }
}

/* ROWS x VECTORS sums, the vectors of a step and one number fill the registers: 16 of them up to AVX2. With AVX-512's
 * 32 registers, larger tiles are no faster: more of them lies beyond the diagonal. */
#define ROWS 6
#define VECTORS 2
#define TARGET
#ifdef __GNUC__
#define VECTOR_BYTES 16
#else
#define VECTOR_BYTES 0
#endif
#define NAME(x) x##_plain
#include "_attention_level.h"
#undef TARGET
#undef VECTOR_BYTES
#undef NAME

#if defined(__GNUC__) && defined(__x86_64__)
#define TARGET __attribute__((target("avx2,fma")))
#define VECTOR_BYTES 32
#define NAME(x) x##_avx2
#include "_attention_level.h"
#undef TARGET
#undef VECTOR_BYTES
#undef NAME

#define TARGET __attribute__((target("avx512f,fma")))
#define VECTOR_BYTES 64
#define NAME(x) x##_avx512
#include "_attention_level.h"
#endif

static const struct {
    const char *name;
    const attention_kernel *kernel;
} levels[] = {
    {"plain", &kernel_plain},
#if defined(__GNUC__) && defined(__x86_64__)
    {"avx2", &kernel_avx2},
    {"avx512", &kernel_avx512},
#endif
};

const char *attention_level_name(int level)
{
    if (level < 0 || level >= (int)(sizeof levels / sizeof levels[0]))
        return NULL;
#if defined(__GNUC__) && defined(__x86_64__)
    __builtin_cpu_init();
    if ((level >= 1 && !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")))
        || (level >= 2 && !__builtin_cpu_supports("avx512f")))
        return NULL;
#endif
    return levels[level].name;
}

ptrdiff_t attention_scratch(int level, ptrdiff_t longest, ptrdiff_t width)
{
    return levels[level].kernel->scratch(longest, width);
}

void attention_forward(const attention_query *query, int level, ptrdiff_t prompt, ptrdiff_t kv_head, float *scratch)
{
    levels[level].kernel->forward(query, prompt, kv_head, scratch);
}

void attention_backward(const attention_query *query, int level, ptrdiff_t prompt, ptrdiff_t kv_head, float *scratch)
{
    levels[level].kernel->backward(query, prompt, kv_head, scratch);
}

void attention_add_shared(const attention_query *query, ptrdiff_t token)
{
    const ptrdiff_t width = query->width, kv_heads = query->kv_heads;
    for (ptrdiff_t kv_head = 0; kv_head < kv_heads; kv_head++)
        for (int values = 0; values < 2; values++) {
            float *restrict sums = (values ? query->d_values : query->d_keys) + (token * kv_heads + kv_head) * width;
            for (ptrdiff_t prompt = 0; prompt < query->n_prompts; prompt++) {
                const float *part = query->shared_parts
                                    + (((prompt * kv_heads + kv_head) * 2 + values) * query->shared + token) * width;
                for (ptrdiff_t k = 0; k < width; k++)
                    sums[k] += part[k];
            }
        }
}
