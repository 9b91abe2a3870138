#define _GNU_SOURCE /* for madvise */
#include "delimited.h"

#include <stdlib.h>
#include <string.h>

#ifdef __linux__
#include <sys/mman.h>
#endif

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define LONGEST_FIELD 100000 /* below the limit of Python's csv, which then explains what is wrong */

static inline int is_space(uint8_t byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r') || (byte >= 0x1c && byte <= 0x1f);
}

/* Whether UTF-8 text of at least 2 bytes begins with white space of Unicode that is not ASCII. */
static int wide_space(const uint8_t *text, ptrdiff_t length)
{
    if (text[0] == 0xc2)
        return text[1] == 0x85 || text[1] == 0xa0;
    if (length < 3)
        return 0;
    if (text[0] == 0xe2 && text[1] == 0x80)
        return text[2] <= 0x8a || text[2] == 0xa8 || text[2] == 0xa9 || text[2] == 0xaf;
    return (text[0] == 0xe1 && text[1] == 0x9a && text[2] == 0x80) || (text[0] == 0xe2 && text[1] == 0x81
        && text[2] == 0x9f) || (text[0] == 0xe3 && text[1] == 0x80 && text[2] == 0x80);
}

/* Store where a wanted field is; -1 if white space around it is not ASCII. */
static inline int store(const delimited_block *block, ptrdiff_t field, ptrdiff_t line, ptrdiff_t start, ptrdiff_t end)
{
    const ptrdiff_t column = block->column_of_field[field];
    if (column < 0)
        return 0;
    if (block->stripped) {
        const uint8_t *text = block->text;
        while (start < end && is_space(text[start]))
            start++;
        while (start < end && is_space(text[end - 1]))
            end--;
        const ptrdiff_t length = end - start;
        if (length >= 2 && (text[start] | text[end - 1]) & 0x80
            && (wide_space(text + start, length) || wide_space(text + end - 2, 2)
                || (length >= 3 && wide_space(text + end - 3, 3))))
            return -1;
    }
    block->starts[column * block->capacity + line] = (int32_t)start;
    block->ends[column * block->capacity + line] = (int32_t)end;
    return 0;
}

typedef struct {
    const delimited_block *block;
    ptrdiff_t line, field, start;
} cutter;

/* Take the delimiter or line feed at `place`; -1 if the line then has another number of fields. */
static inline int take(cutter *at, ptrdiff_t place, int is_line_feed)
{
    const delimited_block *block = at->block;
    ptrdiff_t end = place;
    if (is_line_feed != (at->field == block->width - 1))
        return -1;
    if (is_line_feed && end > at->start && block->text[end - 1] == '\r')
        end--;
    if (store(block, at->field, at->line, at->start, end))
        return -1;
    at->field = is_line_feed ? 0 : at->field + 1;
    at->line += is_line_feed;
    at->start = place + (is_line_feed ? 1 : block->mark_length);
    return 0;
}

/* Take what is at `place` if it is a delimiter or a line feed. */
static inline int take_if_mark(cutter *at, ptrdiff_t place)
{
    const delimited_block *block = at->block;
    const uint8_t *text = block->text;
    if (text[place] == '\n')
        return take(at, place, 1);
    if (place < at->start || text[place] != block->mark[0] || (block->mark_length == 2
        && (place + 1 >= block->length || text[place + 1] != block->mark[1])))
        return 0;
    return take(at, place, 0);
}

static ptrdiff_t cut_without_quotes(const delimited_block *block)
{
    cutter at = {block, 0, 0, 0};
    ptrdiff_t place = 0;
#ifdef __SSE2__
    const __m128i mark = _mm_set1_epi8((char)block->mark[0]), line_feed = _mm_set1_epi8('\n');
    for (; place + 64 <= block->length; place += 64) {
        uint64_t marks = 0;
        for (int part = 0; part < 4; part++) {
            const __m128i bytes = _mm_loadu_si128((const __m128i *)(block->text + place + 16 * part));
            const __m128i equal = _mm_or_si128(_mm_cmpeq_epi8(bytes, mark), _mm_cmpeq_epi8(bytes, line_feed));
            marks |= (uint64_t)(uint32_t)_mm_movemask_epi8(equal) << 16 * part;
        }
        for (; marks; marks &= marks - 1)
            if (take_if_mark(&at, place + __builtin_ctzll(marks)))
                return -1;
    }
#endif
    for (; place < block->length; place++)
        if (take_if_mark(&at, place))
            return -1;
    return at.field == 0 && at.start == block->length ? at.line : -1;
}

/* The end of the quoted field that begins after the quote before `place`; -1 if it is not plain. */
static ptrdiff_t closing_quote(const delimited_block *block, ptrdiff_t place, int wanted)
{
    for (; place < block->length && block->text[place] != '\n'; place++)
        if (block->text[place] == '"') {
            if (place + 1 >= block->length || block->text[place + 1] != '"')
                return place;
            if (wanted)
                return -1; /* a doubled quote stands for one */
            place++;
        }
    return -1;
}

static ptrdiff_t cut_with_quotes(const delimited_block *block)
{
    const uint8_t *text = block->text;
    const ptrdiff_t length = block->length;
    ptrdiff_t line = 0, field = 0, place = 0;
    while (place < length) {
        while (place < length && text[place] == ' ')
            place++;
        ptrdiff_t start = place, end;
        if (place < length && text[place] == '"') {
            start++;
            place = end = closing_quote(block, start, block->column_of_field[field] >= 0);
            if (end < 0)
                return -1;
            place++;
            if (place + 1 < length && text[place] == '\r' && text[place + 1] == '\n')
                place++;
        } else {
            while (place < length && text[place] != block->mark[0] && text[place] != '\n')
                place++;
            end = place;
            if (place < length && text[place] == '\n' && end > start && text[end - 1] == '\r')
                end--;
        }
        if (place >= length || (text[place] != block->mark[0] && text[place] != '\n') || end - start > LONGEST_FIELD)
            return -1;
        const int is_line_feed = text[place] == '\n';
        if (is_line_feed != (field == block->width - 1) || store(block, field, line, start, end))
            return -1;
        field = is_line_feed ? 0 : field + 1;
        line += is_line_feed;
        place++;
    }
    return field == 0 ? line : -1;
}

ptrdiff_t delimited_lines(const uint8_t *text, ptrdiff_t length)
{
    ptrdiff_t count = 0;
    for (ptrdiff_t start = 0; start < length; start += 255) { /* as many as a byte can count */
        const ptrdiff_t end = length - start < 255 ? length : start + 255;
        uint8_t few = 0;
        for (ptrdiff_t place = start; place < end; place++)
            few += text[place] == '\n';
        count += few;
    }
    return count;
}

ptrdiff_t delimited_cut(const delimited_block *block)
{
    if (block->quoted && block->length && memchr(block->text, '"', (size_t)block->length))
        return block->mark_length == 1 ? cut_with_quotes(block) : -1;
    return cut_without_quotes(block);
}

static inline uint64_t load(const uint8_t *place)
{
    uint64_t word;
    memcpy(&word, place, 8);
    return word;
}

int delimited_integers(const uint8_t *text, const int32_t *starts, const int32_t *ends, ptrdiff_t n, int64_t *values)
{
    for (ptrdiff_t row = 0; row < n; row++) {
        const uint8_t *digit = text + starts[row], *end = text + ends[row];
        if (end == digit || end - digit > 18)
            return -1;
        uint64_t value = 0;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        for (; end - digit >= 8; digit += 8) { /* neighbours become one number of twice the digits, three times */
            uint64_t word = load(digit);
            if (((word & 0xf0f0f0f0f0f0f0f0) | ((word + 0x0606060606060606) & 0xf0f0f0f0f0f0f0f0) >> 4)
                != 0x3333333333333333)
                return -1;
            word = (word & 0x0f0f0f0f0f0f0f0f) * 2561 >> 8;
            word = (word & 0x00ff00ff00ff00ff) * 6553601 >> 16;
            word = (word & 0x0000ffff0000ffff) * 42949672960001 >> 32;
            value = 100000000 * value + word;
        }
#endif
        for (; digit < end; digit++) {
            const uint8_t number = (uint8_t)(*digit - '0');
            if (number > 9)
                return -1;
            value = 10 * value + number;
        }
        values[row] = (int64_t)value;
    }
    return 0;
}

int delimited_decimals(const uint8_t *text, const int32_t *starts, const int32_t *ends, ptrdiff_t n, double *values)
{
    /* Both numbers of the quotient are exact, so that it is rounded once, as it should be. */
    static const double tens[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    for (ptrdiff_t row = 0; row < n; row++) {
        const uint8_t *place = text + starts[row], *end = text + ends[row], *point = NULL;
        const int negative = place < end && *place == '-';
        int64_t value = 0;
        place += negative;
        if (end - place < 1 || end - place > 16 || place[0] == '.' || end[-1] == '.')
            return -1;
        for (const uint8_t *first = place; place < end; place++) {
            const uint8_t number = (uint8_t)(*place - '0');
            if (number <= 9 && (point || place - first < 15))
                value = 10 * value + number;
            else if (*place == '.' && !point)
                point = place;
            else
                return -1;
        }
        const double quotient = point ? (double)value / tens[end - point - 1] : (double)value;
        values[row] = negative ? -quotient : quotient;
    }
    return 0;
}

#define LARGE_PAGE ((size_t)2 << 20)
#define INLINE_BYTES 16 /* ids up to this length are compared without a look at the text that is kept of them */

typedef struct {
    uint64_t first, second; /* an id's bytes, then zeros; of a longer one, its hash and the place of its bytes */
    ptrdiff_t length;
} id_record;

typedef struct {
    uint32_t tag; /* bits of the hash that the place does not tell */
    int32_t code; /* -1: free */
} id_slot;

struct id_table {
    id_slot *slots;
    size_t mask;
    id_record *records; /* by code */
    ptrdiff_t count, room;
    uint8_t *bytes; /* of longer ids */
    size_t n_bytes, bytes_room;
};

static inline uint64_t mixed(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9e3779b97f4a7c15; /* odd, with well-mixed bits: the golden ratio */
    return hash ^ hash >> 32;
}

static inline uint64_t hash_of(const id_record *record)
{
    return mixed(mixed(mixed(0, record->first), record->second), (uint64_t)record->length);
}

static inline id_record record_of(const uint8_t *text, ptrdiff_t length, const uint8_t *end_of_text)
{
    id_record record = {0, 0, length};
    if (length > INLINE_BYTES) {
        uint8_t rest[8] = {0};
        const ptrdiff_t whole = length / 8 * 8;
        for (ptrdiff_t place = 0; place < whole; place += 8)
            record.first = mixed(record.first, load(text + place));
        memcpy(rest, text + whole, (size_t)(length - whole));
        record.first = mixed(record.first, load(rest));
    } else {
        uint8_t word[INLINE_BYTES] = {0};
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        if (end_of_text - text >= INLINE_BYTES) { /* no call of memcpy for a length that is not known */
            const uint64_t low = load(text), high = load(text + 8);
            record.first = length >= 8 ? low : length ? low & ~(uint64_t)0 >> (64 - 8 * length) : 0;
            record.second = length >= 16 ? high : length > 8 ? high & ~(uint64_t)0 >> (128 - 8 * length) : 0;
            return record;
        }
#endif
        memcpy(word, text, (size_t)length);
        record.first = load(word);
        record.second = load(word + 8);
    }
    return record;
}

static int same_id(const id_table *table, const id_record *known, const id_record *record, const uint8_t *text)
{
    if (known->length != record->length || known->first != record->first)
        return 0;
    if (record->length <= INLINE_BYTES)
        return known->second == record->second;
    return !memcmp(table->bytes + known->second, text, (size_t)record->length);
}

/* Memory in large pages, where there are such: ids are looked for all over it. */
static void *large(size_t size)
{
    void *memory = NULL;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (size >= LARGE_PAGE) {
        if (posix_memalign(&memory, LARGE_PAGE, size))
            return NULL;
        madvise(memory, size, MADV_HUGEPAGE);
        return memory;
    }
#endif
    return malloc(size);
}

/* Place all ids again, in `n_slots` slots. */
static int place_all(id_table *table, size_t n_slots)
{
    if (n_slots != table->mask + 1) {
        id_slot *slots = large(n_slots * sizeof *slots);
        if (!slots)
            return -1;
        free(table->slots);
        table->slots = slots;
        table->mask = n_slots - 1;
    }
    for (size_t slot = 0; slot < n_slots; slot++)
        table->slots[slot].code = -1;
    for (ptrdiff_t code = 0; code < table->count; code++) {
        id_record record = table->records[code];
        if (record.length > INLINE_BYTES)
            record.second = 0; /* the place of its bytes is not part of its hash */
        const uint64_t hash = hash_of(&record);
        size_t slot = hash & table->mask;
        while (table->slots[slot].code >= 0)
            slot = (slot + 1) & table->mask;
        table->slots[slot] = (id_slot){(uint32_t)(hash >> 32), (int32_t)code};
    }
    return 0;
}

id_table *id_table_new(int slot_bits)
{
    id_table *table = calloc(1, sizeof *table);
    const size_t n_slots = (size_t)1 << slot_bits;
    if (table && place_all(table, n_slots)) {
        free(table);
        return NULL;
    }
    return table;
}

void id_table_free(id_table *table)
{
    if (table) {
        free(table->slots);
        free(table->records);
        free(table->bytes);
        free(table);
    }
}

ptrdiff_t id_table_count(const id_table *table)
{
    return table->count;
}

void id_table_truncate(id_table *table, ptrdiff_t count)
{
    table->count = count; /* bytes of long ids stay; they are few */
    place_all(table, table->mask + 1);
}

/* Keep a new id; -1 without memory. */
static int keep(id_table *table, id_record record, const uint8_t *text, uint64_t hash, size_t slot)
{
    if (table->count == INT32_MAX)
        return -1;
    if (table->count == table->room) {
        const ptrdiff_t room = table->room ? 2 * table->room : 1024;
        id_record *records = large((size_t)room * sizeof *records);
        if (!records)
            return -1;
        if (table->count)
            memcpy(records, table->records, (size_t)table->count * sizeof *records);
        free(table->records);
        table->records = records;
        table->room = room;
    }
    if (record.length > INLINE_BYTES) {
        const size_t needed = table->n_bytes + (size_t)record.length;
        if (needed > table->bytes_room) {
            uint8_t *bytes = realloc(table->bytes, 2 * needed);
            if (!bytes)
                return -1;
            table->bytes = bytes;
            table->bytes_room = 2 * needed;
        }
        memcpy(table->bytes + table->n_bytes, text, (size_t)record.length);
        record.second = table->n_bytes;
        table->n_bytes = needed;
    }
    table->records[table->count] = record;
    table->slots[slot] = (id_slot){(uint32_t)(hash >> 32), (int32_t)table->count};
    table->count++;
    return 2 * (size_t)table->count > table->mask ? place_all(table, 2 * (table->mask + 1)) : 0;
}

#define BATCH 32 /* ids whose slots and records are fetched before the first of them is looked up */

/* The slot of an id, or the free one where it belongs. */
static inline size_t slot_of(const id_table *table, const id_record *record, uint64_t hash, const uint8_t *text)
{
    const id_slot *slots = table->slots;
    const uint32_t tag = (uint32_t)(hash >> 32);
    size_t slot = hash & table->mask;
    while (slots[slot].code >= 0
           && !(slots[slot].tag == tag && same_id(table, &table->records[slots[slot].code], record, text)))
        slot = (slot + 1) & table->mask;
    return slot;
}

static int is_plain(const uint8_t *text, ptrdiff_t length)
{
    int plain = length > 0;
    for (ptrdiff_t place = 0; place < length; place++)
        plain &= text[place] >= ' ' && text[place] <= '~';
    return plain;
}

int id_table_look_up(id_table *table, const uint8_t *text, ptrdiff_t length, const int32_t *starts,
                     const int32_t *ends, ptrdiff_t n, int32_t *codes, int *plain)
{
    id_record records[BATCH];
    uint64_t hashes[BATCH];
    *plain = 1;
    for (ptrdiff_t first = 0; first < n; first += BATCH) {
        const ptrdiff_t count = n - first < BATCH ? n - first : BATCH;
        for (ptrdiff_t place = 0; place < count; place++) {
            const ptrdiff_t row = first + place;
            records[place] = record_of(text + starts[row], ends[row] - starts[row], text + length);
            hashes[place] = hash_of(&records[place]);
#ifdef __GNUC__
            __builtin_prefetch(&table->slots[hashes[place] & table->mask]);
#endif
        }
#ifdef __GNUC__
        for (ptrdiff_t place = 0; place < count; place++) {
            const int32_t code = table->slots[hashes[place] & table->mask].code;
            if (code >= 0)
                __builtin_prefetch(&table->records[code]);
        }
#endif
        for (ptrdiff_t place = 0; place < count; place++) {
            const ptrdiff_t row = first + place;
            const uint8_t *id = text + starts[row];
            const size_t slot = slot_of(table, &records[place], hashes[place], id);
            codes[row] = table->slots[slot].code;
            if (codes[row] < 0) {
                codes[row] = (int32_t)table->count;
                *plain &= is_plain(id, ends[row] - starts[row]);
                if (keep(table, records[place], id, hashes[place], slot))
                    return -1;
            }
        }
    }
    return 0;
}

ptrdiff_t id_table_names(const id_table *table, ptrdiff_t first, uint8_t *out)
{
    ptrdiff_t place = 0;
    for (ptrdiff_t code = first; code < table->count; code++) {
        const id_record *record = &table->records[code];
        if (out) {
            if (record->length > INLINE_BYTES)
                memcpy(out + place, table->bytes + record->second, (size_t)record->length);
            else {
                uint8_t word[INLINE_BYTES];
                memcpy(word, &record->first, 8);
                memcpy(word + 8, &record->second, 8);
                memcpy(out + place, word, (size_t)record->length);
            }
            out[place + record->length] = '\n';
        }
        place += record->length + 1;
    }
    return place;
}
