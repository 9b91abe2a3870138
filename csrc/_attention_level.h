/* The attention kernel for one instruction set; _attention_kernels.c includes it for each.
 *
 * Defined by the includer: TARGET (attribute that selects the set), NAME(x) (x with a suffix of its own),
 * VECTOR_BYTES (0 without vector extensions), ROWS and VECTORS: a register tile is ROWS rows of VECTORS vectors.
 *
 * A block of rows is worked on at a time, with all keys that they see: scores, probabilities in their place, then the
 * products that they enter. Tiles beyond the diagonal are left out; inside a tile what a token doesn't see is 0. The
 * backward pass works scores and probabilities out again, by the same instructions.
 */

#if VECTOR_BYTES
typedef float NAME(vector) __attribute__((vector_size(VECTOR_BYTES), may_alias, aligned(4)));
#else
typedef float NAME(vector);
#endif
#define LANES ((ptrdiff_t)(sizeof(NAME(vector)) / sizeof(float)))
#define COLUMNS (VECTORS * LANES)
_Static_assert(BLOCK % ROWS == 0 && ROWS <= PADDING, "tiles of rows fill a block");

/* c[i, j] = (c[i, j] +) sum over k of a[i * a_row + k * a_step] * b[k * b_step + j], i < ROWS, j < COLUMNS. */
TARGET static INLINE void NAME(multiply)(const float *restrict a, ptrdiff_t a_row, ptrdiff_t a_step,
                                         const float *restrict b, ptrdiff_t b_step, ptrdiff_t depth,
                                         float *restrict c, ptrdiff_t c_row, int add)
{
    NAME(vector) sums[ROWS][VECTORS], part[VECTORS];
    UNROLL
    for (int i = 0; i < ROWS; i++)
        UNROLL
        for (int v = 0; v < VECTORS; v++)
            sums[i][v] = (NAME(vector)){0};
    for (ptrdiff_t k = 0; k < depth; k++) {
        UNROLL
        for (int v = 0; v < VECTORS; v++)
            part[v] = *(const NAME(vector) *)(b + k * b_step + v * LANES);
        UNROLL
        for (int i = 0; i < ROWS; i++)
            UNROLL
            for (int v = 0; v < VECTORS; v++)
                sums[i][v] += a[i * a_row + k * a_step] * part[v];
    }
    UNROLL
    for (int i = 0; i < ROWS; i++)
        UNROLL
        for (int v = 0; v < VECTORS; v++) {
            NAME(vector) *place = (NAME(vector) *)(c + i * c_row + v * LANES);
            if (add)
                sums[i][v] += *place;
            *place = sums[i][v];
        }
}

/* The same for rows of a, and for columns of a added to c. */
TARGET NOINLINE static void NAME(multiply_rows)(const float *a, ptrdiff_t a_row, const float *b, ptrdiff_t b_step,
                                                ptrdiff_t depth, float *c, ptrdiff_t c_row)
{
    NAME(multiply)(a, a_row, 1, b, b_step, depth, c, c_row, 0);
}

TARGET NOINLINE static void NAME(add_columns)(const float *a, ptrdiff_t a_step, const float *b, ptrdiff_t b_step,
                                              ptrdiff_t depth, float *c, ptrdiff_t c_row)
{
    NAME(multiply)(a, 1, a_step, b, b_step, depth, c, c_row, 1);
}

/* Rows first .. first + count of the piece, and the keys low .. that any of them may see. */
typedef struct {
    const piece *work;
    ptrdiff_t first, count, low;
    ptrdiff_t row; /* numbers from one row of scores to the next */
} NAME(block);

/* Last position that a row of the tile from row m on sees. */
static inline ptrdiff_t NAME(last_seen)(const NAME(block) *block, ptrdiff_t m)
{
    return position_of(block->work, block->first + smaller(m + ROWS, block->count) - 1);
}

/* scores = rows [BLOCK, columns] times panels, for the keys up to each tile's last one. */
TARGET static void NAME(score)(const NAME(block) *block, const float *rows, ptrdiff_t columns, const float *panels,
                               float *scores)
{
    const ptrdiff_t width = block->work->query->width;
    for (ptrdiff_t key = block->low; key < block->work->length; key += COLUMNS)
        for (ptrdiff_t m = 0; m < block->count; m += ROWS)
            if (key <= NAME(last_seen)(block, m))
                NAME(multiply_rows)(rows + m * columns, columns, panels + key * width, COLUMNS, width,
                                    scores + m * block->row + key, block->row);
}

/* sums [BLOCK, columns] = weights [BLOCK, keys] times rows of keys or values. */
TARGET static void NAME(weigh)(const NAME(block) *block, const float *weights, const float *rows, ptrdiff_t columns,
                               float *sums)
{
    for (ptrdiff_t column = 0; column < columns; column += COLUMNS)
        for (ptrdiff_t m = 0; m < block->count; m += ROWS)
            NAME(multiply_rows)(weights + m * block->row + block->low, block->row,
                                rows + block->low * columns + column, columns,
                                NAME(last_seen)(block, m) + 1 - block->low, sums + m * columns + column, columns);
}

/* sums [keys, columns] += weights^T times the block's rows. Rows before a tile's first key don't see it. */
TARGET static void NAME(gather)(const NAME(block) *block, const float *weights, const float *rows, ptrdiff_t columns,
                                float *sums)
{
    const piece *work = block->work;
    const ptrdiff_t last = position_of(work, block->first + block->count - 1);
    for (ptrdiff_t column = 0; column < columns; column += COLUMNS)
        for (ptrdiff_t key = block->low; key <= last; key += ROWS) {
            const ptrdiff_t m = larger(0, (key - work->before) * work->group - block->first);
            NAME(add_columns)(weights + m * block->row + key, block->row, rows + m * columns + column, columns,
                              block->count - m, sums + key * columns + column, columns);
        }
}

/* What row m sees, and how far its part of the products reaches beyond. */
typedef struct {
    int32_t low, seen, stop;
} NAME(sight);

static inline NAME(sight) NAME(sight_of)(const NAME(block) *block, ptrdiff_t m)
{
    const ptrdiff_t position = position_of(block->work, block->first + m);
    const ptrdiff_t low = larger(0, position + 1 - block->work->query->window);
    const ptrdiff_t stop = larger(NAME(last_seen)(block, m / ROWS * ROWS) + 1, position + ROWS);
    return (NAME(sight)){(int32_t)low, (int32_t)(position + 1 - low), (int32_t)smaller(round_up(stop, 16), block->row)};
}

/* scores = exp(scores - peak) * factor where the row sees, else 0; return their sum before the factor. */
TARGET static INLINE float NAME(exponentials)(float *scores, int32_t low, NAME(sight) sight, float peak, float factor)
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int32_t key = low; key < sight.stop; key++) {
        const float power = tslrec_exp(tslrec_clamp(scores[key] - peak, -87.0f, 87.0f));
        const float seen = (uint32_t)(key - sight.low) < (uint32_t)sight.seen ? power : 0.0f;
        scores[key] = seen * factor;
        sum += seen;
    }
    return sum;
}

TARGET static float NAME(softmax)(float *scores, int32_t low, NAME(sight) sight, float *peak)
{
    float largest = -INFINITY;
#pragma omp simd reduction(max : largest)
    for (int32_t key = low; key < sight.stop; key++) {
        const float score = (uint32_t)(key - sight.low) < (uint32_t)sight.seen ? scores[key] : -INFINITY;
        largest = score > largest ? score : largest;
    }
    *peak = largest;
    return NAME(exponentials)(scores, low, sight, largest, 1.0f);
}

/* d_weights, the gradient by the probabilities, becomes that by the scores. */
TARGET static void NAME(softmax_gradient)(const float *restrict weights, float *restrict d_weights, int32_t low,
                                          NAME(sight) sight)
{
    float mean = 0.0f;
#pragma omp simd reduction(+ : mean)
    for (int32_t key = low; key < sight.stop; key++) {
        d_weights[key] = (uint32_t)(key - sight.low) < (uint32_t)sight.seen ? d_weights[key] : 0.0f;
        mean += weights[key] * d_weights[key];
    }
    for (int32_t key = low; key < sight.stop; key++)
        d_weights[key] = weights[key] * (d_weights[key] - mean);
}

static ptrdiff_t NAME(row_of_scores)(ptrdiff_t length)
{
    return round_up(length, larger(COLUMNS, PADDING)) + PADDING;
}

static NAME(block) NAME(block_from)(const piece *work, ptrdiff_t first)
{
    const ptrdiff_t low = larger(0, position_of(work, first) + 1 - work->query->window);
    return (NAME(block)){work, first, smaller(BLOCK, work->own * work->group - first), low / COLUMNS * COLUMNS,
                         NAME(row_of_scores)(work->length)};
}

static ptrdiff_t NAME(scratch)(ptrdiff_t longest, ptrdiff_t width)
{
    const ptrdiff_t columns = round_up(width, COLUMNS), keys = round_up(longest, COLUMNS);
    return 2 * keys * width + keys * columns + 2 * (longest + PADDING) * columns
           + BLOCK * (2 * NAME(row_of_scores)(longest) + 3 * columns);
}

TARGET static void NAME(forward)(const attention_query *query, ptrdiff_t prompt, ptrdiff_t kv_head, float *scratch)
{
    const piece work = piece_of(query, prompt, kv_head);
    const ptrdiff_t width = query->width, columns = round_up(width, COLUMNS), keys = round_up(work.length, COLUMNS);
    float *const scores = scratch, *const queries = scores + BLOCK * NAME(row_of_scores)(work.length);
    float *const sums = queries + BLOCK * columns, *const values = sums + BLOCK * columns;
    float *const key_panels = values + keys * columns;
    pack_panels(&work, query->keys, query->key_row, COLUMNS, key_panels);
    pack_rows(&work, query->values, query->value_row, columns, values);
    for (ptrdiff_t first = 0; first < work.own * work.group; first += BLOCK) {
        const NAME(block) block = NAME(block_from)(&work, first);
        pack_block(&work, query->queries, query->query_row, first, block.count, ROWS, columns, query->scale, queries);
        NAME(score)(&block, queries, columns, key_panels, scores);
        for (ptrdiff_t m = 0; m < block.count; m++) {
            const ptrdiff_t place = token_of(&work, first + m) * query->heads + head_of(&work, first + m);
            query->inverse[place] = 1.0f / NAME(softmax)(scores + m * block.row, (int32_t)block.low,
                                                         NAME(sight_of)(&block, m), query->peaks + place);
        }
        NAME(weigh)(&block, scores, values, columns, sums);
        for (ptrdiff_t m = 0; m < block.count; m++) {
            const ptrdiff_t place = token_of(&work, first + m) * query->heads + head_of(&work, first + m);
            const float inverse = query->inverse[place];
            for (ptrdiff_t k = 0; k < width; k++)
                query->out[place * width + k] = sums[m * columns + k] * inverse;
        }
    }
}

/* Gradients [length, columns] of the piece's keys or values to their rows, those of shared tokens to `shared`. */
static void NAME(unpack)(const piece *work, const float *gradients, ptrdiff_t columns, float *own, float *shared)
{
    const ptrdiff_t width = work->query->width;
    for (ptrdiff_t position = 0; position < work->length; position++) {
        float *place = own + (token_at(work, position) * work->query->kv_heads + work->kv_head) * width;
        memcpy(position < work->before ? shared + position * width : place, gradients + position * columns,
               sizeof *own * width);
    }
}

TARGET static void NAME(backward)(const attention_query *query, ptrdiff_t prompt, ptrdiff_t kv_head, float *scratch)
{
    const piece work = piece_of(query, prompt, kv_head);
    const ptrdiff_t width = query->width, columns = round_up(width, COLUMNS), keys = round_up(work.length, COLUMNS);
    const ptrdiff_t scores = BLOCK * NAME(row_of_scores)(work.length), gradients = (work.length + PADDING) * columns;
    float *const weights = scratch, *const d_weights = weights + scores, *const queries = d_weights + scores;
    float *const d_out = queries + BLOCK * columns, *const d_queries = d_out + BLOCK * columns;
    float *const key_rows = d_queries + BLOCK * columns, *const d_keys = key_rows + keys * columns;
    float *const d_values = d_keys + gradients, *const key_panels = d_values + gradients;
    float *const value_panels = key_panels + keys * width;
    pack_rows(&work, query->keys, query->key_row, columns, key_rows);
    pack_panels(&work, query->keys, query->key_row, COLUMNS, key_panels);
    pack_panels(&work, query->values, query->value_row, COLUMNS, value_panels);
    memset(d_keys, 0, sizeof *d_keys * 2 * gradients);
    for (ptrdiff_t first = 0; first < work.own * work.group; first += BLOCK) {
        const NAME(block) block = NAME(block_from)(&work, first);
        pack_block(&work, query->queries, query->query_row, first, block.count, ROWS, columns, query->scale, queries);
        pack_block(&work, query->d_out, query->heads * width, first, block.count, ROWS, columns, 1.0f, d_out);
        NAME(score)(&block, queries, columns, key_panels, weights);
        NAME(score)(&block, d_out, columns, value_panels, d_weights);
        for (ptrdiff_t m = 0; m < block.count; m++) {
            const ptrdiff_t place = token_of(&work, first + m) * query->heads + head_of(&work, first + m);
            const NAME(sight) sight = NAME(sight_of)(&block, m);
            NAME(exponentials)(weights + m * block.row, (int32_t)block.low, sight, query->peaks[place],
                               query->inverse[place]);
            NAME(softmax_gradient)(weights + m * block.row, d_weights + m * block.row, (int32_t)block.low, sight);
        }
        NAME(weigh)(&block, d_weights, key_rows, columns, d_queries);
        NAME(gather)(&block, d_weights, queries, columns, d_keys);
        NAME(gather)(&block, weights, d_out, columns, d_values);
        for (ptrdiff_t m = 0; m < block.count; m++) {
            const ptrdiff_t place = token_of(&work, first + m) * query->heads + head_of(&work, first + m);
            for (ptrdiff_t k = 0; k < width; k++)
                query->d_queries[place * width + k] = d_queries[m * columns + k] * query->scale;
        }
    }
    float *shared = query->shared_parts + (prompt * query->kv_heads + kv_head) * 2 * query->shared * width;
    NAME(unpack)(&work, d_keys, columns, query->d_keys, shared);
    NAME(unpack)(&work, d_values, columns, query->d_values, shared + query->shared * width);
}

static const attention_kernel NAME(kernel) = {NAME(scratch), NAME(forward), NAME(backward)};

#undef LANES
#undef COLUMNS
