from __future__ import annotations

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
