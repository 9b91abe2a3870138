#include "interaction_rows.h"

#include <stdlib.h>
#include <string.h>

#define SHORT_RUN 16 /* sorted by insertion */
#define MOST_BUCKETS 512 /* of users: one's rows should fit into a cache */

typedef struct {
    int64_t key;
    int32_t user, item;
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
    ptrdiff_t ordered = 1;
    while (ordered < n && rows[ordered - 1].key <= rows[ordered].key)
        ordered++;
    if (ordered >= n)
        return;
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

/* Rows in buckets of neighbouring users, and where each bucket begins. */
typedef struct {
    keyed_row *rows;
    ptrdiff_t starts[MOST_BUCKETS + 1];
    int shift; /* of a user's number, for that of its bucket */
} row_buckets;

/* Put rows into buckets, in their order; -1 without memory. Every thread counts, and then places, rows of its own. */
static int fill_buckets(const row_columns *from, row_buckets *buckets, int threads)
{
    ptrdiff_t (*places)[MOST_BUCKETS] = calloc((size_t)threads, sizeof *places), place = 0;
    const int shift = buckets->shift;
    if (!places)
        return -1;
    #pragma omp parallel for num_threads(threads)
    for (int one = 0; one < threads; one++)
        for (ptrdiff_t row = from->n * one / threads; row < from->n * (one + 1) / threads; row++)
            places[one][from->users[row] >> shift]++;
    for (int bucket = 0; bucket < MOST_BUCKETS; bucket++) {
        buckets->starts[bucket] = place;
        for (int one = 0; one < threads; one++) {
            const ptrdiff_t count = places[one][bucket];
            places[one][bucket] = place;
            place += count;
        }
    }
    buckets->starts[MOST_BUCKETS] = place;
    #pragma omp parallel for num_threads(threads)
    for (int one = 0; one < threads; one++)
        for (ptrdiff_t row = from->n * one / threads; row < from->n * (one + 1) / threads; row++)
            buckets->rows[places[one][from->users[row] >> shift]++] =
                (keyed_row){from->keys ? from->keys[row] : 0, from->users[row], from->items[row]};
    free(places);
    return 0;
}

/* Sort the rows of a bucket; `spare` has room for twice as many rows, and `places` for the number of users. */
static void sort_bucket(const row_buckets *buckets, int bucket, const row_columns *to, keyed_row *spare,
                        ptrdiff_t *places)
{
    const ptrdiff_t start = buckets->starts[bucket], n = buckets->starts[bucket + 1] - start;
    const keyed_row *rows = buckets->rows + start;
    const ptrdiff_t first = (ptrdiff_t)bucket << buckets->shift, end = first + ((ptrdiff_t)1 << buckets->shift);
    const ptrdiff_t n_users = (end < to->n_users ? end : to->n_users) - first;
    ptrdiff_t place = 0;
    for (ptrdiff_t user = 0; user < n_users; user++)
        places[user] = 0;
    for (ptrdiff_t row = 0; row < n; row++)
        places[rows[row].user - first]++;
    for (ptrdiff_t user = 0; user < n_users; user++) {
        const ptrdiff_t count = places[user];
        places[user] = place;
        place += count;
        to->indptr[first + user + 1] = start + place;
    }
    for (ptrdiff_t row = 0; row < n; row++)
        spare[places[rows[row].user - first]++] = rows[row];
    for (ptrdiff_t user = 0, begin = 0; user < n_users; begin = places[user++])
        sort_rows(spare + begin, spare + n, places[user] - begin);
    for (ptrdiff_t row = 0; row < n; row++) {
        to->users[start + row] = spare[row].user;
        to->items[start + row] = spare[row].item;
        if (to->keys)
            to->keys[start + row] = spare[row].key;
    }
}

int rows_by_user(const row_columns *from, const row_columns *to, void *room, int threads)
{
    row_buckets buckets = {.rows = room, .shift = 0};
    int failed = 0;
    while ((from->n_users - 1) >> buckets.shift >= MOST_BUCKETS)
        buckets.shift++;
    if (fill_buckets(from, &buckets, threads))
        return -1;
    ptrdiff_t largest = 0;
    for (int bucket = 0; bucket < MOST_BUCKETS; bucket++)
        if (buckets.starts[bucket + 1] - buckets.starts[bucket] > largest)
            largest = buckets.starts[bucket + 1] - buckets.starts[bucket];
    to->indptr[0] = 0;
    #pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        keyed_row *spare = malloc((size_t)(2 * largest + 1) * sizeof *spare);
        ptrdiff_t *places = malloc(sizeof *places << buckets.shift);
        failed |= !spare || !places;
        #pragma omp for schedule(dynamic)
        for (int bucket = 0; bucket < MOST_BUCKETS; bucket++)
            if (!failed)
                sort_bucket(&buckets, bucket, to, spare, places);
        free(spare);
        free(places);
    }
    return failed ? -1 : 0;
}

ptrdiff_t rows_repeated(const row_columns *rows, ptrdiff_t n_items, uint8_t *repeated)
{
    int64_t *run_of_item = calloc((size_t)n_items + 1, sizeof *run_of_item); /* the last run that had it */
    ptrdiff_t count = 0;
    int64_t run = 0;
    if (!run_of_item)
        return -1;
    for (ptrdiff_t start = 0, end; start < rows->n; start = end) {
        for (end = start + 1; end < rows->n && rows->keys[end] == rows->keys[start]
             && rows->users[end] == rows->users[start];)
            end++;
        if (end == start + 1)
            continue; /* nothing is looked up for most rows */
        run++;
        for (ptrdiff_t row = start; row < end; row++) {
            repeated[row] = run_of_item[rows->items[row]] == run;
            count += repeated[row];
            run_of_item[rows->items[row]] = run;
        }
    }
    free(run_of_item);
    return count;
}

void rows_of_core(const row_columns *rows, int64_t k, int64_t *user_counts, int64_t *item_counts, uint8_t *kept)
{
    for (ptrdiff_t user = 0; user < rows->n_users; user++)
        for (int64_t row = rows->indptr[user]; row < rows->indptr[user + 1]; row++) {
            user_counts[user] += kept[row];
            item_counts[rows->items[row]] += kept[row];
        }
    for (int changed = 1; changed;) {
        changed = 0;
        for (ptrdiff_t user = 0; user < rows->n_users; user++) {
            const int leaves = user_counts[user] < k;
            if (user_counts[user] == 0)
                continue;
            for (int64_t row = rows->indptr[user]; row < rows->indptr[user + 1]; row++)
                if (kept[row] && (leaves || item_counts[rows->items[row]] < k)) {
                    kept[row] = 0;
                    user_counts[user]--;
                    item_counts[rows->items[row]]--;
                    changed = 1;
                }
        }
    }
}

void rows_taken(const row_columns *from, const uint8_t *kept, const int64_t *users, const int32_t *numbers,
                const row_columns *to, int threads)
{
    #pragma omp parallel for num_threads(threads) schedule(dynamic, 1024)
    for (ptrdiff_t user = 0; user < to->n_users; user++) {
        int64_t place = to->indptr[user];
        for (int64_t row = from->indptr[users[user]]; row < from->indptr[users[user] + 1]; row++)
            if (kept[row]) {
                to->items[place] = numbers[from->items[row]];
                if (to->keys)
                    to->keys[place] = from->keys[row];
                place++;
            }
    }
}

#define SHORT_NAME 16 /* bytes, copied whatever the length, for no call of memcpy */

/* Copy a name, and perhaps what follows it, as far as the text of all names reaches. */
static inline ptrdiff_t copy_name(const uint8_t *text, const int64_t *offsets, int64_t n, int64_t name, uint8_t *out)
{
    const int64_t start = offsets[name], length = offsets[name + 1] - start;
    if (length <= SHORT_NAME && start + SHORT_NAME <= offsets[n])
        memcpy(out, text + start, SHORT_NAME);
    else
        memcpy(out, text + start, (size_t)length);
    return length;
}

ptrdiff_t split_lines(const split_names *names, ptrdiff_t first, uint8_t *out, ptrdiff_t room, ptrdiff_t *written)
{
    ptrdiff_t user = first, place = 0;
    for (; user < names->n_users; user++) {
        const int32_t *items = names->items + names->indptr[user];
        const int64_t *ends = names->ends + user * names->n_parts;
        const int64_t count = names->indptr[user + 1] - names->indptr[user];
        int64_t needed = names->user_offsets[user + 1] - names->user_offsets[user] + names->n_parts + 1 + count
            + SHORT_NAME;
        for (int64_t item = 0; item < count; item++)
            needed += names->item_offsets[items[item]] - names->item_offsets[items[item] - 1];
        if (needed > room - place)
            break;
        place += copy_name(names->user_text, names->user_offsets, names->n_users, user, out + place);
        for (int64_t part = 0, item = 0; part < names->n_parts; part++) {
            out[place++] = '\t';
            for (const int64_t start = item; item < ends[part]; item++) {
                if (item > start)
                    out[place++] = ' ';
                place += copy_name(names->item_text, names->item_offsets, names->n_items, items[item] - 1, out + place);
            }
        }
        out[place++] = '\n';
    }
    *written = place;
    return user;
}
