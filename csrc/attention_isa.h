/* The attention kernel for one instruction set; each_isa.h says what is defined here for it.
 *
 * The register tile is ROWS x COLUMNS sums, COLUMNS = VECTORS vectors of LANES numbers. AVX-512 (LANES 16):
 *
 *                        column 0 .. 15       column 16 .. 31
 *                        b[k, 0]              b[k, 1]               <- 2 registers, loaded for each k
 *     a[0, k] broadcast  sums[0][0]           sums[0][1]
 *     a[1, k]            sums[1][0]           sums[1][1]            12 registers hold the sums
 *       ...                 ...                  ...                until k has run over the depth,
 *     a[5, k]            sums[5][0]           sums[5][1]            then they go to memory once
 *
 *     scores    = queries x keys^T      row: token and head     column: key         k: width of a head
 *     out       = weights x values      row: token and head     column: of a head   k: keys
 *     d_keys   += d_scores^T x queries  row: key                column: of a head   k: tokens and heads
 *     d_values += weights^T x d_out     the same
 *
 * `b` is streamed: k-th rows of panels (keys) or of whole rows (values), side by side in memory. `a` is read number by
 * number from the row block, which stays in the cache. A row block meets all keys that its rows see: scores, their
 * exponentials in the same place, then the products that these enter. Tiles of unseen keys are left out; inside
 * a tile masked scores become 0. The backward pass works scores and weights out again, by the same instructions.
 */

#if VECTOR_BYTES
typedef float NAME(vector) __attribute__((vector_size(VECTOR_BYTES), may_alias, aligned(4)));
#else
typedef float NAME(vector);
#endif

#include "register_tile.h"

/* The tile for rows of a, and for columns of a added to c. */
TARGET NOINLINE static void NAME(tile_of_rows)(const float *a, ptrdiff_t a_row, const float *b, ptrdiff_t b_step,
                                               ptrdiff_t depth, float *c, ptrdiff_t c_row)
{
    NAME(tile)(a, a_row, 1, b, b_step, depth, c, c_row, 0);
}

TARGET NOINLINE static void NAME(add_tile_of_columns)(const float *a, ptrdiff_t a_step, const float *b,
                                                      ptrdiff_t b_step, ptrdiff_t depth, float *c, ptrdiff_t c_row)
{
    NAME(tile)(a, 1, a_step, b, b_step, depth, c, c_row, 1);
}

/* scores = rows [BLOCK, columns] times panels, for the keys up to each tile's last one. */
TARGET static void NAME(block_scores)(const row_block *block, const float *rows, ptrdiff_t columns,
                                      const float *panels, float *scores)
{
    const ptrdiff_t width = block->task->args->width;
    for (ptrdiff_t key = block->low; key < block->task->length; key += COLUMNS)
        for (ptrdiff_t m = 0; m < block->count; m += ROWS)
            if (key <= last_visible(block, m))
                NAME(tile_of_rows)(rows + m * columns, columns, panels + key * width, COLUMNS, width,
                                   scores + m * block->stride + key, block->stride);
}

/* sums [BLOCK, columns] = weights [BLOCK, keys] times rows of keys or values. */
TARGET static void NAME(weighted_sum)(const row_block *block, const float *weights, const float *rows,
                                      ptrdiff_t columns, float *sums)
{
    for (ptrdiff_t column = 0; column < columns; column += COLUMNS)
        for (ptrdiff_t m = 0; m < block->count; m += ROWS)
            NAME(tile_of_rows)(weights + m * block->stride + block->low, block->stride,
                               rows + block->low * columns + column, columns,
                               last_visible(block, m) + 1 - block->low, sums + m * columns + column, columns);
}

/* sums [keys, columns] += weights^T times the block's rows. Rows before a tile's first key don't see it. */
TARGET static void NAME(add_transposed)(const row_block *block, const float *weights, const float *rows,
                                        ptrdiff_t columns, float *sums)
{
    const attention_task *task = block->task;
    const ptrdiff_t last = last_visible(block, block->count - 1);
    for (ptrdiff_t column = 0; column < columns; column += COLUMNS)
        for (ptrdiff_t key = block->low; key <= last; key += ROWS) {
            const ptrdiff_t first = (key - task->args->ahead - task->before) * task->group; /* row that sees the key */
            const ptrdiff_t m = larger(0, first - block->first);
            NAME(add_tile_of_columns)(weights + m * block->stride + key, block->stride, rows + m * columns + column,
                                      columns, block->count - m, sums + key * columns + column, columns);
        }
}

/* scores = exp(scores - row_max) * factor where visible, else 0; return their sum before the factor. */
TARGET static INLINE float NAME(exponentials)(float *scores, key_mask mask, float row_max, float factor)
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int32_t key = mask.low; key < mask.stop; key++) {
        const float power = tslrec_exp(tslrec_clamp(scores[key] - row_max, -87.0f, 87.0f));
        const float visible = is_visible(mask, key) ? power : 0.0f;
        scores[key] = visible * factor;
        sum += visible;
    }
    return sum;
}

/* Return the sum of the exponentials; the weights are these divided by it. */
TARGET static float NAME(softmax)(float *scores, key_mask mask, float *row_max)
{
    float largest = -INFINITY;
#pragma omp simd reduction(max : largest)
    for (int32_t key = mask.low; key < mask.stop; key++) {
        const float score = is_visible(mask, key) ? scores[key] : -INFINITY;
        largest = score > largest ? score : largest;
    }
    *row_max = largest;
    return NAME(exponentials)(scores, mask, largest, 1.0f);
}

/* d_weights, the gradient by the weights, becomes that by the scores. */
TARGET static void NAME(softmax_gradient)(const float *restrict weights, float *restrict d_weights, key_mask mask)
{
    float mean = 0.0f;
#pragma omp simd reduction(+ : mean)
    for (int32_t key = mask.low; key < mask.stop; key++) {
        d_weights[key] = is_visible(mask, key) ? d_weights[key] : 0.0f;
        mean += weights[key] * d_weights[key];
    }
    for (int32_t key = mask.low; key < mask.stop; key++)
        d_weights[key] = weights[key] * (d_weights[key] - mean);
}

static ptrdiff_t NAME(score_stride)(ptrdiff_t length)
{
    return round_up(length, larger(COLUMNS, PADDING)) + PADDING;
}

static row_block NAME(row_block_at)(const attention_task *task, ptrdiff_t first)
{
    const ptrdiff_t low = larger(0, position_of(task, first) + 1 - task->args->window);
    return (row_block){task, first, smaller(BLOCK, task->own * task->group - first), low / COLUMNS * COLUMNS,
                       NAME(score_stride)(task->length)};
}

static ptrdiff_t NAME(workspace)(ptrdiff_t longest, ptrdiff_t width)
{
    const ptrdiff_t columns = round_up(width, COLUMNS), keys = round_up(longest, COLUMNS);
    return 2 * keys * width + keys * columns + 2 * (longest + PADDING) * columns
           + BLOCK * (2 * NAME(score_stride)(longest) + 3 * columns);
}

TARGET static void NAME(forward)(const attention_args *args, ptrdiff_t prompt, ptrdiff_t kv_head, float *workspace)
{
    const attention_task task = task_of(args, prompt, kv_head);
    const ptrdiff_t width = args->width, columns = round_up(width, COLUMNS), keys = round_up(task.length, COLUMNS);
    float *const scores = workspace, *const queries = scores + BLOCK * NAME(score_stride)(task.length);
    float *const sums = queries + BLOCK * columns, *const values = sums + BLOCK * columns;
    float *const key_panels = values + keys * columns;
    pack_panels(&task, args->keys, args->key_row, COLUMNS, key_panels);
    pack_rows(&task, args->values, args->value_row, columns, values);
    for (ptrdiff_t first = 0; first < task.own * task.group; first += BLOCK) {
        const row_block block = NAME(row_block_at)(&task, first);
        pack_block(&block, args->queries, args->query_row, columns, args->scale, queries);
        NAME(block_scores)(&block, queries, columns, key_panels, scores);
        for (ptrdiff_t m = 0; m < block.count; m++) {
            const ptrdiff_t place = place_of(&task, first + m);
            args->inverse_sum[place] = 1.0f / NAME(softmax)(scores + m * block.stride, mask_of(&block, m),
                                                            args->row_max + place);
        }
        NAME(weighted_sum)(&block, scores, values, columns, sums);
        for (ptrdiff_t m = 0; m < block.count; m++) {
            const ptrdiff_t place = place_of(&task, first + m);
            const float inverse = args->inverse_sum[place];
            for (ptrdiff_t k = 0; k < width; k++)
                args->out[place * width + k] = sums[m * columns + k] * inverse;
        }
    }
}

TARGET static void NAME(backward)(const attention_args *args, ptrdiff_t prompt, ptrdiff_t kv_head, float *workspace)
{
    const attention_task task = task_of(args, prompt, kv_head);
    const ptrdiff_t width = args->width, columns = round_up(width, COLUMNS), keys = round_up(task.length, COLUMNS);
    const ptrdiff_t scores = BLOCK * NAME(score_stride)(task.length), gradients = (task.length + PADDING) * columns;
    float *const weights = workspace, *const d_weights = weights + scores, *const queries = d_weights + scores;
    float *const d_out = queries + BLOCK * columns, *const d_queries = d_out + BLOCK * columns;
    float *const key_rows = d_queries + BLOCK * columns, *const d_keys = key_rows + keys * columns;
    float *const d_values = d_keys + gradients, *const key_panels = d_values + gradients;
    float *const value_panels = key_panels + keys * width;
    pack_rows(&task, args->keys, args->key_row, columns, key_rows);
    pack_panels(&task, args->keys, args->key_row, COLUMNS, key_panels);
    pack_panels(&task, args->values, args->value_row, COLUMNS, value_panels);
    memset(d_keys, 0, sizeof *d_keys * 2 * gradients);
    for (ptrdiff_t first = 0; first < task.own * task.group; first += BLOCK) {
        const row_block block = NAME(row_block_at)(&task, first);
        pack_block(&block, args->queries, args->query_row, columns, args->scale, queries);
        pack_block(&block, args->d_out, args->heads * width, columns, 1.0f, d_out);
        NAME(block_scores)(&block, queries, columns, key_panels, weights);
        NAME(block_scores)(&block, d_out, columns, value_panels, d_weights);
        for (ptrdiff_t m = 0; m < block.count; m++) {
            const ptrdiff_t place = place_of(&task, first + m);
            const key_mask mask = mask_of(&block, m);
            NAME(exponentials)(weights + m * block.stride, mask, args->row_max[place], args->inverse_sum[place]);
            NAME(softmax_gradient)(weights + m * block.stride, d_weights + m * block.stride, mask);
        }
        NAME(weighted_sum)(&block, d_weights, key_rows, columns, d_queries);
        NAME(add_transposed)(&block, d_weights, queries, columns, d_keys);
        NAME(add_transposed)(&block, weights, d_out, columns, d_values);
        for (ptrdiff_t m = 0; m < block.count; m++) {
            float *row = args->d_queries + token_of(&task, first + m) * args->d_query_row
                         + head_of(&task, first + m) * width;
            for (ptrdiff_t k = 0; k < width; k++)
                row[k] = d_queries[m * columns + k] * args->scale;
        }
    }
    float *shared = args->shared_parts + (prompt * args->kv_heads + kv_head) * 2 * args->shared * width;
    unpack(&task, d_keys, columns, args->d_keys, args->d_key_row, shared);
    unpack(&task, d_values, columns, args->d_values, args->d_value_row, shared + args->shared * width);
}

static const attention_kernel NAME(kernel) = {NAME(workspace), NAME(forward), NAME(backward)};

#undef ISA
#undef TARGET
#undef VECTOR_BYTES
