#include "interaction_rows.h"

#include <stdlib.h>
#include <string.h>

#define SHORT_RUN 16 /* sorted by insertion */

typedef struct {
    int64_t key, row;
} keyed_row;

static void insertion_sort(keyed_row *rows, ptrdiff_t n)
{
    for (ptrdiff_t next = 1; next < n; next++) {
        const keyed_row moved = rows[next];
        ptrdiff_t place = next;
        for (; place > 0 && rows[place - 1].key > moved.key; place--)
            rows[place] = rows[place - 1];
        rows[place] = moved;
    }
}

static void merge(const keyed_row *from, ptrdiff_t middle, ptrdiff_t end, keyed_row *to)
{
    ptrdiff_t left = 0, right = middle;
    for (ptrdiff_t place = 0; place < end; place++)
        to[place] = right >= end || (left < middle && from[left].key <= from[right].key) ? from[left++] : from[right++];
}

/* Stable merge sort; `spare` has room for n rows. */
static void sort_rows(keyed_row *rows, keyed_row *spare, ptrdiff_t n)
{
    keyed_row *from = rows, *to = spare;
    for (ptrdiff_t start = 0; start < n; start += SHORT_RUN)
        insertion_sort(rows + start, n - start < SHORT_RUN ? n - start : SHORT_RUN);
    for (ptrdiff_t width = SHORT_RUN; width < n; width *= 2) {
        for (ptrdiff_t start = 0; start < n; start += 2 * width) {
            const ptrdiff_t left = n - start;
            merge(from + start, left < width ? left : width, left < 2 * width ? left : 2 * width, to + start);
        }
        keyed_row *sorted = to;
        to = from;
        from = sorted;
    }
    if (from != rows)
        memcpy(rows, from, (size_t)n * sizeof *rows);
}

int rows_in_order(const int32_t *users, const int64_t *keys, ptrdiff_t n, ptrdiff_t n_users, int64_t *indptr,
                  int64_t *order)
{
    memset(indptr, 0, (size_t)(n_users + 1) * sizeof *indptr);
    for (ptrdiff_t row = 0; row < n; row++)
        indptr[users[row] + 1]++;
    int64_t longest = 0;
    for (ptrdiff_t user = 0; user < n_users; user++) {
        longest = indptr[user + 1] > longest ? indptr[user + 1] : longest;
        indptr[user + 1] += indptr[user];
    }
    keyed_row *rows = malloc((size_t)(n + longest + 1) * sizeof *rows);
    int64_t *next = malloc((size_t)(n_users + 1) * sizeof *next);
    if (!rows || !next) {
        free(rows);
        free(next);
        return -1;
    }
    memcpy(next, indptr, (size_t)(n_users + 1) * sizeof *next);
    for (ptrdiff_t row = 0; row < n; row++)
        rows[next[users[row]]++] = (keyed_row){keys[row], row};
    for (ptrdiff_t user = 0; user < n_users; user++)
        sort_rows(rows + indptr[user], rows + n, indptr[user + 1] - indptr[user]);
    for (ptrdiff_t place = 0; place < n; place++)
        order[place] = rows[place].row;
    free(rows);
    free(next);
    return 0;
}

ptrdiff_t rows_repeated(const int64_t *order, const int64_t *indptr, ptrdiff_t n_users, const int64_t *keys,
                        const int32_t *items, ptrdiff_t n_items, uint8_t *repeated)
{
    int64_t *run_of_item = calloc((size_t)n_items + 1, sizeof *run_of_item); /* the last run that had it */
    int64_t run = 0;
    ptrdiff_t count = 0;
    if (!run_of_item)
        return -1;
    for (ptrdiff_t user = 0; user < n_users; user++) {
        run++;
        for (int64_t place = indptr[user]; place < indptr[user + 1]; place++) {
            const int64_t row = order[place];
            run += place > indptr[user] && keys[row] != keys[order[place - 1]];
            if (run_of_item[items[row]] == run) {
                repeated[row] = 1;
                count++;
            }
            run_of_item[items[row]] = run;
        }
    }
    free(run_of_item);
    return count;
}

void rows_of_core(const int32_t *users, const int32_t *items, ptrdiff_t n, int64_t k, int64_t *user_counts,
                  int64_t *item_counts, uint8_t *kept)
{
    for (int changed = 1; changed;) {
        changed = 0;
        for (ptrdiff_t row = 0; row < n; row++)
            if (kept[row] && (user_counts[users[row]] < k || item_counts[items[row]] < k)) {
                kept[row] = 0;
                user_counts[users[row]]--;
                item_counts[items[row]]--;
                changed = 1;
            }
    }
}

static inline ptrdiff_t copy_name(const uint8_t *text, const int64_t *offsets, int64_t name, uint8_t *out)
{
    const int64_t length = offsets[name + 1] - offsets[name];
    memcpy(out, text + offsets[name], (size_t)length);
    return length;
}

ptrdiff_t split_lines(const split_names *names, ptrdiff_t first, uint8_t *out, ptrdiff_t room, ptrdiff_t *written)
{
    ptrdiff_t user = first, place = 0;
    for (; user < names->n_users; user++) {
        const int32_t *items = names->items + names->indptr[user];
        const int64_t *ends = names->ends + user * names->n_parts;
        const int64_t count = names->indptr[user + 1] - names->indptr[user];
        int64_t needed = names->user_offsets[user + 1] - names->user_offsets[user] + names->n_parts + 1 + count;
        for (int64_t item = 0; item < count; item++)
            needed += names->item_offsets[items[item]] - names->item_offsets[items[item] - 1];
        if (needed > room - place)
            break;
        place += copy_name(names->user_text, names->user_offsets, user, out + place);
        for (int64_t part = 0, item = 0; part < names->n_parts; part++) {
            out[place++] = '\t';
            for (const int64_t start = item; item < ends[part]; item++) {
                if (item > start)
                    out[place++] = ' ';
                place += copy_name(names->item_text, names->item_offsets, items[item] - 1, out + place);
            }
        }
        out[place++] = '\n';
    }
    *written = place;
    return user;
}
