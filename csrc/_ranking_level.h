/* The ranking kernel for one type of number and one instruction set; _ranking_kernels.c includes it for each.
 *
 * Defined by the includer: NUMBER and INTEGER (of the same size), TARGET (attribute of every function), NAME(x)
 * (x with a suffix of its own), VECTOR_BYTES (0 without vector extensions), ROWS and VECTORS: the register tile is
 * the scores of ROWS users for VECTORS vectors of items.
 *
 * Every score, also that of a target, is made by score_panel: one sum over the vector's numbers in their order, by
 * the same instruction for each number. So a score depends on nothing but its two vectors, equal vectors are tied,
 * and neither the place in the table nor the number of threads can change a count.
 */

#if VECTOR_BYTES
typedef NUMBER NAME(vector) __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef INTEGER NAME(integers) __attribute__((vector_size(VECTOR_BYTES), may_alias));
#define IF_TRUE(comparison) (-(NAME(integers))(comparison)) /* true lanes are -1 */
#else
typedef NUMBER NAME(vector);
typedef INTEGER NAME(integers);
#define IF_TRUE(comparison) (comparison)
#endif
#define LANES ((ptrdiff_t)(sizeof(NAME(vector)) / sizeof(NUMBER)))
#define COLUMNS (VECTORS * LANES)
#define TILE_ITEMS ((ptrdiff_t)(TILE_ROW_BYTES / sizeof(NUMBER)))
#define TILE_STRIDE (TILE_ITEMS + COLUMNS) /* no power of two: the rows would compete for the same cache lines */

/* A thread's work space. The first two parts are read as vectors, so they lie on vector boundaries. */
typedef struct {
    NUMBER *panels; /* a block of items, interleaved by COLUMNS */
    NUMBER *tile;   /* scores [ROWS, TILE_STRIDE] */
    NUMBER *users;  /* a group of users, interleaved by ROWS */
} NAME(space);

static size_t NAME(space_bytes)(ptrdiff_t width, ptrdiff_t block_items)
{
    return sizeof(NUMBER) * ((block_items + COLUMNS) * width + ROWS * TILE_STRIDE + ROWS * width);
}

static NAME(space) NAME(divide)(void *memory, ptrdiff_t width, ptrdiff_t block_items)
{
    NAME(space) space = {memory, NULL, NULL};
    space.tile = space.panels + (block_items + COLUMNS - 1) / COLUMNS * COLUMNS * width;
    space.users = space.tile + ROWS * TILE_STRIDE;
    return space;
}

/* Write packed[k * lanes + lane] = rows[lane][k], and 0 where there is no row; a cache line of each row at a time. */
TARGET static inline void NAME(interleave)(const NUMBER *const *rows, ptrdiff_t n_rows, ptrdiff_t lanes,
                                           ptrdiff_t width, NUMBER *restrict packed)
{
    for (ptrdiff_t first = 0; first < width; first += 16) {
        ptrdiff_t last = first + 16 < width ? first + 16 : width;
        for (ptrdiff_t lane = 0; lane < lanes; lane++)
            for (ptrdiff_t k = first; k < last; k++)
                packed[k * lanes + lane] = lane < n_rows ? rows[lane][k] : 0;
    }
}

/* Interleave rows of a matrix that follow each other, at most as many as there are lanes. */
TARGET static inline void NAME(interleave_rows)(const NUMBER *matrix, ptrdiff_t n_rows, ptrdiff_t lanes,
                                                ptrdiff_t width, NUMBER *packed)
{
    const NUMBER *rows[ROWS > COLUMNS ? ROWS : COLUMNS];
    n_rows = n_rows < lanes ? n_rows : lanes;
    for (ptrdiff_t lane = 0; lane < n_rows; lane++)
        rows[lane] = matrix + lane * width;
    NAME(interleave)(rows, n_rows, lanes, width, packed);
}

/* Multiply a group of users and a panel of items; constant bounds let the compiler keep `sums` in registers. */
TARGET static void NAME(score_panel)(const NUMBER *restrict users, const NUMBER *restrict panel, ptrdiff_t width,
                                     NUMBER *restrict scores)
{
    NAME(vector) sums[ROWS][VECTORS], items[VECTORS];
    for (int row = 0; row < ROWS; row++)
        for (int v = 0; v < VECTORS; v++)
            sums[row][v] = (NAME(vector)){0};
    for (ptrdiff_t k = 0; k < width; k++) {
        for (int v = 0; v < VECTORS; v++)
            items[v] = *(const NAME(vector) *)(panel + k * COLUMNS + v * LANES);
        for (int row = 0; row < ROWS; row++)
            for (int v = 0; v < VECTORS; v++)
                sums[row][v] += users[k * ROWS + row] * items[v];
    }
    for (int row = 0; row < ROWS; row++)
        for (int v = 0; v < VECTORS; v++)
            *(NAME(vector) *)(scores + row * TILE_STRIDE + v * LANES) = sums[row][v];
}

/* Score the targets of one group of users and start their counts. */
TARGET static void NAME(start_group)(const ranking_query *query, ptrdiff_t group, void *memory)
{
    const NUMBER *rows[ROWS], *table = query->item_table;
    NAME(space) space = NAME(divide)(memory, query->width, COLUMNS);
    ptrdiff_t first = group * ROWS, left = query->n_users - first, n = left < ROWS ? left : ROWS;
    for (ptrdiff_t row = 0; row < n; row++)
        rows[row] = table + query->targets[first + row] * query->width;
    NAME(interleave)(rows, n, COLUMNS, query->width, space.panels);
    NAME(interleave_rows)((const NUMBER *)query->states + first * query->width, n, ROWS, query->width, space.users);
    NAME(score_panel)(space.users, space.panels, query->width, space.tile);
    for (ptrdiff_t row = 0; row < n; row++) {
        ptrdiff_t user = first + row;
        const int32_t *start = query->seen + query->indptr[query->seen_rows[user]];
        const int32_t *end = query->seen + query->indptr[query->seen_rows[user] + 1];
        const int32_t *place = first_not_below(start, end, query->targets[user]);
        int64_t target_seen = place < end && *place == query->targets[user];
        ((NUMBER *)query->target_scores)[user] = space.tile[row * TILE_STRIDE + row];
        query->greater[user] = 0;
        query->equal[user] = target_seen - 1; /* it will be counted once, and taken out with the seen items */
        query->n_candidates[user] = query->n_items - (end - start) + target_seen;
    }
}

/* What is found in a user's scores of a block of items, in lanes: adding them up once per block is enough. */
typedef struct {
    NAME(integers) greater, equal;
    NAME(vector) not_finite; /* 0, or NaN after a score that is not finite */
} NAME(tally);

TARGET static inline void NAME(count_row)(const NUMBER *scores, ptrdiff_t n, NUMBER target_score, NAME(tally) *tally)
{
    NAME(integers) greater = tally->greater, equal = tally->equal;
    NAME(vector) not_finite = tally->not_finite, target = (NAME(vector)){0} + target_score;
    for (ptrdiff_t j = 0; j < n; j += LANES) {
        NAME(vector) score = *(const NAME(vector) *)(scores + j);
        greater += IF_TRUE(score > target);
        equal += IF_TRUE(score == target);
        not_finite += score * 0;
    }
    tally->greater = greater;
    tally->equal = equal;
    tally->not_finite = not_finite;
}

TARGET static inline int64_t NAME(sum)(const NAME(integers) *lanes)
{
    const INTEGER *each = (const INTEGER *)lanes;
    int64_t sum = 0;
    for (int lane = 0; lane < LANES; lane++)
        sum += each[lane];
    return sum;
}

TARGET static inline int NAME(any_nan)(const NAME(vector) *lanes)
{
    const NUMBER *each = (const NUMBER *)lanes;
    int any = 0;
    for (int lane = 0; lane < LANES; lane++)
        any |= each[lane] != each[lane];
    return any;
}

/* Put what is better than the worst of the best k, which are sorted, in its place. Items come in the order of their
 * ids, so one that equals another has the larger id and stands behind it. */
TARGET static void NAME(keep_best)(const NUMBER *scores, ptrdiff_t n, int64_t first_item, ptrdiff_t k,
                                   int64_t *best_items, NUMBER *best_scores)
{
    for (ptrdiff_t j = 0; j < n; j++) {
        if (!(scores[j] > best_scores[k - 1]))
            continue;
        ptrdiff_t place = k - 1;
        for (; place > 0 && best_scores[place - 1] < scores[j]; place--) {
            best_scores[place] = best_scores[place - 1];
            best_items[place] = best_items[place - 1];
        }
        best_scores[place] = scores[j];
        best_items[place] = first_item + j;
    }
}

/* Add the exact numbers of scores that are not finite; only called where there are some. */
TARGET static void NAME(count_not_finite)(const ranking_query *query, NAME(space) space, ptrdiff_t n_items,
                                          ptrdiff_t first_user, ptrdiff_t n_users)
{
    for (ptrdiff_t panel = 0; panel < n_items; panel += COLUMNS) {
        NAME(score_panel)(space.users, space.panels + panel * query->width, query->width, space.tile);
        for (ptrdiff_t row = 0; row < n_users; row++) {
            int64_t found = 0;
            for (ptrdiff_t j = 0; j < COLUMNS && panel + j < n_items; j++)
                found += !(space.tile[row * TILE_STRIDE + j] * 0 == 0);
            #pragma omp atomic
            query->not_finite[first_user + row] += found;
        }
    }
}

/* Go through one group of users and the block of items in space.panels, ids first_item .. first_item + n_items - 1. */
TARGET static void NAME(run_group)(const ranking_query *query, NAME(space) space, ptrdiff_t first_item,
                                   ptrdiff_t n_items, ptrdiff_t group)
{
    NAME(tally) tallies[ROWS];
    int64_t greater_out[ROWS], equal_out[ROWS]; /* of what was counted and is no candidate */
    const int32_t *seen[ROWS], *seen_end[ROWS];
    ptrdiff_t first_user = group * ROWS, left = query->n_users - first_user, n_users = left < ROWS ? left : ROWS;
    NAME(interleave_rows)((const NUMBER *)query->states + first_user * query->width, n_users, ROWS, query->width,
                          space.users);
    memset(tallies, 0, sizeof tallies);
    for (ptrdiff_t row = 0; row < n_users; row++) {
        const int64_t *start = query->indptr + query->seen_rows[first_user + row];
        seen_end[row] = query->seen + start[1];
        seen[row] = first_not_below(query->seen + start[0], seen_end[row], first_item);
        greater_out[row] = equal_out[row] = 0;
    }
    for (ptrdiff_t first = 0; first < n_items; first += TILE_ITEMS) {
        ptrdiff_t n_tile = n_items - first < TILE_ITEMS ? n_items - first : TILE_ITEMS;
        ptrdiff_t n_whole = (n_tile + COLUMNS - 1) / COLUMNS * COLUMNS; /* the last panel's rest is scores of 0 */
        for (ptrdiff_t panel = 0; panel < n_whole; panel += COLUMNS)
            NAME(score_panel)(space.users, space.panels + (first + panel) * query->width, query->width,
                              space.tile + panel);
        for (ptrdiff_t row = 0; row < n_users; row++) {
            NUMBER *scores = space.tile + row * TILE_STRIDE;
            ptrdiff_t user = first_user + row, tile_item = first_item + first;
            if (query->k) {
                NUMBER *best_scores = (NUMBER *)query->best_scores + user * query->k;
                NAME(tally) *tally = &tallies[row];
                tally->greater = (NAME(integers)){0};
                NAME(count_row)(scores, n_whole, best_scores[query->k - 1], tally);
                for (; seen[row] < seen_end[row] && *seen[row] < tile_item + n_tile; seen[row]++)
                    scores[*seen[row] - tile_item] = (NUMBER)-INFINITY;
                if (NAME(sum)(&tally->greater))
                    NAME(keep_best)(scores, n_tile, tile_item, query->k, query->best_items + user * query->k,
                                    best_scores);
            } else {
                NUMBER target_score = ((const NUMBER *)query->target_scores)[user];
                NAME(count_row)(scores, n_whole, target_score, &tallies[row]);
                for (; seen[row] < seen_end[row] && *seen[row] < tile_item + n_tile; seen[row]++) {
                    greater_out[row] += scores[*seen[row] - tile_item] > target_score;
                    equal_out[row] += scores[*seen[row] - tile_item] == target_score;
                }
                greater_out[row] += (n_whole - n_tile) * (0 > target_score);
                equal_out[row] += (n_whole - n_tile) * (0 == target_score);
            }
        }
    }
    int not_finite = 0;
    for (ptrdiff_t row = 0; row < n_users; row++) {
        not_finite |= NAME(any_nan)(&tallies[row].not_finite);
        if (query->k)
            continue;
        int64_t greater = NAME(sum)(&tallies[row].greater) - greater_out[row];
        int64_t equal = NAME(sum)(&tallies[row].equal) - equal_out[row];
        #pragma omp atomic
        query->greater[first_user + row] += greater;
        #pragma omp atomic
        query->equal[first_user + row] += equal;
    }
    if (not_finite)
        NAME(count_not_finite)(query, space, n_items, first_user, n_users);
}

/* Rank users of the groups first_group .. last_group - 1 among the items first_item .. last_item - 1. */
TARGET static void NAME(run_task)(const ranking_query *query, ptrdiff_t first_item, ptrdiff_t last_item,
                                  ptrdiff_t block_items, ptrdiff_t first_group, ptrdiff_t last_group, void *memory)
{
    NAME(space) space = NAME(divide)(memory, query->width, block_items);
    for (; first_item < last_item; first_item += block_items) {
        ptrdiff_t n_items = last_item - first_item < block_items ? last_item - first_item : block_items;
        for (ptrdiff_t panel = 0; panel < n_items; panel += COLUMNS)
            NAME(interleave_rows)((const NUMBER *)query->item_table + (first_item + panel) * query->width,
                                  n_items - panel, COLUMNS, query->width, space.panels + panel * query->width);
        for (ptrdiff_t group = first_group; group < last_group; group++)
            NAME(run_group)(query, space, first_item, n_items, group);
    }
}

static const ranking_kernel NAME(kernel) = {ROWS, NAME(space_bytes), NAME(start_group), NAME(run_task)};

#undef IF_TRUE
#undef LANES
#undef COLUMNS
#undef TILE_ITEMS
#undef TILE_STRIDE
#undef NUMBER
#undef INTEGER
#undef NAME
