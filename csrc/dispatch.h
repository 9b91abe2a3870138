/* How one build serves every CPU: its instruction sets, the choice at run time, and helpers that all kernels share.
 *
 * Two mechanisms, because there are two kinds of kernel:
 * - TSLREC_CLONES for element-wise loops: the source is the same for every set, the compiler makes the versions, and
 *   the loader links the one for this CPU. Nothing else is needed, but no caller can choose a version, and only gcc
 *   with glibc does it.
 * - each_isa.h for register tiles (ranking, attention): the size of a tile and the type of its vectors depend on the
 *   set, so that the source is compiled once per set. Callers give the number of a set; tests run all of them.
 */
#ifndef TSLREC_DISPATCH_H
#define TSLREC_DISPATCH_H

#include <stddef.h>

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__)
#define TSLREC_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define TSLREC_CLONES
#endif

/* The instruction sets, the fastest last. INSTRUCTION_SETS(row) is row(scalar), row(vector) ...: the table below and
 * the kernels' tables are made of it, in the same order. "vector" is what every CPU of the architecture has. */
#if defined(__GNUC__) && defined(__x86_64__)
#define INSTRUCTION_SETS(row) row(scalar), row(vector), row(avx2), row(avx512)
#elif defined(__GNUC__) /* gcc and clang have vector extensions */
#define INSTRUCTION_SETS(row) row(scalar), row(vector)
#else
#define INSTRUCTION_SETS(row) row(scalar)
#endif

/* Name of instruction set number `isa`, from 0; NULL beyond the last one that this CPU has. */
static inline const char *tslrec_instruction_set(int isa)
{
#define ISA_TEXT(isa) #isa
    static const char *const names[] = {INSTRUCTION_SETS(ISA_TEXT)};
    if (isa < 0 || isa >= (int)(sizeof names / sizeof names[0]))
        return NULL;
#if defined(__GNUC__) && defined(__x86_64__)
    __builtin_cpu_init();
    if ((isa >= 2 && !(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")))
        || (isa >= 3 && !__builtin_cpu_supports("avx512f")))
        return NULL;
#endif
    return names[isa];
}

#ifdef __GNUC__
#define NOINLINE __attribute__((noinline))
#define INLINE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#define PREFETCH(place) __builtin_prefetch(place)
#else
#define NOINLINE
#define INLINE inline
#define UNROLL
#define PREFETCH(place)
#endif

static inline ptrdiff_t smaller(ptrdiff_t a, ptrdiff_t b)
{
    return a < b ? a : b;
}

static inline ptrdiff_t larger(ptrdiff_t a, ptrdiff_t b)
{
    return a > b ? a : b;
}

static inline ptrdiff_t divide_up(ptrdiff_t n, ptrdiff_t by)
{
    return (n + by - 1) / by;
}

static inline ptrdiff_t round_up(ptrdiff_t n, ptrdiff_t multiple)
{
    return divide_up(n, multiple) * multiple;
}

#endif
