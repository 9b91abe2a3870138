"""Kernels of tslrec_min.recommenders.sampling: draws from the items that a user has not seen.

A candidate from the whole catalogue is drawn again as long as the user has seen it, which leaves the probabilities
of the unseen items in proportion. After `attempts` candidates an exact draw from the unseen items alone takes over:
it has the same distribution, so the limit changes the cost and not the probabilities.

A filter with one bit per residue of the item ids (a Bloom filter with one hash) is looked at first. If the bit isn't
set, the item is unseen; otherwise the user's sorted list is searched, unless the filter has a bit per item.

The first candidates are drawn without a branch on random bits. Those that the filter stops are noted and drawn again
later, many in a row: a branch at once would cost more than the draw, since the processor can't predict it.
"""

from cython.parallel cimport prange
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from _random cimport mix, scale, stream_word, subkey, surplus, uniform_below

cdef enum:
    STOPPED = 256  # room for draws that the filter has stopped

cdef struct Proposal:  # the distribution of candidates
    int32_t n_items
    uint64_t surplus  # of n_items
    Py_ssize_t attempts
    const uint64_t* thresholds  # alias table of items 1..I; NULL: uniform
    const int32_t* aliases
    const double* weights

cdef struct Seen:  # of one user
    const int32_t* items
    Py_ssize_t n_items
    const uint64_t* bits
    uint64_t mask  # number of bits less 1

cdef struct Batch:
    Proposal proposal
    const int64_t* indptr
    const int32_t* items
    const int64_t* filter_indptr
    const uint64_t* bits
    const int64_t* users
    const int64_t* positions
    uint64_t key
    int64_t* out
    Py_ssize_t n_draws


cdef inline Seen seen_by(const Batch* batch, int64_t user) noexcept nogil:
    """Return the list and the filter of one user."""
    cdef Seen seen
    seen.items = batch.items + batch.indptr[user]
    seen.n_items = batch.indptr[user + 1] - batch.indptr[user]
    seen.bits = batch.bits + batch.filter_indptr[user]
    seen.mask = <uint64_t>(batch.filter_indptr[user + 1] - batch.filter_indptr[user]) * 64 - 1
    return seen


cdef inline Py_ssize_t count_before(const int32_t* items, Py_ssize_t n_items, int64_t number,
                                    bint of_unseen) noexcept nogil:
    """Return how many of the rising `items` are <= number, or (of_unseen) have <= number unseen ones before them.

    items[j] - 1 - j unseen items come before items[j]. The binary search has no branch to predict.
    """
    cdef Py_ssize_t low = 0
    cdef Py_ssize_t half
    while n_items > 0:
        half = (n_items + 1) // 2
        low = low + half if items[low + half - 1] - (low + half if of_unseen else 0) <= number else low
        n_items -= half
    return low


cdef inline bint may_be_seen(Seen seen, int32_t item) noexcept nogil:
    """Return the filter's answer: False is certain."""
    return (seen.bits[(item & seen.mask) >> 6] >> (item & 63)) & 1


cdef inline bint is_seen(Seen seen, int32_t item, int32_t n_items) noexcept nogil:
    """Return whether the item is one of the user's."""
    cdef Py_ssize_t place
    if not may_be_seen(seen, item):
        return False
    if seen.mask >= <uint64_t>n_items:
        return True
    place = count_before(seen.items, seen.n_items, item, False)
    return place > 0 and seen.items[place - 1] == item


cdef inline int32_t candidate(Proposal proposal, uint64_t word, bint weighted) noexcept nogil:
    """Return an item, seen or not: that of a uniformly drawn column, or (weighted) its alias (Walker, Vose).

    The bits of the product that choose no column are the coin; a mask applies it without a branch.
    """
    cdef int32_t column = scale(word, proposal.n_items)
    cdef int32_t alias, keep
    if not weighted:
        return column + 1
    alias = proposal.aliases[column]
    keep = -<int32_t>(word * <uint64_t>proposal.n_items < proposal.thresholds[column])
    return alias ^ ((alias ^ (column + 1)) & keep)


cdef int64_t weighted_unseen(Proposal proposal, Seen seen, uint64_t word) noexcept nogil:
    """Return an unseen item with probability by weight, or 0 if no weight is left: two walks over the catalogue."""
    cdef double wanted = 0
    cdef double weight
    cdef int32_t chosen = 0
    cdef int32_t item
    cdef int walk
    cdef Py_ssize_t j
    for walk in range(2):
        weight = 0
        j = 0
        for item in range(1, proposal.n_items + 1):
            if j < seen.n_items and seen.items[j] == item:
                j += 1
            elif proposal.weights[item] > 0:
                weight += proposal.weights[item]
                if walk == 1:
                    chosen = item
                    if weight > wanted:
                        break
        wanted = weight * <double>(word >> 11) * 2.0 ** -53
    return chosen


cdef inline int64_t draw(Proposal proposal, Seen seen, uint64_t word) noexcept nogil:
    """Return an unseen item, or 0 if there is none to draw."""
    cdef int32_t item
    cdef int64_t number
    cdef Py_ssize_t _attempt
    cdef bint weighted = proposal.thresholds != NULL
    for _attempt in range(proposal.attempts):
        if word * <uint64_t>proposal.n_items >= proposal.surplus:
            item = candidate(proposal, word, weighted)
            if not is_seen(seen, item, proposal.n_items):
                return item
        word = mix(word)
    if weighted:
        return weighted_unseen(proposal, seen, word)
    if seen.n_items == proposal.n_items:
        return 0
    number = uniform_below(word, <uint32_t>(proposal.n_items - seen.n_items))
    return number + 1 + count_before(seen.items, seen.n_items, number, True)


cdef int64_t finish(const Batch* batch, const Py_ssize_t* places, Py_ssize_t n_places) noexcept nogil:
    """Draw for these places of the output; return how many have no item to draw and are 0."""
    cdef int64_t failed = 0
    cdef uint64_t key
    cdef Py_ssize_t n, row
    for n in range(n_places):
        row = places[n] // batch.n_draws
        key = stream_word(batch.key, batch.positions[row])
        batch.out[places[n]] = draw(batch.proposal, seen_by(batch, batch.users[row]),
                                    stream_word(key, places[n] - row * batch.n_draws))
        failed += batch.out[places[n]] == 0
    return failed


cdef inline int64_t draw_rows(const Batch* batch, Py_ssize_t start, Py_ssize_t stop, bint weighted) noexcept nogil:
    """Fill the rows start..stop; return how many draws are 0, as there was no item."""
    cdef Py_ssize_t[STOPPED] stopped
    cdef Py_ssize_t n_stopped = 0
    cdef Py_ssize_t row, column, place
    cdef Proposal proposal = batch.proposal
    cdef Seen seen
    cdef int32_t item
    cdef uint64_t key, word
    cdef int64_t failed = 0
    for row in range(start, stop):
        seen = seen_by(batch, batch.users[row])
        key = stream_word(batch.key, batch.positions[row])
        for column in range(batch.n_draws):
            place = row * batch.n_draws + column
            word = stream_word(key, column)
            item = candidate(proposal, word, weighted)
            batch.out[place] = item
            stopped[n_stopped] = place
            n_stopped += may_be_seen(seen, item) | (word * <uint64_t>proposal.n_items < proposal.surplus)
            if n_stopped == STOPPED:
                failed += finish(batch, stopped, n_stopped)
                n_stopped = 0
    return failed + finish(batch, stopped, n_stopped)


def draw_unseen(const int64_t[::1] indptr, const int32_t[::1] items, const int64_t[::1] filter_indptr,
                const uint64_t[::1] bits, int32_t n_items, Py_ssize_t attempts, const uint64_t[::1] thresholds,
                const int32_t[::1] aliases, const double[::1] weights, const int64_t[::1] users,
                const int64_t[::1] positions, uint64_t seed, uint64_t epoch, int64_t[:, ::1] out, int num_threads):
    """Row i of out: draws for users[i], keyed by (seed, epoch, positions[i], column); return how many are 0.

    thresholds, aliases and weights None: uniform. A draw is 0 where the user has no unseen item of positive weight.
    The caller has checked that there is a row, that every user is a row of indptr and 1 <= n_items < 2**31 - 1.
    """
    cdef int thread
    cdef Py_ssize_t n_rows = out.shape[0]
    cdef bint weighted = thresholds is not None
    cdef int64_t failed = 0
    cdef Proposal proposal = Proposal(n_items, surplus(n_items), attempts, NULL, NULL, NULL)
    if weighted:
        proposal.thresholds, proposal.aliases, proposal.weights = &thresholds[0], &aliases[0], &weights[0]
    cdef const int32_t* first_item = &items[0] if items.shape[0] else NULL
    cdef Batch batch = Batch(proposal, &indptr[0], first_item, &filter_indptr[0], &bits[0], &users[0], &positions[0],
                             subkey(mix(seed), epoch), &out[0, 0], out.shape[1])
    for thread in prange(num_threads, nogil=True, schedule='static', num_threads=num_threads):
        if weighted:
            failed += draw_rows(&batch, n_rows * thread // num_threads, n_rows * (thread + 1) // num_threads, True)
        else:
            failed += draw_rows(&batch, n_rows * thread // num_threads, n_rows * (thread + 1) // num_threads, False)
    return failed
