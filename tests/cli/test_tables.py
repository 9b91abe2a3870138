from __future__ import annotations

from tslrec_min.cli.tables import table


def test_columns_of_a_table_stand_below_each_other_in_a_terminal() -> None:
    text = table(["title", "item"], [["七人の侍", "12"], ["Amélie", "3"], ["Ame\u0301lie", "4"],
                                       ["か\u3099", "5"], ["ที่รัก", "6"], ["a\u200bb", "7"]])
    assert text.splitlines() == ["title     item", "--------------", "七人の侍    12", "Amélie       3",
                                 "Ame\u0301lie       4", "か\u3099           5", "ที่รัก          6",
                                 "a\u200bb           7"]
