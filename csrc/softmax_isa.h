/* Cross-entropy over all items for one instruction set; each_isa.h says what is defined here for it.
 *
 * With e = exp(score - reference of the row), S = the row's sum of e without the target's, t = the target's e:
 *
 *     loss     = reference - target's score + log(t + S)
 *     d_state  = (sum over other items of e * item - S * target's item) / (t + S)
 *     d_item   = sum over rows of e * (state / (t + S)), less state * S / (t + S) where the item is the target
 *
 * The target is left out of the sums, so that nothing cancels where it takes nearly all. The register tile (see
 * attention_isa.h for a drawing) is ROWS x COLUMNS sums over `depth` products:
 *
 *     e          row: item     column: state          depth: width    b: states, turned       a: items
 *     d_states   row: state    column: of the width   depth: items    b: items in panels      a: e, read downwards
 *     d_items    row: item     column: of the width   depth: states   b: weighted states      a: e
 *
 * Exponentials lie item by item, [I, rows of a chunk]: vectors of them belong to as many rows, so that largest scores
 * and sums need no shuffling. They are written while a tile's scores are in the cache, enter d_states there, and are
 * read once more for d_items when the sums are known.
 */

#if VECTOR_BYTES
typedef float NAME(vector) __attribute__((vector_size(VECTOR_BYTES), may_alias, aligned(4)));
#else
typedef float NAME(vector);
#endif

#include "register_tile.h"

TARGET NOINLINE static void NAME(score_tile)(const float *items, const float *panel, ptrdiff_t width, float *scores,
                                             ptrdiff_t stride)
{
    NAME(tile)(items, width, 1, panel, COLUMNS, width, scores, stride, 0);
}

TARGET NOINLINE static void NAME(state_tile)(const float *exponentials, ptrdiff_t stride, const float *panel,
                                             ptrdiff_t n_items, float *sums, ptrdiff_t columns, int add)
{
    NAME(tile)(exponentials, 1, stride, panel, COLUMNS, n_items, sums, columns, add);
}

TARGET NOINLINE static void NAME(item_tile)(const float *exponentials, ptrdiff_t stride, const float *panel,
                                            ptrdiff_t n_rows, float *sums, ptrdiff_t columns, int add)
{
    NAME(tile)(exponentials, stride, 1, panel, COLUMNS, n_rows, sums, columns, add);
}

/* Ask for ROWS rows of `count` numbers, the next that a register tile meets: they come from far away while it works. */
TARGET static INLINE void NAME(prefetch)(const float *rows, ptrdiff_t row, ptrdiff_t count)
{
    for (int i = 0; i < ROWS; i++)
        for (ptrdiff_t k = 0; k < count; k += LINE)
            PREFETCH(rows + i * row + k);
}

static softmax_plan NAME(plan)(ptrdiff_t n_rows, ptrdiff_t n_items, ptrdiff_t width)
{
    softmax_plan plan = {.d_items_rows = round_up(n_items, ROWS), .d_items_row = round_up(width, COLUMNS)};
    const ptrdiff_t fitting = CHUNK_BYTES / ((ptrdiff_t)sizeof(float) * BLOCK * n_items);
    plan.all_blocks = divide_up(n_rows, BLOCK);
    plan.n_blocks = smaller(larger(1, smaller(fitting, MOST_BLOCKS)), plan.all_blocks);
    plan.chunk_rows = plan.n_blocks * BLOCK;
    plan.n_chunks = divide_up(n_rows, plan.chunk_rows);
    plan.n_tiles = divide_up(n_items, TILE);
    plan.segment_tiles = divide_up(plan.n_tiles, SEGMENTS);
    plan.n_segments = divide_up(plan.n_tiles, plan.segment_tiles);
    plan.shared = lay_out(n_rows, n_items, width, &plan, plan.d_items_row, NULL, NULL);
    plan.sums = plan.n_segments * plan.chunk_rows;
    plan.own = larger(2 * TILE * plan.d_items_row, plan.chunk_rows * plan.d_items_row);
    return plan;
}

/* Turn a block's states, and score their targets. Rows beyond the last one are 0. */
TARGET static void NAME(prepare)(const softmax_args *args, const softmax_plan *plan, ptrdiff_t block)
{
    const softmax_places places = places_of(args, plan);
    const ptrdiff_t width = args->width;
    for (ptrdiff_t m = 0; m < BLOCK; m++) {
        const ptrdiff_t row = block * BLOCK + m;
        float *restrict panel = places.panels + (row - row % COLUMNS) * width + row % COLUMNS;
        const float *restrict state = args->states + row * width;
        float score = 0.0f;
        if (row < args->n_rows) {
            const float *restrict item = args->items + (args->targets[row] - 1) * width;
#pragma omp simd reduction(+ : score)
            for (ptrdiff_t k = 0; k < width; k++)
                score += state[k] * item[k];
        }
        for (ptrdiff_t k = 0; k < width; k++)
            panel[k * COLUMNS] = row < args->n_rows ? state[k] : 0.0f;
        places.target_scores[row] = score;
    }
}

/* Items of a tile in panels [width / COLUMNS, TILE, COLUMNS], 0 beyond the width. */
TARGET static void NAME(pack_items)(const float *items, ptrdiff_t n_items, ptrdiff_t width, float *restrict panels)
{
    for (ptrdiff_t column = 0; column < width; column += COLUMNS, panels += TILE * COLUMNS)
        for (ptrdiff_t item = 0; item < n_items; item++)
            if (column + COLUMNS <= width)
                memcpy(panels + item * COLUMNS, items + item * width + column, sizeof *panels * COLUMNS);
            else
                for (ptrdiff_t k = 0; k < COLUMNS; k++)
                    panels[item * COLUMNS + k] = column + k < width ? items[item * width + column + k] : 0.0f;
}

/* Raise references to scores [n_items, stride] that are far above; what was summed up for the row shrinks. */
TARGET static void NAME(raise_references)(const float *restrict scores, ptrdiff_t stride, ptrdiff_t n_items,
                                          ptrdiff_t n_rows, float *restrict references, double *restrict sums,
                                          float *restrict d_states, ptrdiff_t columns)
{
    float largest[BLOCK];
    int any = 0;
    memcpy(largest, scores, sizeof *largest * n_rows);
    for (ptrdiff_t item = 1; item < n_items; item++)
        for (ptrdiff_t m = 0; m < n_rows; m++) {
            const float score = scores[item * stride + m];
            largest[m] = score > largest[m] ? score : largest[m];
        }
    for (ptrdiff_t m = 0; m < n_rows; m++)
        any |= largest[m] > references[m] + SLACK;
    for (ptrdiff_t m = 0; any && m < n_rows; m++)
        if (largest[m] > references[m] + SLACK) {
            const float factor = expf(references[m] - largest[m]);
            references[m] = largest[m];
            sums[m] *= factor;
            for (ptrdiff_t k = 0; k < columns; k++)
                d_states[m * columns + k] *= factor;
        }
}

/* scores = e^(scores - references), in place; their sums are added to `sums`. */
TARGET static void NAME(exponentials)(float *scores, ptrdiff_t stride, ptrdiff_t n_items, ptrdiff_t n_rows,
                                      const float *references, double *sums)
{
    float tile_sums[BLOCK] = {0};
    for (ptrdiff_t item = 0; item < n_items; item++) {
        float *restrict row = scores + item * stride;
#pragma omp simd
        for (ptrdiff_t m = 0; m < n_rows; m++) {
            const float score = row[m] - references[m];
            const float power = tslrec_exp(score < LEAST ? LEAST : score); /* NaN stays NaN */
            row[m] = score < LEAST ? 0.0f : power;
            tile_sums[m] += row[m];
        }
    }
    for (ptrdiff_t m = 0; m < n_rows; m++)
        sums[m] += tile_sums[m];
}

TARGET static void NAME(scores)(const softmax_args *args, const softmax_plan *plan, ptrdiff_t chunk, ptrdiff_t block,
                                ptrdiff_t segment, float *own)
{
    const softmax_places places = places_of(args, plan);
    const ptrdiff_t width = args->width, columns = plan->d_items_row, stride = places.stride;
    const ptrdiff_t first_row = chunk * plan->chunk_rows + block * BLOCK;
    const ptrdiff_t n_rows = round_up(smaller(BLOCK, args->n_rows - first_row), COLUMNS);
    const float *const states = places.panels + first_row * width;
    double *const sums = args->sums + segment * plan->chunk_rows + block * BLOCK;
    float *const d_states = places.d_states + (segment * plan->chunk_rows + block * BLOCK) * columns;
    float *const panels = own, *const last_items = own + TILE * columns;
    const float *before = places.target_scores + first_row;
    memset(sums, 0, sizeof *sums * n_rows);
    memset(d_states, 0, sizeof *d_states * BLOCK * columns);
    for (ptrdiff_t tile = segment * plan->segment_tiles;
         tile < smaller(plan->n_tiles, (segment + 1) * plan->segment_tiles); tile++) {
        const ptrdiff_t first_item = tile * TILE, n_items = smaller(TILE, args->n_items - first_item);
        float *const scores = places.exponentials + first_item * stride + block * BLOCK;
        float *const references = places.references + tile * plan->chunk_rows + block * BLOCK;
        const float *items = args->items + first_item * width;
        if (n_items % ROWS) { /* the catalogue's end: register tiles read beyond it */
            memset(last_items, 0, sizeof *last_items * TILE * width);
            items = memcpy(last_items, items, sizeof *items * n_items * width);
        }
        for (ptrdiff_t m = 0; m < n_rows; m += COLUMNS)
            for (ptrdiff_t item = 0; item < n_items; item += ROWS) {
                if (m == 0)
                    NAME(prefetch)(items + (item + ROWS) * width, width, width);
                NAME(prefetch)(scores + (item + ROWS) * stride + m, stride, COLUMNS);
                NAME(score_tile)(items + item * width, states + m * width, width, scores + item * stride + m, stride);
            }
        memcpy(references, before, sizeof *references * n_rows);
        before = references;
        NAME(raise_references)(scores, stride, n_items, n_rows, references, sums, d_states, columns);
        for (ptrdiff_t row = first_row; row < smaller(first_row + BLOCK, args->n_rows); row++) {
            const ptrdiff_t target = args->targets[row] - 1 - first_item;
            if (target >= 0 && target < n_items)
                scores[target * stride + row - first_row] = -INFINITY; /* its exponential is 0 */
        }
        NAME(exponentials)(scores, stride, n_items, n_rows, references, sums);
        NAME(pack_items)(items, n_items, width, panels);
        for (ptrdiff_t column = 0; column < columns; column += COLUMNS)
            for (ptrdiff_t m = 0; m < n_rows; m += ROWS)
                NAME(state_tile)(scores + m, stride, panels + column * TILE, n_items, d_states + m * columns + column,
                                 columns, 1);
    }
}

/* Put the segments of a block together: the losses, the gradients by the states, and what add_items reads. */
TARGET static void NAME(finish)(const softmax_args *args, const softmax_plan *plan, ptrdiff_t chunk, ptrdiff_t block)
{
    const softmax_places places = places_of(args, plan);
    const ptrdiff_t width = args->width, columns = plan->d_items_row, chunk_row = chunk * plan->chunk_rows;
    const ptrdiff_t stop = smaller((block + 1) * BLOCK, rows_of(args, plan, chunk));
    for (ptrdiff_t m = block * BLOCK; m < stop; m++) {
        const ptrdiff_t row = chunk_row + m;
        const float target_score = places.target_scores[row];
        const float *restrict item = args->items + (args->targets[row] - 1) * width;
        const float *restrict state = args->states + row * width;
        float *restrict gradient = args->d_states + row * width;
        float largest = target_score;
        double others = 0;
        for (ptrdiff_t segment = 0; segment < plan->n_segments; segment++) {
            const ptrdiff_t last = smaller(plan->n_tiles, (segment + 1) * plan->segment_tiles) - 1;
            const float reference = places.references[last * plan->chunk_rows + m];
            largest = reference > largest ? reference : largest;
        }
        memset(gradient, 0, sizeof *gradient * width);
        for (ptrdiff_t segment = 0; segment < plan->n_segments; segment++) {
            const ptrdiff_t last = smaller(plan->n_tiles, (segment + 1) * plan->segment_tiles) - 1;
            const float factor = expf(places.references[last * plan->chunk_rows + m] - largest);
            const float *restrict part = places.d_states + (segment * plan->chunk_rows + m) * columns;
            others += factor * args->sums[segment * plan->chunk_rows + m];
            for (ptrdiff_t k = 0; k < width; k++)
                gradient[k] += factor * part[k];
        }
        const double target = exp((double)target_score - largest), total = target + others;
        const float share = (float)(others / total), inverse = (float)(1 / total);
        args->losses[row] = (double)largest - target_score + log1p(others + (target - 1));
        places.largest[m] = largest;
        places.target_share[m] = share;
        for (ptrdiff_t k = 0; k < width; k++)
            gradient[k] = gradient[k] * inverse - share * item[k];
        for (ptrdiff_t k = 0; k < columns; k++)
            places.weighted[(k - k % COLUMNS) * plan->chunk_rows + m * COLUMNS + k % COLUMNS]
                = k < width ? state[k] * inverse : 0.0f;
    }
}

/* Return the weighted states of a chunk for one tile: its exponentials may count from other references. */
TARGET static const float *NAME(weighted_for)(const softmax_plan *plan, const softmax_places *places,
                                              ptrdiff_t n_rows, ptrdiff_t tile, float *own)
{
    const float *references = places->references + tile * plan->chunk_rows;
    int other = 0;
    for (ptrdiff_t m = 0; m < n_rows; m++)
        other |= references[m] != places->largest[m];
    for (ptrdiff_t m = 0; other && m < n_rows; m++) {
        const float factor = expf(references[m] - places->largest[m]);
        for (ptrdiff_t column = 0; column < plan->d_items_row; column += COLUMNS)
            for (ptrdiff_t k = 0; k < COLUMNS; k++) {
                const ptrdiff_t place = column * plan->chunk_rows + m * COLUMNS + k;
                own[place] = places->weighted[place] * factor;
            }
    }
    return other ? own : places->weighted;
}

TARGET static void NAME(add_items)(const softmax_args *args, const softmax_plan *plan, ptrdiff_t chunk,
                                   ptrdiff_t tile, float *own)
{
    const softmax_places places = places_of(args, plan);
    const ptrdiff_t width = args->width, columns = plan->d_items_row, stride = places.stride;
    const ptrdiff_t first_item = tile * TILE, n_items = smaller(TILE, args->n_items - first_item);
    const ptrdiff_t chunk_row = chunk * plan->chunk_rows, n_rows = rows_of(args, plan, chunk);
    const float *const exponentials = places.exponentials + first_item * stride;
    const float *const weighted = NAME(weighted_for)(plan, &places, n_rows, tile, own);
    float *const d_items = args->d_items + first_item * columns;
    for (ptrdiff_t column = 0; column < columns; column += COLUMNS)
        for (ptrdiff_t item = 0; item < n_items; item += ROWS) {
            if (column == 0)
                NAME(prefetch)(exponentials + (item + ROWS) * stride, stride, n_rows);
            NAME(prefetch)(d_items + (item + ROWS) * columns + column, columns, COLUMNS);
            NAME(item_tile)(exponentials + item * stride, stride, weighted + column * plan->chunk_rows, n_rows,
                            d_items + item * columns + column, columns, chunk > 0);
        }
    for (ptrdiff_t m = 0; m < n_rows; m++) {
        const ptrdiff_t target = args->targets[chunk_row + m] - 1 - first_item;
        if (target >= 0 && target < n_items)
            for (ptrdiff_t k = 0; k < width; k++)
                d_items[target * columns + k] -= places.target_share[m] * args->states[(chunk_row + m) * width + k];
    }
}

static const softmax_kernel NAME(kernel) = {NAME(plan), NAME(prepare), NAME(scores), NAME(finish), NAME(add_items)};

#undef ISA
#undef TARGET
#undef VECTOR_BYTES
