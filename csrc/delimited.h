/* Delimited text in bytes: lines cut into fields, plain numbers, and numbers for ids in order of first appearance.
 *
 * Only what is plain is done here; callers leave everything else to Python. Nothing is read beyond the text.
 */
#ifndef TSLREC_DELIMITED_H
#define TSLREC_DELIMITED_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *text;
    ptrdiff_t length;
    const uint8_t *mark; /* the delimiter */
    ptrdiff_t mark_length; /* 1 or 2 */
    ptrdiff_t width; /* fields of a line, at least 2 */
    const int32_t *column_of_field; /* [width], -1: not wanted */
    int quoted; /* fields may be in double quotes, after spaces */
    int stripped; /* white space around a field is no part of it */
    ptrdiff_t capacity; /* lines that there is room for */
    int32_t *starts, *ends; /* [columns, capacity], where wanted fields begin and end */
} delimited_block;

/* Number of line feeds. */
ptrdiff_t delimited_lines(const uint8_t *text, ptrdiff_t length);

/* Cut lines into fields and return their number, or -1 if a line is not plain: another number of fields, a quoted field
 * that holds a line break, is followed by more text or, if wanted, holds a quote, or white space beyond ASCII around a
 * wanted field. Every line ends with \n, perhaps after \r; there is no other \r. */
ptrdiff_t delimited_cut(const delimited_block *block);

/* Read fields of 1 to 18 digits; return 0, or -1 if one is something else. */
int delimited_integers(const uint8_t *text, const int32_t *starts, const int32_t *ends, ptrdiff_t n, int64_t *values);

/* Read fields such as 12, -3.50 with at most 15 digits, rounded as by Python; return 0, or -1 as above. */
int delimited_decimals(const uint8_t *text, const int32_t *starts, const int32_t *ends, ptrdiff_t n, double *values);

typedef struct id_table id_table;

/* A table without ids and with 2^slot_bits slots; NULL without memory. */
id_table *id_table_new(int slot_bits);
void id_table_free(id_table *table);
ptrdiff_t id_table_count(const id_table *table);

/* Forget all ids from number `count` on. */
void id_table_truncate(id_table *table, ptrdiff_t count);

/* Write the numbers of ids, which are new in order of first appearance; return 0, or -1 without memory. Whether all new
 * ones are printable ASCII is written to `plain`. */
int id_table_look_up(id_table *table, const uint8_t *text, ptrdiff_t length, const int32_t *starts,
                     const int32_t *ends, ptrdiff_t n, int32_t *codes, int *plain);

/* Write the ids from number `first` on, each with a line feed, unless `out` is NULL; return the number of bytes. */
ptrdiff_t id_table_names(const id_table *table, ptrdiff_t first, uint8_t *out);

#endif
