from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tslrec_min.storage.artifacts import read_json

from ..factories import paragraphs, parsed, tables

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("difference", [0.01, -0.01])
def test_the_sentence_follows_the_tests(difference: float) -> None:
    from tslrec_min.report.sections.summary import verdict

    figures = {"filtered": {"ndcg@10": {"mean": 0.1}}}
    found = [{"arm": arm, "metric": "ndcg@10", "group": "all", "difference": difference, "relative": difference * 10,
              "p_holm": p} for arm, p in (("b", 0.01), ("c", 0.05))]
    text = verdict({"arms": {"a": figures, "b": figures, "c": figures}, "comparisons": found})
    side = "higher with “b” (+10.0%" if difference > 0 else "lower with “b” (−10.0%"
    assert f"significantly {side}, p = .0100)" in text and "chance could not explain was found for “c”" in text
    assert "no other arm" in verdict({"arms": {"a": figures}, "comparisons": []})
    assert "were not tested" in verdict({"arms": {"a": figures, "b": figures}, "comparisons": []})


def test_arms_that_learned_from_validation_items_are_marked() -> None:
    from tslrec_min.report.sections.summary import summary

    figures = {metric: {"mean": 0.1, "std": 0.0, "runs": [0.1]} for metric in ("hr@10", "ndcg@10")}
    for learned, marked in (("n-2", False), ("n-1", True)):
        evaluation = {"arms": {"a": {"runs": ["a"], "learned_from": learned, "filtered": figures}}, "comparisons": [],
                      "split": "test", "data": {"split_hash": "x"}}
        run = SimpleNamespace(name="run", evaluation=evaluation, missing=[], left_out=[], runs=dict)
        found = summary([run])  # type: ignore[list-item]
        assert (found["rows"][0][0] == "a (n-1)") == ("Arms marked (n-1)" in found["notes"]) == marked


def test_the_last_column_says_which_arms_are_better_than_the_first() -> None:
    from tslrec_min.report.sections.summary import judged

    tests: list[dict[str, Any]] = [
        {"arm": arm, "metric": "ndcg@10", "group": "all", "difference": difference, "p_holm": p}
        for arm, difference, p in (("a", 0.1, 0.049), ("b", 0.1, 0.05), ("c", -0.1, 0.01), ("d", -0.1, 0.2))]
    other = [test | {"metric": "hr@10", "difference": -test["difference"], "p_holm": 0.0} for test in tests]
    assert judged({"comparisons": tests + other}) == {"a": "better", "b": "no better", "c": "worse", "d": "no better"}


def test_the_page_begins_with_what_to_use_and_what_it_costs(sums_page: str, summed: Path) -> None:
    root = parsed(sums_page)
    report = read_json(summed / "out" / "evaluate" / "metrics.json")
    first, second, *_ = (text for text in paragraphs(root) if not text.startswith("To the"))
    assert first.startswith("Use system: of all arms it has the highest NDCG@10 on validation targets, ")
    assert second.startswith("Compared with “popularity”, NDCG@10 is significantly higher with ")
    header, *rows = next(iter(tables(root).values()))
    assert header[-2:] == ["time a run", "than the first arm"]
    assert [row[0] for row in rows] == ["popularity", "titles", "ids", "system"] and rows[0][-1] == ""
    assert all(row[-2].endswith(" s") for row in rows) and rows[3][-1] == "better"
    p_values = {test["arm"]: test["p_holm"] for test in report["comparisons"]
                if (test["metric"], test["group"]) == ("ndcg@10", "all")}
    assert all((row[-1] == "no better") == (p_values[row[0]] >= 0.05) for row in rows[1:])
    assert "content, popularity, sasrec (ce), sums, transitions" in "".join(root.itertext())
