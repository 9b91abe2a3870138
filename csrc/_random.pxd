"""Counter-based random words: a pure function of the key, so no state is shared between threads.

The mixer is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
Generators", OOPSLA 2014; constants: Stafford's variant 13); a key is made by mixing its parts in one by one.
Integers in a range: Lemire, "Fast Random Integer Generation in an Interval", ACM TOMACS 29(1), 2019.
"""

from libc.stdint cimport uint32_t, uint64_t


cdef inline uint64_t mix(uint64_t state) noexcept nogil:
    """One step of SplitMix64 from `state`."""
    cdef uint64_t z = state + <uint64_t>0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)


cdef inline uint64_t subkey(uint64_t key, uint64_t part) noexcept nogil:
    """Return the key for `part` below `key`."""
    return mix(key ^ mix(part))


cdef inline uint64_t stream_word(uint64_t key, uint64_t number) noexcept nogil:
    """Return a word of the SplitMix64 stream that starts at `key`, words numbered from 0."""
    return mix(key + number * <uint64_t>0x9E3779B97F4A7C15)


cdef extern from *:
    """
    #include <stdint.h>

    static inline uint64_t high_product(uint64_t a, uint32_t b) {
    #ifdef __SIZEOF_INT128__
        return (uint64_t)(((unsigned __int128)a * b) >> 64);
    #else
        return ((a >> 32) * b + (((a & 0xFFFFFFFF) * b) >> 32)) >> 32;
    #endif
    }
    """
    uint64_t high_product(uint64_t a, uint32_t b) noexcept nogil


cdef inline uint32_t scale(uint64_t word, uint32_t bound) noexcept nogil:
    """Return word * bound / 2**64, rounded down."""
    return <uint32_t>high_product(word, bound)


cdef inline uint64_t surplus(uint32_t bound) noexcept nogil:
    """Return 2**64 mod bound: words with word * bound mod 2**64 below this must be drawn again.

    Without them, `scale` is exactly uniform: it has as many words for one integer as for any other.
    """
    return (<uint64_t>0 - bound) % bound


cdef inline uint32_t uniform_below(uint64_t word, uint32_t bound) noexcept nogil:
    """Return an exactly uniform integer in [0, bound), bound >= 1; a word that doesn't do is mixed once more."""
    cdef uint64_t least = surplus(bound)
    while word * bound < least:
        word = mix(word)
    return scale(word, bound)
