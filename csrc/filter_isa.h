/* The causal filter for one instruction set; each_isa.h says what is defined here for it.
 *
 * It is a product of the lower-triangular matrix L[t, s] = weights[t - s] with a sequence's rows. The register tile is
 * ROWS positions x COLUMNS columns (attention_isa.h draws one). L isn't stored: its number in row t, column s is read
 * from the weights, which are 0 before lag 0. So tiles on the diagonal are whole, and tiles beyond it are left out.
 */

#if VECTOR_BYTES
typedef float NAME(vector) __attribute__((vector_size(VECTOR_BYTES), may_alias, aligned(4)));
#else
typedef float NAME(vector);
#endif

#include "register_tile.h"

static ptrdiff_t NAME(workspace)(ptrdiff_t longest, ptrdiff_t width)
{
    return (2 * longest + ROWS) * round_up(width, COLUMNS);
}

TARGET NOINLINE static void NAME(tile_of_positions)(const float *weights, ptrdiff_t a_row, ptrdiff_t a_step,
                                                    const float *rows, ptrdiff_t columns, ptrdiff_t depth, float *sums)
{
    NAME(tile)(weights, a_row, a_step, rows, columns, depth, sums, columns, 0);
}

/* sums [length, columns] = L rows, or L^T rows. */
TARGET static void NAME(product)(const filter_args *args, const float *rows, ptrdiff_t length, ptrdiff_t columns,
                                 float *sums)
{
    for (ptrdiff_t column = 0; column < columns; column += COLUMNS)
        for (ptrdiff_t t = 0; t < length; t += ROWS) {
            float *place = sums + t * columns + column;
            if (args->backwards)
                NAME(tile_of_positions)(args->weights, -1, 1, rows + t * columns + column, columns, length - t, place);
            else
                NAME(tile_of_positions)(args->weights + t, 1, -1, rows + column, columns, smaller(t + ROWS, length),
                                        place);
        }
}

TARGET static void NAME(run)(const filter_args *args, ptrdiff_t sequence, ptrdiff_t begin, ptrdiff_t length,
                             float *workspace)
{
    const ptrdiff_t width = args->width, columns = round_up(width, COLUMNS);
    const float *values = args->values + begin * width, *keep = args->keep;
    float *const rows = workspace, *const sums = rows + length * columns, *out = args->out + begin * width;
    for (ptrdiff_t t = 0; t < length; t++) {
        memcpy(rows + t * columns, values + t * width, sizeof *rows * width);
        memset(rows + t * columns + width, 0, sizeof *rows * (columns - width));
    }
    NAME(product)(args, rows, length, columns, sums);
    for (ptrdiff_t t = 0; t < length; t++)
        for (ptrdiff_t j = 0; j < width; j++) {
            const float low = sums[t * columns + j];
            out[t * width + j] = low + keep[j] * (values[t * width + j] - low);
        }
    if (!args->backwards)
        return;
    const float *states = args->states + begin * width;
    float *d_keep = args->d_keep + sequence * width;
    memset(d_keep, 0, sizeof *d_keep * width);
    for (ptrdiff_t t = 0; t < length; t++)
        for (ptrdiff_t j = 0; j < width; j++)
            d_keep[j] += states[t * width + j] * (values[t * width + j] - sums[t * columns + j]);
}

static const filter_kernel NAME(kernel) = {NAME(workspace), NAME(run)};

#undef ISA
#undef TARGET
#undef VECTOR_BYTES
