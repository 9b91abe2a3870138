/* Attention: what is the same for every instruction set. attention_isa.h has the products and the softmax. */

#include "attention_kernels.h"

#include <math.h>
#include <string.h>

#include "dispatch.h"
#include "exponential.h"

/* A register tile is ROWS x VECTORS sums, which with the vectors of a step and one number fill the registers: 16 up to
 * AVX2. With AVX-512's 32 registers, larger tiles are no faster: more of them lies beyond the diagonal. */
#define ROWS 6
#define VECTORS 2
/* Rows of scores in a row block: the queries of some tokens, the heads that share a key head side by side. Their scores
 * and gradients stay in a second-level cache. */
#define BLOCK 96
#define PADDING 16 /* a tile of rows may reach this far beyond the keys; also keeps rows apart from powers of two */
_Static_assert(BLOCK % ROWS == 0 && ROWS <= PADDING, "tiles of rows fill a block");

/* One prompt and one key head: queries of `own` tokens, which see `before` shared tokens and each other. */
typedef struct {
    const attention_args *args;
    ptrdiff_t before, begin, own, length; /* length = before + own */
    ptrdiff_t kv_head, group;             /* query heads of a key head */
} attention_task;

static attention_task task_of(const attention_args *args, ptrdiff_t prompt, ptrdiff_t kv_head)
{
    const int is_prompt = prompt < args->n_prompts;
    attention_task task = {args, is_prompt ? args->shared : 0, is_prompt ? args->starts[prompt] : 0,
                           is_prompt ? args->lengths[prompt] : args->shared, 0, kv_head, args->heads / args->kv_heads};
    task.length = task.before + task.own;
    return task;
}

/* The row among the T tokens of the token at a position of the prompt. */
static inline ptrdiff_t token_at(const attention_task *task, ptrdiff_t position)
{
    return position < task->before ? position : task->begin + position - task->before;
}

/* Keys or values of a task as rows of `columns` numbers, the last ones 0. */
static void pack_rows(const attention_task *task, const float *heads, ptrdiff_t row, ptrdiff_t columns,
                      float *restrict packed)
{
    const ptrdiff_t width = task->args->width;
    for (ptrdiff_t position = 0; position < task->length; position++, packed += columns) {
        memcpy(packed, heads + token_at(task, position) * row + task->kv_head * width, sizeof *packed * width);
        memset(packed + width, 0, sizeof *packed * (columns - width));
    }
}

/* Keys or values in panels of `lanes` positions: panel[k * lanes + lane] = head[lane][k]; 0 beyond the last one. */
NOINLINE static void pack_panels(const attention_task *task, const float *heads, ptrdiff_t row, ptrdiff_t lanes,
                                 float *restrict panels)
{
    const ptrdiff_t width = task->args->width;
    for (ptrdiff_t first = 0; first < task->length; first += lanes, panels += lanes * width)
        for (ptrdiff_t lane = 0; lane < lanes; lane++) {
            const int exists = first + lane < task->length;
            const float *head = exists ? heads + token_at(task, first + lane) * row + task->kv_head * width : NULL;
            for (ptrdiff_t k = 0; k < width; k++)
                panels[k * lanes + lane] = exists ? head[k] : 0.0f;
        }
}

/* Row `index` of a task is one token's query of one head: its place in [T, heads, ...], and its position. */
static inline ptrdiff_t token_of(const attention_task *task, ptrdiff_t index)
{
    return task->begin + index / task->group;
}

static inline ptrdiff_t head_of(const attention_task *task, ptrdiff_t index)
{
    return task->kv_head * task->group + index % task->group;
}

static inline ptrdiff_t place_of(const attention_task *task, ptrdiff_t index)
{
    return token_of(task, index) * task->args->heads + head_of(task, index);
}

static inline ptrdiff_t position_of(const attention_task *task, ptrdiff_t index)
{
    return task->before + index / task->group;
}

/* Last position that the token at a position sees. */
static inline ptrdiff_t last_seen(const attention_task *task, ptrdiff_t position)
{
    return smaller(position + task->args->ahead, task->length - 1);
}

/* Rows first .. first + count of a task, and the keys from `low` on that any of them may see. */
typedef struct {
    const attention_task *task;
    ptrdiff_t first, count, low;
    ptrdiff_t stride; /* numbers from one row of scores to the next */
} row_block;

/* The block's rows, times a factor, as rows of `columns` numbers; rows of 0 up to a multiple of ROWS. */
static void pack_block(const row_block *block, const float *heads, ptrdiff_t row, ptrdiff_t columns, float factor,
                       float *restrict packed)
{
    const attention_task *task = block->task;
    const ptrdiff_t width = task->args->width;
    for (ptrdiff_t m = 0; m < round_up(block->count, ROWS); m++, packed += columns) {
        memset(packed, 0, sizeof *packed * columns);
        if (m >= block->count)
            continue;
        const float *head = heads + token_of(task, block->first + m) * row + head_of(task, block->first + m) * width;
        for (ptrdiff_t k = 0; k < width; k++)
            packed[k] = head[k] * factor;
    }
}

/* Last position that a row of the tile from row m on sees. */
static inline ptrdiff_t last_visible(const row_block *block, ptrdiff_t m)
{
    return last_seen(block->task, position_of(block->task, block->first + smaller(m + ROWS, block->count) - 1));
}

/* The attention mask of a row: keys first .. first + count are visible. Scores are masked from the block's `low` up to
 * `stop`, as far as the row's part of the products reaches. */
typedef struct {
    int32_t low, first, count, stop;
} key_mask;

static inline key_mask mask_of(const row_block *block, ptrdiff_t m)
{
    const ptrdiff_t position = position_of(block->task, block->first + m);
    const ptrdiff_t first = larger(0, position + 1 - block->task->args->window);
    const ptrdiff_t last = last_seen(block->task, position);
    const ptrdiff_t stop = larger(last_visible(block, m / ROWS * ROWS) + 1, last + ROWS);
    return (key_mask){(int32_t)block->low, (int32_t)first, (int32_t)(last + 1 - first),
                      (int32_t)smaller(round_up(stop, 16), block->stride)};
}

static inline int is_visible(key_mask mask, int32_t key)
{
    return (uint32_t)(key - mask.first) < (uint32_t)mask.count;
}

/* Gradients [length, columns] of a task's keys or values to their rows, those of shared tokens to `shared`. */
static void unpack(const attention_task *task, const float *gradients, ptrdiff_t columns, float *own, ptrdiff_t row,
                   float *shared)
{
    const ptrdiff_t width = task->args->width;
    for (ptrdiff_t position = 0; position < task->length; position++) {
        float *place = own + token_at(task, position) * row + task->kv_head * width;
        memcpy(position < task->before ? shared + position * width : place, gradients + position * columns,
               sizeof *own * width);
    }
}

#define NUMBER float
#define ISA_SOURCE "attention_isa.h"
#include "each_isa.h"

#define KERNEL(isa) &kernel_float_##isa
const attention_kernel *const attention_kernels[] = {INSTRUCTION_SETS(KERNEL)};

void attention_add_shared(const attention_args *args, ptrdiff_t token)
{
    const ptrdiff_t width = args->width, kv_heads = args->kv_heads;
    for (ptrdiff_t kv_head = 0; kv_head < kv_heads; kv_head++)
        for (int values = 0; values < 2; values++) {
            float *restrict sums = (values ? args->d_values + token * args->d_value_row
                                            : args->d_keys + token * args->d_key_row) + kv_head * width;
            for (ptrdiff_t prompt = 0; prompt < args->n_prompts; prompt++) {
                const float *part = args->shared_parts
                                    + (((prompt * kv_heads + kv_head) * 2 + values) * args->shared + token) * width;
                for (ptrdiff_t k = 0; k < width; k++)
                    sums[k] += part[k];
            }
        }
}
