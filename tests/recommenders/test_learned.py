from __future__ import annotations

from pathlib import Path

import pytest

from tslrec_min.configs import REFITS
from tslrec_min.errors import TslrecError
from tslrec_min.recommenders.learned import KINDS, common_histories, learned_from
from tslrec_min.storage.artifacts import Artifact


def test_a_run_says_what_it_learned_from() -> None:
    assert [learned_from(Artifact(Path("run"), {"config": {"refit": refit}})) for refit in REFITS] == list(KINDS)
    assert learned_from(Artifact(Path("run"), {"config": {}})) == "n-2"  # of an older version
    with pytest.raises(TslrecError, match=r"run: refit is \[\]; expected one of none, validation, all"):
        learned_from(Artifact(Path("run"), {"config": {"refit": []}}))


def test_runs_that_learned_the_same_are_evaluated_together() -> None:
    assert common_histories({"a": "n-2", "b": "n-2"}, "validation") == "n-2"
    assert common_histories({"a": "n-1", "b": "n-1"}, "test") == "n-1"


@pytest.mark.parametrize(("learned", "split", "message"), [
    ({"a": "n-2", "b": "everything"}, "test", "b learned from all items, .*seen the test.* --refit none or val"),
    ({"a": "everything"}, "validation", "seen the validation targets.* with --refit none$"),
    ({"a": "n-1"}, "validation", r"a learned from the training and validation items \(n-1\), so it has seen the valid"),
    ({"a": "n-2", "b": "n-1"}, "test", r"a and b .* learned from different histories: the first from the training "
                                       r"items \(n-2\), the other from the training and validation items \(n-1\)"),
])
def test_others_are_refused(learned: dict[str, str], split: str, message: str) -> None:
    with pytest.raises(TslrecError, match=message):
        common_histories(learned, split)
