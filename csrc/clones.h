/* One build for all x86-64 processors. */
#ifndef TSLREC_CLONES_H
#define TSLREC_CLONES_H

/* The loader (glibc's, since others have no ifunc) takes the widest version of the function that the processor has. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__)
#define TSLREC_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define TSLREC_CLONES
#endif

#endif
