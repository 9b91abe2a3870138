/* The ranking kernel for one type of number and one instruction set; _ranking_kernels.c includes it for each.
 *
 * Defined by the includer: NUMBER and INTEGER (of the same size), TARGET (attribute that selects the set), NAME(x)
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
_Static_assert(ROWS <= VECTORS * (sizeof(NAME(vector)) / sizeof(NUMBER)), "a group's targets fill one panel at most");
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
    return sizeof(NUMBER) * (round_up(block_items, COLUMNS) * width + ROWS * TILE_STRIDE + ROWS * width);
}

static NAME(space) NAME(divide)(void *memory, ptrdiff_t width, ptrdiff_t block_items)
{
    NAME(space) space = {memory, NULL, NULL};
    space.tile = space.panels + round_up(block_items, COLUMNS) * width;
    space.users = space.tile + ROWS * TILE_STRIDE;
    return space;
}

/* Write packed[k * lanes + lane] = matrix[lane, k], or of row ids[lane] if there are ids, and 0 in lanes beyond n_rows.
 * A cache line of each row at a time; without TARGET, for compilers would take scatter instructions, which are slow. */
NOINLINE static void NAME(interleave)(const NUMBER *matrix, const int64_t *ids, ptrdiff_t n_rows, ptrdiff_t lanes,
                                      ptrdiff_t width, NUMBER *restrict packed)
{
    for (ptrdiff_t first = 0; first < width; first += 16) {
        ptrdiff_t last = smaller(first + 16, width);
        for (ptrdiff_t lane = 0; lane < lanes; lane++) {
            const NUMBER *row = matrix + (ids && lane < n_rows ? ids[lane] : lane) * width;
            for (ptrdiff_t k = first; k < last; k++)
                packed[k * lanes + lane] = lane < n_rows ? row[k] : 0;
        }
    }
}

/* Multiply a group of users and a panel of items. Compilers keep `sums` in registers only with the loops unrolled. */
TARGET static void NAME(score_panel)(const NUMBER *restrict users, const NUMBER *restrict panel, ptrdiff_t width,
                                     NUMBER *restrict scores)
{
    NAME(vector) sums[ROWS][VECTORS], items[VECTORS];
    UNROLL
    for (int row = 0; row < ROWS; row++)
        UNROLL
        for (int v = 0; v < VECTORS; v++)
            sums[row][v] = (NAME(vector)){0};
    for (ptrdiff_t k = 0; k < width; k++) {
        UNROLL
        for (int v = 0; v < VECTORS; v++)
            items[v] = *(const NAME(vector) *)(panel + k * COLUMNS + v * LANES);
        UNROLL
        for (int row = 0; row < ROWS; row++)
            UNROLL
            for (int v = 0; v < VECTORS; v++)
                sums[row][v] += users[k * ROWS + row] * items[v];
    }
    UNROLL
    for (int row = 0; row < ROWS; row++)
        UNROLL
        for (int v = 0; v < VECTORS; v++)
            *(NAME(vector) *)(scores + row * TILE_STRIDE + v * LANES) = sums[row][v];
}

/* Score the targets of one group of users and start their counts. */
TARGET static void NAME(start_group)(const ranking_query *query, ptrdiff_t group, void *memory)
{
    NAME(space) space = NAME(divide)(memory, query->width, COLUMNS);
    ptrdiff_t first = group * ROWS, n = smaller(ROWS, query->n_users - first);
    NAME(interleave)(query->item_table, query->targets + first, n, COLUMNS, query->width, space.panels);
    NAME(interleave)((const NUMBER *)query->states + first * query->width, NULL, n, ROWS, query->width, space.users);
    NAME(score_panel)(space.users, space.panels, query->width, space.tile);
    for (ptrdiff_t row = 0; row < n; row++) {
        ptrdiff_t user = first + row;
        const int32_t *seen = query->seen + query->indptr[query->seen_rows[user]];
        const int32_t *end = query->seen + query->indptr[query->seen_rows[user] + 1];
        const int32_t *place = first_not_below(seen, end, query->targets[user]);
        int64_t target_seen = place < end && *place == query->targets[user];
        ((NUMBER *)query->target_scores)[user] = space.tile[row * TILE_STRIDE + row];
        query->greater[user] = 0;
        query->equal[user] = target_seen - 1; /* it is counted once, and once taken out if seen */
        query->n_candidates[user] = query->n_items - (end - seen) + target_seen;
    }
}

/* A user while a block of items passes: counts in lanes, added up once per block, and the next of the seen items. */
typedef struct {
    NAME(integers) greater, equal;
    NAME(vector) not_finite;        /* 0, or NaN after a score that is not finite */
    int64_t greater_out, equal_out; /* of what is in the lanes and is no candidate */
    const int32_t *seen, *seen_end;
} NAME(passing);

/* Compare the scores of a user with one number. */
TARGET static inline void NAME(compare)(const NUMBER *scores, ptrdiff_t n, NUMBER number, NAME(passing) *passing)
{
    NAME(integers) greater = passing->greater, equal = passing->equal;
    NAME(vector) not_finite = passing->not_finite, numbers = (NAME(vector)){0} + number;
    for (ptrdiff_t j = 0; j < n; j += LANES) {
        NAME(vector) score = *(const NAME(vector) *)(scores + j);
        greater += IF_TRUE(score > numbers);
        equal += IF_TRUE(score == numbers);
        not_finite += score * 0;
    }
    passing->greater = greater;
    passing->equal = equal;
    passing->not_finite = not_finite;
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

/* Count a user's scores of a tile: n_items of them from that of first_item on, and scores of 0 up to n_whole. */
TARGET static inline void NAME(count_row)(const NUMBER *scores, ptrdiff_t n_items, ptrdiff_t n_whole,
                                          ptrdiff_t first_item, NUMBER target_score, NAME(passing) *passing)
{
    NAME(compare)(scores, n_whole, target_score, passing);
    for (; passing->seen < passing->seen_end && *passing->seen < first_item + n_items; passing->seen++) {
        passing->greater_out += scores[*passing->seen - first_item] > target_score;
        passing->equal_out += scores[*passing->seen - first_item] == target_score;
    }
    passing->greater_out += (n_whole - n_items) * (0 > target_score);
    passing->equal_out += (n_whole - n_items) * (0 == target_score);
}

/* Put the scores of a tile that are better than the worst of the user's k best, which are sorted, in their places.
 * Items come in the order of their ids: one that ties with another has the larger id and stands behind it. */
TARGET static inline void NAME(keep_best)(NUMBER *scores, ptrdiff_t n_items, ptrdiff_t n_whole, ptrdiff_t first_item,
                                          ptrdiff_t k, int64_t *best_items, NUMBER *best_scores,
                                          NAME(passing) *passing)
{
    passing->greater = (NAME(integers)){0};
    NAME(compare)(scores, n_whole, best_scores[k - 1], passing);
    for (; passing->seen < passing->seen_end && *passing->seen < first_item + n_items; passing->seen++)
        scores[*passing->seen - first_item] = (NUMBER)-INFINITY;
    if (!NAME(sum)(&passing->greater))
        return;
    for (ptrdiff_t panel = 0; panel < n_items; panel += COLUMNS) {
        int any = 0;
        for (ptrdiff_t j = panel; j < panel + COLUMNS; j++) /* in vectors, unlike the loop below */
            any |= scores[j] > best_scores[k - 1];
        for (ptrdiff_t j = panel; any && j < smaller(panel + COLUMNS, n_items); j++) {
            ptrdiff_t place = k - 1;
            if (!(scores[j] > best_scores[place]))
                continue;
            for (; place > 0 && best_scores[place - 1] < scores[j]; place--) {
                best_scores[place] = best_scores[place - 1];
                best_items[place] = best_items[place - 1];
            }
            best_scores[place] = scores[j];
            best_items[place] = first_item + j;
        }
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

/* Add up what has passed; another thread may have the same users and other items. */
TARGET static void NAME(finish_group)(const ranking_query *query, NAME(space) space, ptrdiff_t n_items,
                                      ptrdiff_t first_user, ptrdiff_t n_users, const NAME(passing) *passing)
{
    int not_finite = 0;
    for (ptrdiff_t row = 0; row < n_users; row++) {
        not_finite |= NAME(any_nan)(&passing[row].not_finite);
        if (query->k)
            continue;
        int64_t greater = NAME(sum)(&passing[row].greater) - passing[row].greater_out;
        int64_t equal = NAME(sum)(&passing[row].equal) - passing[row].equal_out;
        #pragma omp atomic
        query->greater[first_user + row] += greater;
        #pragma omp atomic
        query->equal[first_user + row] += equal;
    }
    if (not_finite)
        NAME(count_not_finite)(query, space, n_items, first_user, n_users);
}

/* Let the block of items in space.panels, which starts with first_item, pass one group of users. */
TARGET static void NAME(run_group)(const ranking_query *query, NAME(space) space, ptrdiff_t first_item,
                                   ptrdiff_t n_items, ptrdiff_t group)
{
    NAME(passing) passing[ROWS];
    ptrdiff_t width = query->width, first_user = group * ROWS, n_users = smaller(ROWS, query->n_users - first_user);
    NAME(interleave)((const NUMBER *)query->states + first_user * width, NULL, n_users, ROWS, width, space.users);
    memset(passing, 0, sizeof passing);
    for (ptrdiff_t row = 0; row < n_users; row++) {
        const int64_t *bounds = query->indptr + query->seen_rows[first_user + row];
        passing[row].seen_end = query->seen + bounds[1];
        passing[row].seen = first_not_below(query->seen + bounds[0], passing[row].seen_end, first_item);
    }
    for (ptrdiff_t first = 0; first < n_items; first += TILE_ITEMS) {
        ptrdiff_t n_tile = smaller(TILE_ITEMS, n_items - first), n_whole = round_up(n_tile, COLUMNS);
        for (ptrdiff_t panel = 0; panel < n_whole; panel += COLUMNS)
            NAME(score_panel)(space.users, space.panels + (first + panel) * width, width, space.tile + panel);
        for (ptrdiff_t row = 0; row < n_users; row++) {
            ptrdiff_t user = first_user + row;
            NUMBER *scores = space.tile + row * TILE_STRIDE;
            if (query->k)
                NAME(keep_best)(scores, n_tile, n_whole, first_item + first, query->k,
                                query->best_items + user * query->k, (NUMBER *)query->best_scores + user * query->k,
                                &passing[row]);
            else
                NAME(count_row)(scores, n_tile, n_whole, first_item + first,
                                ((const NUMBER *)query->target_scores)[user], &passing[row]);
        }
    }
    NAME(finish_group)(query, space, n_items, first_user, n_users, passing);
}

/* Rank users of the groups first_group .. last_group - 1 among the items first_item .. last_item - 1. */
TARGET static void NAME(run_task)(const ranking_query *query, ptrdiff_t first_item, ptrdiff_t last_item,
                                  ptrdiff_t block_items, ptrdiff_t first_group, ptrdiff_t last_group, void *memory)
{
    NAME(space) space = NAME(divide)(memory, query->width, block_items);
    const NUMBER *table = query->item_table;
    for (; first_item < last_item; first_item += block_items) {
        ptrdiff_t n_items = smaller(block_items, last_item - first_item);
        for (ptrdiff_t panel = 0; panel < n_items; panel += COLUMNS)
            NAME(interleave)(table + (first_item + panel) * query->width, NULL, smaller(COLUMNS, n_items - panel),
                             COLUMNS, query->width, space.panels + panel * query->width);
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
