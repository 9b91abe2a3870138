from __future__ import annotations

import csv
import io
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.data.raw.ascii_columns import count_lines, cut


@given(st.lists(st.integers(0, 10**18 - 1).map(str) | st.sampled_from(["007", "0"]), max_size=20),
       st.sampled_from(["", "-1", "1_0", "+3", "1.5", "9" * 19, "x", "/", ":"]), st.booleans())
def test_integers_of_cells(numbers: list[str], other: str, mixed: bool) -> None:
    column = [*numbers, other] if mixed else numbers
    fields = cut("".join(f"{number};\n" for number in column), ";", 2)
    assert fields is not None
    found = fields[0].integers()
    assert found is None if mixed else found is not None and found.tolist() == [int(number) for number in numbers]


TEXTS = st.lists(st.lists(st.text(st.sampled_from('ab1"; \t\u00a0\u2003\u3000\x85\x1cé七\r'), max_size=6), min_size=2,
                          max_size=4), min_size=1, max_size=6)
PLAIN = st.text(st.sampled_from("ab1-é七 '"), max_size=20)


def by_csv(text: str, delimiter: str) -> list[list[str]]:
    """Split as the slow path does: any line end counts, spaces before quotes do not."""
    stream = io.StringIO(text.replace("\r\n", "\n").replace("\r", "\n"), newline="")
    return [[cell.strip() for cell in row] for row in csv.reader(stream, delimiter=delimiter, skipinitialspace=True)]


@given(TEXTS, st.sampled_from([",", ";", "|"]), st.integers(2, 4), st.sampled_from(["\n", "\r\n"]))
@settings(deadline=None, max_examples=400)
def test_what_is_cut_is_what_csv_reads(rows: list[list[str]], delimiter: str, width: int, end: str) -> None:
    text = "".join(delimiter.join(row) + end for row in rows).replace("\r\r", "\r")
    if text.replace("\r\n", "").count("\r"):
        text = text.replace("\r\n", "\n").replace("\r", "")
    places = [width - 1, 0]
    fields = cut(text.encode(), delimiter, width, places, quoted=True, stripped=True)
    if fields is not None:
        expected = by_csv(text, delimiter)
        assert all(len(row) == width for row in expected)
        assert [list(field) for field in fields] == [[row[place] for row in expected] for place in places]


@given(st.lists(st.lists(PLAIN, min_size=3, max_size=3), min_size=1, max_size=40), st.sampled_from([",", ";", "\t"]),
       st.sampled_from(["\n", "\r\n"]), st.lists(st.sampled_from(["", " "]), min_size=1, max_size=5), st.booleans())
@settings(deadline=None)
def test_plain_lines_are_cut(rows: list[list[str]], delimiter: str, end: str, before: list[str], quotes: bool) -> None:
    pads = itertools.cycle(before)
    cells = [[f'{next(pads)}"{cell}"' if quotes and place != 1 else f'{next(pads)}"{cell}{delimiter}""{cell}"'
              if quotes else f"{next(pads)}{cell}" for place, cell in enumerate(row)] for row in rows]
    text = "".join(delimiter.join(row) + end for row in cells)
    fields = cut(text.encode(), delimiter, 3, [0, 2], quoted=quotes, stripped=True)
    assert fields is not None
    assert [list(field) for field in fields] == [[row[place].strip() for row in rows] for place in (0, 2)]
    assert list(fields[0][np.arange(len(rows)) % 2 == 1]) == [row[0].strip() for row in rows[1::2]]


@pytest.mark.parametrize("text", [
    b"a\n", b"a,b,c\n", b"\n", b"a,b\n\n", b'"a\nb",c\n', b'"a"x,b\n', b'"a""b",c\n', b'"a,b\n', b'a,"', b'a,"b',
    "\u00a0a,b\n".encode(), "a\u3000,b\n".encode(), b'"' + b"x" * 100_001 + b'",b\n'])
def test_what_is_not_plain_is_left_to_python(text: bytes) -> None:
    assert cut(text, ",", 2, quoted=True, stripped=True) is None


def test_delimiters_of_two_characters() -> None:
    for text, expected in (("a::b:c::d\n", [["a"], ["b:c"], ["d"]]), ("a:::b::\n::::c\n", [["a", ""], [":b", ""],
                                                                                        ["", "c"]])):
        fields = cut(text, "::", 3)
        assert fields is not None and [list(field) for field in fields] == expected
    assert cut("a::b:::c:\n", "::", 3) is not None and cut("a::b:\nc", "::", 3) is None
    assert cut("a,b\n", ",,,", 2) is None and cut("é,b\n", ",", 2) is None and cut("a\n", ",", 1) is None


DECIMALS = st.decimals(-10**6, 10**6, places=3).map(str) | st.integers(-10**14, 10**14).map(str) | st.sampled_from(
    ["0", "-0", "4.5", "0.1", "123456789012345", "0.00000000000001", "007.50"])


@given(st.lists(DECIMALS, max_size=20), st.sampled_from(["", "-", ".", ".5", "5.", "1e3", "1_0", "+3", "1.2.3", "nan",
                                                         "1" * 16, "0.1234567890123456", " 1", "١"]), st.booleans())
def test_decimals_of_cells(numbers: list[str], other: str, mixed: bool) -> None:
    column = [*numbers, other] if mixed else numbers
    fields = cut("".join(f"{number};\n" for number in column).encode(), ";", 2)
    assert fields is not None
    found = fields[0].decimals()
    assert found is None if mixed else found is not None and found.tolist() == [float(number) for number in numbers]


@given(st.integers(0, 2000), st.integers(0, 2**32), st.floats(0, 1))
def test_lines_are_counted(length: int, seed: int, share: float) -> None:
    data = np.where(np.random.default_rng(seed).random(length) < share, b"\n", b"x").tobytes()
    assert count_lines(data) == data.count(b"\n")
