"""Counter-based random integers: a pure function of the key, so no state is shared between threads.

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


cdef inline uint32_t uniform_below(uint64_t key, uint32_t bound) noexcept nogil:
    """Return an exactly uniform integer in [0, bound), bound >= 1: Lemire's multiply with rejection.

    The 96-bit product of a random word and a 32-bit bound is put together from two 64-bit ones.
    """
    cdef uint64_t word = mix(key)
    cdef uint64_t threshold
    if word * bound < bound:  # low 64 bits of the product: only here can a rejection be due
        threshold = (<uint64_t>0 - bound) % bound
        while word * bound < threshold:
            key += <uint64_t>0x9E3779B97F4A7C15
            word = mix(key)
    return <uint32_t>(((word >> 32) * bound + ((<uint64_t>(<uint32_t>word) * bound) >> 32)) >> 32)
