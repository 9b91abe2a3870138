from __future__ import annotations

from types import SimpleNamespace

import pytest

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
        run = SimpleNamespace(name="run", evaluation=evaluation, missing=[], left_out=[])
        found = summary([run])  # type: ignore[list-item]
        assert (found["rows"][0][0] == "a (n-1)") == ("Arms marked (n-1)" in found["notes"]) == marked
