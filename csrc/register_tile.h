/* The inner loop of all products here. ranking_isa.h and attention_isa.h include it, and draw their tiles. */

#define LANES ((ptrdiff_t)(sizeof(NAME(vector)) / sizeof(NUMBER)))
#define COLUMNS (VECTORS * LANES)

/* c[i, j] = (c[i, j] +) sum over k of a[i * a_row + k * a_step] * b[k * b_step + j], i < ROWS, j < COLUMNS.
 * Compilers keep `sums` in registers only with the loops unrolled. */
TARGET static INLINE void NAME(tile)(const NUMBER *restrict a, ptrdiff_t a_row, ptrdiff_t a_step,
                                     const NUMBER *restrict b, ptrdiff_t b_step, ptrdiff_t depth,
                                     NUMBER *restrict c, ptrdiff_t c_row, int add)
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
