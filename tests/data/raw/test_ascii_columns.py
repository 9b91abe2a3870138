from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.data.raw import ascii_columns
from tslrec_min.data.raw.ascii_columns import CodeCache, cut
from tslrec_min.data.raw.interactions import Codes

IDS = st.lists(st.lists(st.text(st.sampled_from("ab1-"), min_size=1, max_size=40) | st.text(
    st.sampled_from("01"), min_size=8, max_size=16), max_size=30), min_size=1, max_size=6)


@given(IDS, st.booleans())
@settings(deadline=None)
def test_codes_of_cells_are_those_of_the_dictionary(columns: list[list[str]], crowded: bool) -> None:
    codes, alone = Codes(), Codes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ascii_columns, "_SLOT_BITS", 1 if crowded else 10)
        cache = CodeCache(codes)
        for column in columns:
            fields = cut("".join(f"{name},\n" for name in column), ",", 2)
            assert fields is not None and list(fields[0]) == column
            assert cache.look_up(fields[0]).tolist() == [alone[name] for name in column]
            assert cache.look_up(fields[0][1:3]).tolist() == [alone[name] for name in column[1:3]]
    assert list(codes.items()) == list(alone.items())


def test_a_column_with_an_id_that_is_none_changes_nothing() -> None:
    codes = Codes()
    cache = CodeCache(codes)
    fields = cut("a,\n\0,\n,\nb,\n", ",", 2)
    assert fields is not None
    for wrong in (fields[0], fields[0][2:3]):
        with pytest.raises(ValueError):
            cache.look_up(wrong)
    good = cut("b,\na,\nc,\n", ",", 2)
    assert good is not None and cache.look_up(good[0]).tolist() == [codes["b"], codes["a"], codes["c"]]
    empty = cut("b,\n,\n", ",", 2)
    assert empty is not None
    with pytest.raises(ValueError):
        cache.look_up(empty[0])


@given(st.lists(st.integers(0, 10**18 - 1).map(str) | st.sampled_from(["007", "0"]), max_size=20),
       st.sampled_from(["", "-1", "1_0", "+3", "1.5", "9" * 19, "x", "/", ":"]), st.booleans())
def test_integers_of_cells(numbers: list[str], other: str, mixed: bool) -> None:
    column = [*numbers, other] if mixed else numbers
    fields = cut("".join(f"{number};\n" for number in column), ";", 2)
    assert fields is not None
    found = fields[0].integers()
    assert found is None if mixed else found is not None and found.tolist() == [int(number) for number in numbers]
