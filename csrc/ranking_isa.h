/* The ranking kernel for one type of number and one instruction set; each_isa.h says what is defined here for them.
 *
 * The register tile is the scores of ROWS users for COLUMNS items, VECTORS vectors of LANES. AVX-512 and float32:
 *
 *                            items 0 .. 15        items 16 .. 31
 *                            panel[k, 0]          panel[k, 1]          <- 2 registers, loaded for each k
 *     users[k, 0] broadcast  sums[0][0]           sums[0][1]
 *     users[k, 1]            sums[1][0]           sums[1][1]           24 registers hold the sums
 *       ...                    ...                  ...                until k has run over the width,
 *     users[k, 11]           sums[11][0]          sums[11][1]          then they go to the tile once
 *
 * One step k costs 2 loads, 12 broadcasts (part of the instruction) and 24 multiply-adds of 16 scores each.
 * What is streamed: panels of an item block, packed so that reads are sequential (second-level cache). What stays:
 * the row block, ROWS users packed in the same way, and their scores of TILE_ITEMS items (first-level cache), which are
 * compared with the targets' scores as soon as they are made, and never stored whole.
 *
 * Every score, also that of a target, is made by score_panel: one sum over the vector's numbers in their order, by
 * the same instruction for each number. Then comes the bias, as one number more that each user multiplies by 1, and
 * last the user's sparse entry for the item, which is added in the tile. So a score depends on nothing but its two
 * vectors, bias and entry, equal ones are tied, no entry is as good as one of 0, and neither the place in the table nor
 * the number of threads can change a count.
 */

/* Sums, the items' vectors and one number of a user fill the registers. */
#if VECTOR_BYTES == 64
#define ROWS 12
#define VECTORS 2
#elif VECTOR_BYTES == 32
#define ROWS 6
#define VECTORS 2
#elif VECTOR_BYTES == 16 && defined(__aarch64__)
#define ROWS 6
#define VECTORS 4
#elif VECTOR_BYTES == 16
#define ROWS 4
#define VECTORS 2
#else
#define ROWS 4
#define VECTORS 4
#endif

#if VECTOR_BYTES
typedef NUMBER NAME(vector) __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef INTEGER NAME(integers) __attribute__((vector_size(VECTOR_BYTES), may_alias));
#define IF_TRUE(comparison) (-(NAME(integers))(comparison)) /* true lanes are -1 */
#else
typedef NUMBER NAME(vector);
typedef INTEGER NAME(integers);
#define IF_TRUE(comparison) (comparison)
#endif

#include "register_tile.h"

_Static_assert(ROWS <= COLUMNS, "the targets of a row block fit a panel");
#define TILE_ITEMS ((ptrdiff_t)(TILE_ROW_BYTES / sizeof(NUMBER)))
#define TILE_STRIDE (TILE_ITEMS + COLUMNS) /* no power of two: the rows would compete for the same cache lines */

/* A thread's work space. The first two parts are read as vectors, so they lie on vector boundaries. */
typedef struct {
    NUMBER *panels; /* an item block, packed by COLUMNS */
    NUMBER *tile;   /* scores [ROWS, TILE_STRIDE] */
    NUMBER *users;  /* a row block, packed by ROWS */
} NAME(workspace);

static size_t NAME(workspace_bytes)(ptrdiff_t depth, ptrdiff_t block_items)
{
    return sizeof(NUMBER) * (round_up(block_items, COLUMNS) * depth + ROWS * TILE_STRIDE + ROWS * depth);
}

static NAME(workspace) NAME(workspace_in)(void *memory, ptrdiff_t depth, ptrdiff_t block_items)
{
    NAME(workspace) workspace = {memory, NULL, NULL};
    workspace.tile = workspace.panels + round_up(block_items, COLUMNS) * depth;
    workspace.users = workspace.tile + ROWS * TILE_STRIDE;
    return workspace;
}

/* Write packed[k * lanes + lane] = matrix[lane, k], or of row ids[lane] if there are ids, and 0 in lanes beyond n_rows.
 * A cache line of each row at a time; without TARGET, for compilers would take scatter instructions, which are slow. */
NOINLINE static void NAME(pack_panel)(const NUMBER *matrix, const int64_t *ids, ptrdiff_t n_rows, ptrdiff_t lanes,
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

/* Pack the items ids[0] .. ids[n - 1], or without ids first .. first + n - 1. */
static void NAME(pack_items)(const ranking_args *args, const int64_t *ids, ptrdiff_t first, ptrdiff_t n,
                             NUMBER *panel)
{
    const NUMBER *bias = args->bias;
    NAME(pack_panel)((const NUMBER *)args->item_table + first * args->width, ids, n, COLUMNS, args->width, panel);
    for (ptrdiff_t lane = 0; bias && lane < COLUMNS; lane++)
        panel[args->width * COLUMNS + lane] = lane < n ? bias[ids ? ids[lane] : first + lane] : 0;
}

/* Pack the users of a row block. */
static void NAME(pack_users)(const ranking_args *args, ptrdiff_t first, ptrdiff_t n, NUMBER *users)
{
    NAME(pack_panel)((const NUMBER *)args->states + first * args->width, NULL, n, ROWS, args->width, users);
    for (ptrdiff_t row = 0; args->bias && row < ROWS; row++)
        users[args->width * ROWS + row] = 1;
}

/* Multiply a row block and a panel of items. */
TARGET static void NAME(score_panel)(const NUMBER *restrict users, const NUMBER *restrict panel, ptrdiff_t depth,
                                     NUMBER *restrict scores)
{
    NAME(tile)(users, 1, ROWS, panel, COLUMNS, depth, scores, TILE_STRIDE, 0);
}

/* The next of a user's sparse entries. */
typedef struct {
    const int32_t *item, *end;
    const NUMBER *value;
} NAME(entries);

/* Return the user's entries from that of first_item on. */
static inline NAME(entries) NAME(entries_from)(const ranking_args *args, ptrdiff_t user, ptrdiff_t first_item)
{
    const int32_t *items = args->sparse_items, *end = items + args->sparse_indptr[user + 1];
    const int32_t *item = first_not_below(items + args->sparse_indptr[user], end, first_item);
    NAME(entries) entries = {item, end, (const NUMBER *)args->sparse_values + (item - items)};
    return entries;
}

/* Add a user's entries to the scores of n_items items from first_item on. */
TARGET static inline void NAME(add_entries)(NUMBER *scores, ptrdiff_t n_items, ptrdiff_t first_item,
                                            NAME(entries) *entries)
{
    NAME(entries) next = *entries;
    for (; next.end - next.item >= 4 && next.item[3] < first_item + n_items; next.item += 4, next.value += 4) {
        PREFETCH(next.item + ENTRIES_AHEAD);
        PREFETCH(next.value + ENTRIES_AHEAD);
        UNROLL
        for (int j = 0; j < 4; j++)
            scores[next.item[j] - first_item] += next.value[j];
    }
    for (; next.item < next.end && *next.item < first_item + n_items; next.item++, next.value++)
        scores[*next.item - first_item] += *next.value;
    *entries = next;
}

/* Score the targets of a row block and start their counts. */
TARGET static void NAME(score_targets)(const ranking_args *args, ptrdiff_t row_block, void *memory)
{
    NAME(workspace) workspace = NAME(workspace_in)(memory, depth_of(args), COLUMNS);
    ptrdiff_t first = row_block * ROWS, n = smaller(ROWS, args->n_users - first);
    NAME(pack_items)(args, args->targets + first, 0, n, workspace.panels);
    NAME(pack_users)(args, first, n, workspace.users);
    NAME(score_panel)(workspace.users, workspace.panels, depth_of(args), workspace.tile);
    for (ptrdiff_t row = 0; row < n; row++) {
        ptrdiff_t user = first + row;
        const int32_t *seen = args->seen + args->indptr[args->seen_rows[user]];
        const int32_t *end = args->seen + args->indptr[args->seen_rows[user] + 1];
        const int32_t *place = first_not_below(seen, end, args->targets[user]);
        int64_t target_seen = place < end && *place == args->targets[user];
        NUMBER *score = workspace.tile + row * TILE_STRIDE + row;
        if (args->sparse_indptr) {
            NAME(entries) entries = NAME(entries_from)(args, user, args->targets[user]);
            NAME(add_entries)(score, 1, args->targets[user], &entries);
        }
        ((NUMBER *)args->target_scores)[user] = *score;
        args->greater[user] = 0;
        args->equal[user] = target_seen - 1; /* it is counted once, and once taken out if seen */
        args->n_candidates[user] = args->n_items - (end - seen) + target_seen;
    }
}

/* A user's counts in an item block, in lanes that are added up at its end, and what comes next of the seen items and of
 * the sparse entries. */
typedef struct {
    NAME(integers) greater, equal;
    NAME(vector) not_finite;        /* 0, or NaN after a score that is not finite */
    int64_t greater_out, equal_out; /* of what is in the lanes and is no candidate */
    const int32_t *seen, *seen_end;
    NAME(entries) entries;
} NAME(row_counts);

/* Find each user's first seen item and first entry from first_item on. The searches take turns, so that their waits for
 * memory overlap. */
TARGET static void NAME(find_places)(const ranking_args *args, ptrdiff_t first_item, ptrdiff_t first_user,
                                     ptrdiff_t n_users, NAME(row_counts) *counts)
{
    const int32_t *starts[2 * ROWS];
    ptrdiff_t left[2 * ROWS], longest = 0, n = args->sparse_indptr ? 2 * n_users : n_users;
    for (ptrdiff_t j = 0; j < n; j++) {
        ptrdiff_t user = first_user + (j < n_users ? j : j - n_users);
        const int64_t *bounds = j < n_users ? args->indptr + args->seen_rows[user] : args->sparse_indptr + user;
        starts[j] = (j < n_users ? args->seen : args->sparse_items) + bounds[0];
        left[j] = bounds[1] - bounds[0];
        longest = larger(longest, left[j]);
        if (j < n_users)
            counts[j].seen_end = starts[j] + left[j];
        else
            counts[j - n_users].entries.end = starts[j] + left[j];
    }
    for (; longest > 0; longest /= 2)
        for (ptrdiff_t j = 0; j < n; j++) {
            ptrdiff_t half = (left[j] + 1) / 2;
            if (!half)
                continue;
            starts[j] += starts[j][half - 1] < first_item ? half : 0;
            left[j] -= half;
        }
    for (ptrdiff_t j = 0; j < n_users; j++)
        counts[j].seen = starts[j];
    for (ptrdiff_t j = n_users; j < n; j++) {
        NAME(entries) *entries = &counts[j - n_users].entries;
        entries->item = starts[j];
        entries->value = (const NUMBER *)args->sparse_values + (starts[j] - args->sparse_items);
        for (ptrdiff_t ahead = 0; ahead < ENTRIES_AHEAD; ahead += 16) {
            PREFETCH(entries->item + ahead);
            PREFETCH(entries->value + ahead);
        }
    }
}

/* Compare the scores of a user with one number. */
TARGET static inline void NAME(compare)(const NUMBER *scores, ptrdiff_t n, NUMBER number, NAME(row_counts) *counts)
{
    NAME(integers) greater = counts->greater, equal = counts->equal;
    NAME(vector) not_finite = counts->not_finite, numbers = (NAME(vector)){0} + number;
    for (ptrdiff_t j = 0; j < n; j += LANES) {
        NAME(vector) score = *(const NAME(vector) *)(scores + j);
        greater += IF_TRUE(score > numbers);
        equal += IF_TRUE(score == numbers);
        not_finite += score * 0;
    }
    counts->greater = greater;
    counts->equal = equal;
    counts->not_finite = not_finite;
}

TARGET static inline int64_t NAME(sum)(const NAME(integers) *lanes)
{
    const INTEGER *each = (const INTEGER *)lanes;
    int64_t sum = 0;
    for (int lane = 0; lane < LANES; lane++)
        sum += each[lane];
    return sum;
}

/* Count a user's scores of a tile: n_items of them from that of first_item on, and scores of 0 up to n_whole. */
TARGET static inline void NAME(count_row)(const NUMBER *scores, ptrdiff_t n_items, ptrdiff_t n_whole,
                                          ptrdiff_t first_item, NUMBER target_score, NAME(row_counts) *counts)
{
    NAME(compare)(scores, n_whole, target_score, counts);
    for (; counts->seen < counts->seen_end && *counts->seen < first_item + n_items; counts->seen++) {
        counts->greater_out += scores[*counts->seen - first_item] > target_score;
        counts->equal_out += scores[*counts->seen - first_item] == target_score;
    }
    counts->greater_out += (n_whole - n_items) * (0 > target_score);
    counts->equal_out += (n_whole - n_items) * (0 == target_score);
}

/* Put the scores of a tile that are better than the worst of the user's k best, which are sorted, in their places.
 * Items come in the order of their ids: one that ties with another has the larger id and stands behind it. */
TARGET static inline void NAME(keep_best)(NUMBER *scores, ptrdiff_t n_items, ptrdiff_t n_whole, ptrdiff_t first_item,
                                          ptrdiff_t k, int64_t *best_items, NUMBER *best_scores,
                                          NAME(row_counts) *counts)
{
    counts->greater = (NAME(integers)){0};
    NAME(compare)(scores, n_whole, best_scores[k - 1], counts);
    for (; counts->seen < counts->seen_end && *counts->seen < first_item + n_items; counts->seen++)
        scores[*counts->seen - first_item] = (NUMBER)-INFINITY;
    if (!NAME(sum)(&counts->greater))
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
TARGET static void NAME(count_not_finite)(const ranking_args *args, NAME(workspace) workspace, ptrdiff_t first_item,
                                          ptrdiff_t n_items, ptrdiff_t first_user, ptrdiff_t n_users)
{
    ptrdiff_t depth = depth_of(args);
    for (ptrdiff_t panel = 0; panel < n_items; panel += COLUMNS) {
        ptrdiff_t n_panel = smaller(COLUMNS, n_items - panel);
        NAME(score_panel)(workspace.users, workspace.panels + panel * depth, depth, workspace.tile);
        for (ptrdiff_t row = 0; row < n_users; row++) {
            NUMBER *scores = workspace.tile + row * TILE_STRIDE;
            int64_t count = 0;
            if (args->sparse_indptr) {
                NAME(entries) entries = NAME(entries_from)(args, first_user + row, first_item + panel);
                NAME(add_entries)(scores, n_panel, first_item + panel, &entries);
            }
            for (ptrdiff_t j = 0; j < n_panel; j++)
                count += !(scores[j] * 0 == 0);
            #pragma omp atomic
            args->not_finite[first_user + row] += count;
        }
    }
}

/* Add up the counts of a row block; another thread may have the same users and other items. */
TARGET static void NAME(add_counts)(const ranking_args *args, NAME(workspace) workspace, ptrdiff_t first_item,
                                    ptrdiff_t n_items, ptrdiff_t first_user, ptrdiff_t n_users,
                                    const NAME(row_counts) *counts)
{
    NAME(integers) not_finite = {0};
    for (ptrdiff_t row = 0; row < n_users; row++) {
        not_finite += IF_TRUE(counts[row].not_finite != counts[row].not_finite);
        if (args->k)
            continue;
        int64_t greater = NAME(sum)(&counts[row].greater) - counts[row].greater_out;
        int64_t equal = NAME(sum)(&counts[row].equal) - counts[row].equal_out;
        #pragma omp atomic
        args->greater[first_user + row] += greater;
        #pragma omp atomic
        args->equal[first_user + row] += equal;
    }
    if (NAME(sum)(&not_finite))
        NAME(count_not_finite)(args, workspace, first_item, n_items, first_user, n_users);
}

/* Rank the users of a row block among the item block in workspace.panels, which starts with first_item. */
TARGET static void NAME(rank_row_block)(const ranking_args *args, NAME(workspace) workspace, ptrdiff_t first_item,
                                        ptrdiff_t n_items, ptrdiff_t row_block)
{
    NAME(row_counts) counts[ROWS];
    ptrdiff_t depth = depth_of(args);
    ptrdiff_t first_user = row_block * ROWS, n_users = smaller(ROWS, args->n_users - first_user);
    NAME(pack_users)(args, first_user, n_users, workspace.users);
    memset(counts, 0, sizeof counts);
    NAME(find_places)(args, first_item, first_user, n_users, counts);
    for (ptrdiff_t first = 0; first < n_items; first += TILE_ITEMS) {
        ptrdiff_t n_tile = smaller(TILE_ITEMS, n_items - first), n_whole = round_up(n_tile, COLUMNS);
        for (ptrdiff_t panel = 0; panel < n_whole; panel += COLUMNS)
            NAME(score_panel)(workspace.users, workspace.panels + (first + panel) * depth, depth,
                              workspace.tile + panel);
        for (ptrdiff_t row = 0; args->sparse_indptr && row < n_users; row++)
            NAME(add_entries)(workspace.tile + row * TILE_STRIDE, n_tile, first_item + first, &counts[row].entries);
        for (ptrdiff_t row = 0; row < n_users; row++) {
            ptrdiff_t user = first_user + row;
            NUMBER *scores = workspace.tile + row * TILE_STRIDE;
            if (args->k)
                NAME(keep_best)(scores, n_tile, n_whole, first_item + first, args->k,
                                args->best_items + user * args->k, (NUMBER *)args->best_scores + user * args->k,
                                &counts[row]);
            else
                NAME(count_row)(scores, n_tile, n_whole, first_item + first,
                                ((const NUMBER *)args->target_scores)[user], &counts[row]);
        }
    }
    NAME(add_counts)(args, workspace, first_item, n_items, first_user, n_users, counts);
}

/* Rank the row blocks first_row_block .. last_row_block - 1 among the items first_item .. last_item - 1. */
TARGET static void NAME(run_task)(const ranking_args *args, ptrdiff_t first_item, ptrdiff_t last_item,
                                  ptrdiff_t block_items, ptrdiff_t first_row_block, ptrdiff_t last_row_block,
                                  void *memory)
{
    NAME(workspace) workspace = NAME(workspace_in)(memory, depth_of(args), block_items);
    for (; first_item < last_item; first_item += block_items) {
        ptrdiff_t n_items = smaller(block_items, last_item - first_item);
        for (ptrdiff_t panel = 0; panel < n_items; panel += COLUMNS)
            NAME(pack_items)(args, NULL, first_item + panel, smaller(COLUMNS, n_items - panel),
                             workspace.panels + panel * depth_of(args));
        for (ptrdiff_t row_block = first_row_block; row_block < last_row_block; row_block++)
            NAME(rank_row_block)(args, workspace, first_item, n_items, row_block);
    }
}

static const ranking_kernel NAME(kernel) = {ROWS, NAME(workspace_bytes), NAME(score_targets), NAME(run_task)};

#undef ROWS
#undef VECTORS
#undef IF_TRUE
#undef ISA
#undef TARGET
#undef VECTOR_BYTES
