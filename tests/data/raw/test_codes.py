from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.data.raw import codes as module
from tslrec_min.data.raw.ascii_columns import Cells, cut
from tslrec_min.data.raw.codes import Codes, ColumnCodes

pytestmark = pytest.mark.kernel
IDS = st.lists(st.tuples(st.lists(st.text(st.sampled_from("ab1-"), min_size=1, max_size=40) | st.text(
    st.sampled_from("01é"), min_size=8, max_size=16), max_size=30), st.booleans()), min_size=1, max_size=6)


def cells(names: list[str]) -> Cells:
    fields = cut("".join(f"{name},\n" for name in names).encode(), ",", 2)
    assert fields is not None and list(fields[0]) == names
    return fields[0]


@given(IDS, st.booleans())
@settings(deadline=None)
def test_codes_of_columns_are_those_of_a_dictionary(columns: list[tuple[list[str], bool]], crowded: bool) -> None:
    alone = Codes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SLOT_BITS", 1 if crowded else 10)
        codes = ColumnCodes()
        for column, as_text in columns:
            assert codes.look_up(column if as_text else cells(column)).tolist() == [alone[name] for name in column]
            assert codes.look_up(cells(column)[1:3]).tolist() == [alone[name] for name in column[1:3]]
            assert codes.names() == list(alone)


@pytest.mark.parametrize("wrong", [["a", "\0", "b"], [""], ["\x1c", "a\tb"]])
def test_a_column_with_an_id_that_is_none_changes_nothing(wrong: list[str]) -> None:
    codes = ColumnCodes()
    assert codes.look_up(cells(["x"])).tolist() == [0]
    for column in (cells(wrong), wrong[-1:] if "b" not in wrong else wrong[1:]):
        with pytest.raises(ValueError):
            codes.look_up(column)
    assert codes.look_up(cells(["a", "x", "\x01"])).tolist() == [1, 0, 2]  # a control character can be part of an id
    assert codes.names() == ["x", "a", "\x01"]


def test_ids_of_any_length_and_script() -> None:
    names = [f"{script}{'x' * length}{number}" for length in (0, 5, 13, 14, 15, 16, 40) for number in range(300)
             for script in ("", "é")]
    codes, half = ColumnCodes(), len(names) // 2
    assert codes.look_up(cells(names[:half])).tolist() == list(range(half))
    assert codes.look_up(["between", names[-1]]).tolist() == [half, half + 1]
    assert codes.look_up(cells(names)).tolist() == [*range(half), *range(half + 2, len(names) + 1), half + 1]
    assert codes.names() == [*names[:half], "between", names[-1], *names[half:-1]]


def test_the_latest_ids_can_be_forgotten() -> None:
    codes = ColumnCodes()
    codes.look_up(["a", "b"])
    known = len(codes)
    assert codes.look_up(cells(["c", "b", "d"])).tolist() == [2, 1, 3] and len(codes) == 4
    codes.truncate(known)
    assert len(codes) == 2 and codes.names() == ["a", "b"]
    assert codes.look_up(["d", "c"]).tolist() == [2, 3]
