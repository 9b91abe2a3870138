"""Columns of ASCII text as arrays, without a Python object for every field.

A block of text is cut by comparing its bytes, ids are looked up eight bytes at a time, and whole numbers are read digit
by digit over all rows at once. Other fields are left to Python, one by one, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_WORD = 8
_MOST_WORDS = 4
"""Longer ids are looked up by Python."""
_SLOT_BITS, _MAX_SLOT_BITS = 13, 20
"""A cache grows with its ids from 8,192 slots to 1,048,576, which take 36 MiB and are enough for half a million ids."""
_MASKS = np.array([(1 << 8 * width) - 1 for width in range(_WORD + 1)], np.uint64)
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)
"""Odd, with well-mixed bits: from the golden ratio, xxHash and Vigna's generators."""
_LONGEST_NUMBER = 18
"""Number of digits that always fit into 64 bits."""


@dataclass(frozen=True)
class Cells:
    """A column: fields of an ASCII text."""

    text: str
    data: NDArray[np.uint8]
    """Its bytes, then at least 8 * `_MOST_WORDS` zeros."""
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

    def __getitem__(self, rows: np.ndarray) -> Cells:
        """Return the fields of a mask, bool [n], or positions, int64."""
        return Cells(self.text, self.data, self.starts[rows], self.ends[rows])

    def integers(self) -> np.ndarray | None:
        """Return the fields as int64 [n], or None unless all have 1 to 18 digits."""
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

    def words(self) -> NDArray[np.uint64] | None:
        """Return the bytes of every field, padded with zeros, uint64 [n, W]; None if one is too long."""
        widths = self.ends - self.starts
        count = max(1, -(-int(widths.max(initial=1)) // _WORD))
        if count > _MOST_WORDS:
            return None
        at_any_byte = np.ndarray((len(self.data) - _WORD + 1,), np.uint64, self.data, strides=(1,))
        return np.stack([at_any_byte[self.starts + _WORD * word] & _MASKS[np.clip(widths - _WORD * word, 0, _WORD)]
                         for word in range(count)], axis=1)


def cut(text: str, delimiter: str, width: int) -> list[Cells] | None:
    """Cut lines of fields into columns; None if a line does not have `width` fields, or is not ASCII.

    Args:
        text: whole lines, each with a line feed.
        delimiter: one character.
        width: number of columns.
    """
    if not text.isascii() or len(delimiter) != 1:
        return None
    data = np.frombuffer(text.encode() + bytes(_WORD * (_MOST_WORDS + 1)), np.uint8)
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


class CodeCache:
    """Codes of recent ids, looked up for a whole column at once, several times as fast as in a dictionary.

    A hash of its bytes gives each id a slot, which holds the latest of the ids that share it. Ids that are not in their
    slot are looked up in the dictionary.
    """

    def __init__(self, codes: dict[str, int]) -> None:
        """Take the dictionary, whose look-up gives a new id a code, or raises ValueError."""
        self._codes = codes
        self._empty(_SLOT_BITS)

    def _empty(self, slot_bits: int) -> None:
        self._slot_bits = slot_bits
        self._ids = np.zeros(1 << slot_bits, f"S{_WORD * _MOST_WORDS}")
        self._codes_of_ids = np.zeros(1 << slot_bits, np.int32)

    def look_up(self, cells: Cells) -> np.ndarray:
        """Return the codes of a column, int32 [n].

        Raises:
            ValueError: one can't be an id.
        """
        words = cells.words()
        if words is None or "\0" in cells.text:  # zeros stand for the end of an id
            return self._from_dictionary(cells)
        ids = words.view(f"S{_WORD * words.shape[1]}")[:, 0]
        mixed = words @ _FACTORS[:words.shape[1]]  # modulo 2^64; zero words change nothing
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _FACTORS[0]
        slots = mixed >> np.uint64(64 - self._slot_bits)
        codes = self._codes_of_ids[slots]
        others = np.flatnonzero((self._ids[slots] != ids) | (ids == b""))
        codes[others] = self._from_dictionary(cells[others])
        self._ids[slots[others]], self._codes_of_ids[slots[others]] = ids[others], codes[others]
        if len(self._codes) > len(self._ids) // 2 and self._slot_bits < _MAX_SLOT_BITS:
            self._empty(min(len(self._codes).bit_length() + 2, _MAX_SLOT_BITS))
        return codes

    def _from_dictionary(self, cells: Cells) -> np.ndarray:
        return np.fromiter(map(self._codes.__getitem__, cells), np.int32, len(cells))
