"""Groups of users, corrected comparisons and stored results: against literal restatements on small random data."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tslrec_min.configs import EvaluateConfig
from tslrec_min.data.dataset import Dataset, Histories
from tslrec_min.evaluation.summary import UserGroups, head_items, summarise, user_groups
from tslrec_min.ranking.ranks import Ranks
from tslrec_min.ranking.significance import holm

from .. import _reference as reference
from .factories import N_ITEMS, random_ranks, random_runs

FAST = EvaluateConfig(resamples=500)


def literal_groups(dataset: Dataset, split: str, share: float) -> dict[str, list[int]]:
    """Places in the list of evaluated users, by group; nothing is shared with the library but the histories."""
    popularity = Counter({item: 0 for item in range(1, N_ITEMS + 1)})
    lengths, targets = [], []
    for user in range(dataset.n_users):
        history = dataset.histories.of(user).tolist()
        training = history if len(history) < 3 else history[:-2]
        popularity.update(training)
        if len(history) >= 3:
            lengths.append(len(training))
            targets.append(history[-2 if split == "validation" else -1])
    ranked = sorted(popularity, key=lambda item: (-popularity[item], item))
    head = ranked[:round(share * N_ITEMS)]
    ordered = sorted(lengths)
    half = len(ordered) // 2
    median = ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
    places = range(len(targets))
    return {"head": [place for place in places if targets[place] in head],
            "tail": [place for place in places if targets[place] not in head],
            "short": [place for place in places if lengths[place] <= median],
            "long": [place for place in places if lengths[place] > median]}


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_groups_and_their_figures_are_those_of_loops(dataset: Dataset, split: str, share: float) -> None:
    groups = user_groups(dataset, dataset.evaluation(split), share)
    expected = literal_groups(dataset, split, share)
    assert all(expected.values())
    assert {group: np.flatnonzero(users).tolist() for group, users in groups.members().items()} == expected
    ranks = random_ranks(dataset, {"a": 3, "b": 1})
    report = summarise(ranks, groups, replace(FAST, split=split, head_share=share))
    assert report["groups"]["users"] == {group: len(places) for group, places in expected.items()}
    for protocol, by_arm in ranks.items():
        for arm, runs in by_arm.items():
            for group, places in expected.items():
                found = report["arms"][arm]["groups"][protocol][group]
                for name in ("hr@10", "ndcg@10", "mrr"):
                    means = [np.mean([reference.metric(name, run.greater[place], run.equal[place]) for place in places])
                             for run in runs]
                    assert found[name]["runs"] == pytest.approx(means)
                    assert found[name]["mean"] == pytest.approx(np.mean(means))
                    assert found[name]["std"] == pytest.approx(np.std(means, ddof=1) if len(runs) > 1 else 0)


def test_weighted_means_of_groups_add_up(dataset: Dataset) -> None:
    report = summarise(random_ranks(dataset, {"a": 2}), user_groups(dataset, dataset.evaluation("test"), 0.2), FAST)
    users, found = report["groups"]["users"], report["arms"]["a"]
    for protocol in ("filtered", "unfiltered"):
        for name, overall in found[protocol].items():
            for pair in (("head", "tail"), ("short", "long")):
                total = sum(users[group] * found["groups"][protocol][group][name]["mean"] for group in pair)
                assert total / len(dataset.evaluation("test").users) == pytest.approx(overall["mean"])


def test_equal_popularity_goes_to_the_smaller_id() -> None:
    training = Histories(np.array([0, 6]), np.array([5, 5, 4, 2, 3, 3], dtype=np.int32))
    assert [np.flatnonzero(head_items(training, 6, share)).tolist() for share in (0, 1 / 6, 0.5, 1)] == [
        [], [3], [2, 3, 5], [1, 2, 3, 4, 5, 6]]


def test_targets_take_no_part_in_popularity(dataset: Dataset) -> None:
    items = dataset.histories.items.copy()
    ends = dataset.histories.indptr[dataset.evaluation("test").users + 1]
    items[ends - 1], items[ends - 2] = N_ITEMS, N_ITEMS
    changed = replace(dataset, histories=Histories(dataset.histories.indptr, items))
    assert not np.array_equal(changed.evaluation("test").targets, dataset.evaluation("test").targets)
    heads = [head_items(data.training(), N_ITEMS, 0.2) for data in (dataset, changed)]
    assert heads[0].sum() == 5 and np.array_equal(*heads)


def test_groups_without_users_are_left_out() -> None:
    groups = UserGroups(np.array([1, 2]), np.array([4, 4]), np.array([True, True]))
    report = summarise({"filtered": {"a": random_runs(2, 1, 0), "b": random_runs(2, 1, 1)}}, groups, FAST)
    assert report["groups"]["users"] == {"head": 2, "tail": 0, "short": 2, "long": 0}
    assert set(report["arms"]["a"]["groups"]["filtered"]) == {"head", "short"}
    assert {found["group"] for found in report["comparisons"]} == {"all"}


def test_comparisons_are_of_all_and_of_tail_users_and_corrected_together(dataset: Dataset) -> None:
    groups = user_groups(dataset, dataset.evaluation("test"), 0.2)
    ranks = random_ranks(dataset, {"base": 2, "b": 2, "c": 1})
    better = [Ranks(run.greater // 4, run.equal, run.n_candidates) for run in ranks["filtered"]["base"]]
    report = summarise({"filtered": ranks["filtered"] | {"better": better}}, groups, FAST)
    found = report["comparisons"]
    assert [(one["arm"], one["metric"], one["group"]) for one in found] == [
        (arm, metric, group) for arm in ("b", "c", "better")
        for metric, group in (("hr@10", "all"), ("ndcg@10", "all"), ("hr@10", "tail"))]
    for one in found:
        arm, base = (report["arms"][which]["filtered" if one["group"] == "all" else "groups"] for which in (
            one["arm"], "base"))
        if one["group"] == "tail":
            arm, base = arm["filtered"]["tail"], base["filtered"]["tail"]
        means = [side[one["metric"]]["mean"] for side in (arm, base)]
        assert one["difference"] == pytest.approx(means[0] - means[1])
        assert one["relative"] == pytest.approx(means[0] / means[1] - 1)
    assert [one["p_holm"] for one in found] == list(holm([one["p_value"] for one in found]))
    assert max(one["p_holm"] for one in found[-3:-1]) < 0.05 < min(one["p_holm"] for one in found[:6])


def test_ranks_of_other_users_and_unknown_metrics_are_refused(dataset: Dataset) -> None:
    groups = user_groups(dataset, dataset.evaluation("test"), 0.2)
    with pytest.raises(ValueError, match="ranks of a has 3 entries"):
        summarise({"filtered": {"a": random_runs(3, 1, 0)}}, groups, FAST)
    with pytest.raises(ValueError, match="no metric 'recall@10'"):
        summarise(random_ranks(dataset, {"a": 1}), groups, FAST, metrics=["recall@10"])
