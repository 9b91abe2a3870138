"""Columns of a table without a Python object for every field: where the fields are, and arrays made of them.

A block of simple text is cut by comparing its bytes, ids are looked up eight bytes at a time, and whole numbers are
read digit by digit over all rows at once. What this can't do is left to Python, field by field, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

_WORD = 8
MOST_WORDS = 4
"""Ids of more bytes than these words have are looked up by Python."""
_MASKS = np.array([(1 << 8 * width) - 1 for width in range(_WORD + 1)], np.uint64)
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)
"""Odd, of well-mixed bits: the golden ratio's, and those of xxHash and of Vigna's generators."""
_LONGEST_NUMBER = 18
"""Digits that fit into 64 bits whatever they are."""

Words = NDArray[np.uint64]


@dataclass(frozen=True)
class Cells:
    """A column: fields of a text of ASCII characters."""

    text: str
    data: NDArray[np.uint8]
    """Its bytes, uint8, and at least 8 * `MOST_WORDS` zeros."""
    starts: np.ndarray
    """int64 [n]."""
    ends: np.ndarray
    """int64 [n], not included."""

    def __len__(self) -> int:
        """Return the number of fields n."""
        return len(self.starts)

    def __iter__(self) -> Iterator[str]:
        """Yield the fields as texts."""
        text = self.text
        return (text[start:end] for start, end in zip(self.starts.tolist(), self.ends.tolist(), strict=True))

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Cells: ...
    def __getitem__(self, place: int | slice) -> str | Cells:
        """Return a field as text, or some fields as a column."""
        if isinstance(place, slice):
            return Cells(self.text, self.data, self.starts[place], self.ends[place])
        return self.text[self.starts[place]:self.ends[place]]

    def where(self, kept: np.ndarray) -> Cells:
        """Return the fields of a mask, bool [n]."""
        return Cells(self.text, self.data, self.starts[kept], self.ends[kept])

    def integers(self) -> np.ndarray | None:
        """Return the fields as int64 [n], or None if one is something else than at most 18 digits."""
        widths = self.ends - self.starts
        if not len(widths):
            return np.empty(0, np.int64)
        longest = int(widths.max())
        if widths.min() < 1 or longest > _LONGEST_NUMBER:
            return None
        values = np.zeros(len(widths), np.int64)
        for place in range(longest):
            digits = self.data[self.starts + place] - np.uint8(ord("0"))  # below "0" wraps around to above 9
            inside = place < widths
            if (digits[inside] > 9).any():
                return None
            values = np.where(inside, 10 * values + digits, values)
        return values

    def words(self) -> Words | None:
        """Return the bytes of every field, zeros after it, uint64 [W, n]; None if one has too many."""
        widths = self.ends - self.starts
        count = max(1, -(-int(widths.max(initial=1)) // _WORD))
        if count > MOST_WORDS:
            return None
        at_any_byte = np.ndarray((len(self.data) - _WORD + 1,), np.uint64, self.data, strides=(1,))
        return np.stack([at_any_byte[self.starts + _WORD * word] & _MASKS[np.clip(widths - _WORD * word, 0, _WORD)]
                         for word in range(count)])


def cut(text: str, delimiter: str, width: int) -> list[Cells] | None:
    """Cut lines of fields into columns; None if they aren't all of `width` fields, or not ASCII.

    Args:
        text: whole lines, each with a line feed.
        delimiter: one character.
        width: number of columns.
    """
    if not text.isascii() or len(delimiter) != 1:
        return None
    data = np.frombuffer(text.encode() + bytes(_WORD * (MOST_WORDS + 1)), np.uint8)
    line_feed = data == ord("\n")
    marks = np.flatnonzero(line_feed | (data == ord(delimiter)))
    if len(marks) % width:
        return None
    ends = marks.reshape(-1, width)  # [rows, width]
    is_end = line_feed[ends]
    if not is_end[:, -1].all() or is_end[:, :-1].any():
        return None
    starts = np.concatenate([[0], marks + 1])[:-1].reshape(-1, width)
    return [Cells(text, data, starts[:, place], ends[:, place]) for place in range(width)]


class CodeTable:
    """Codes of ids by the words of their bytes: a cache of the dictionary that gives ids their codes.

    Open addressing with linear probing, at most half full; all fields of a column are looked up at once. Ids are
    compared word by word, so two of one hash are never taken for each other.
    """

    def __init__(self, codes: dict[str, int]) -> None:
        """Take the dictionary, which gives a new id a code, or raises ValueError, when it is looked up."""
        self._codes = codes
        self._slots = np.zeros(1 << 12, np.int32)  # row of `_keys` and one; 0: free
        self._keys = np.zeros((MOST_WORDS, 1 << 11), np.uint64)
        self._row_codes = np.zeros(1 << 11, np.int32)
        self._count = self._used = 0  # rows, and words of the longest id

    def look_up(self, cells: Cells) -> np.ndarray:
        """Return the codes of a column, int32 [n].

        Raises:
            ValueError: one can't be an id.
        """
        words = cells.words()
        if words is None or "\0" in cells.text:  # zeros stand for the end of an id
            return np.fromiter(map(self._codes.__getitem__, cells), np.int32, len(cells))
        slots = self._first_slots(words)
        found = np.zeros(len(cells), np.int32)
        open_rows = np.arange(len(cells))
        while len(open_rows):
            rows = self._slots[slots[open_rows]] - 1
            known = rows >= 0
            same = known & self._are(rows, words, open_rows)
            found[open_rows[same]] = self._row_codes[rows[same]]
            if not known.all() and self._enter(open_rows[~known], slots, words, cells):
                slots = self._first_slots(words)  # the table was made anew
            else:
                moved = open_rows[known & ~same]
                slots[moved] = (slots[moved] + 1) & (len(self._slots) - 1)
            open_rows = open_rows[~same]
        return found

    def _first_slots(self, words: Words) -> np.ndarray:
        mixed = np.zeros(words.shape[1], np.uint64)
        for word, factor in zip(words, _FACTORS, strict=False):
            mixed += word * factor  # modulo 2^64; zero words, which only some columns have, change nothing
        mixed ^= mixed >> np.uint64(29)
        mixed *= _FACTORS[0]
        return (mixed >> np.uint64(65 - len(self._slots).bit_length())).astype(np.int64)

    def _are(self, rows: np.ndarray, words: Words, places: np.ndarray) -> np.ndarray:
        same = np.ones(len(rows), bool)
        for number in range(max(self._used, len(words))):
            same &= self._keys[number, rows] == (words[number, places] if number < len(words) else 0)
        return same

    def _enter(self, places: np.ndarray, slots: np.ndarray, words: Words, cells: Cells) -> bool:
        """Put new ids into their free slots, one into each; return whether the table was made anew."""
        self._slots[slots[places]] = places + 1  # of several the last one stays
        chosen = np.unique(self._slots[slots[places]] - 1)
        self._slots[slots[places]] = 0  # as it was, if an id turns out to be none
        new = np.fromiter(map(self._codes.__getitem__, (cells[place] for place in chosen.tolist())), np.int32,
                          len(chosen))
        grown = self._make_room(len(chosen))
        rows = np.arange(self._count, self._count + len(chosen))
        self._keys[:len(words), rows] = words[:, chosen]
        self._used = max(self._used, len(words))
        self._row_codes[rows] = new
        self._count += len(chosen)
        if grown:
            self._place_all()
        else:
            self._slots[slots[chosen]] = rows + 1
        return grown

    def _make_room(self, more: int) -> bool:
        """Double everything until `more` ids fit; the slots have to be filled anew then."""
        size = len(self._row_codes)
        while size < self._count + more:
            size *= 2
        if size == len(self._row_codes):
            return False
        self._row_codes = np.resize(self._row_codes, size)
        keys = np.zeros((MOST_WORDS, size), np.uint64)
        keys[:, :self._count] = self._keys[:, :self._count]
        self._keys, self._slots = keys, np.zeros(2 * size, np.int32)
        return True

    def _place_all(self) -> None:
        """Give every row a slot."""
        rows = np.arange(self._count)
        slots = self._first_slots(self._keys[:, :self._count])
        while len(rows):
            free = self._slots[slots[rows]] == 0
            self._slots[slots[rows[free]]] = rows[free] + 1
            rows = rows[self._slots[slots[rows]] != rows + 1]
            slots[rows] = (slots[rows] + 1) & (len(self._slots) - 1)
