"""The top of the page: what was run, the main table, and what it shows in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from ...configs import COUNTING_MODELS
from ...evaluation.advice import advice, deciding_tests, judged
from ...ranking.significance import stars
from ...recommenders.fusion.artifact import FUSED
from ...storage.artifacts import read_json
from ..collect import PART, Run
from ..text import duration, p_value, quoted, setting, short, signed_share, strong, with_deviation

METRICS = ("hr@10", "ndcg@10")
_DECIDING = "ndcg@10"
_LACKING = {"dataset": "data set, titles, categories and maps", "pretrain": "pretraining, categories and maps",
            "finetune": "fine-tuning and parity", "embed-untuned": "embeddings before fine-tuning",
            "embed": "embeddings after fine-tuning", "train": "training curves of the arms",
            "evaluate": "results and their intervals"}
_OTHER_VECTORS = {"preferences": "preferences", "embed-encoder": "encoder", "embed-tfidf": "words"}
"""Item vectors that are not before and after fine-tuning -> what they are called."""


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the summary of all runs together: the table, sentences, and what is missing of each."""
    evaluated = [(run.name, run.evaluation) for run in runs if run.evaluation]
    several = len(runs) > 1
    costs = {run.name: {arm: fmean(map(run.seconds, of_arm)) for arm, of_arm in run.runs().items()} for run in runs}
    tested, timed = any(evaluation["comparisons"] for _, evaluation in evaluated), any(costs.values())
    header = [*(["run"] if several else []), "arm", *(["split"] if several else []), "seeds",
              *(text for metric in METRICS for text in (metric.upper(), "lift", "p (Holm)")),
              *(["time a run"] if timed else []), *(["than the first arm"] if tested else [])]
    rows = []
    for name, evaluation in evaluated:
        columns = ([{arm: duration(took) for arm, took in costs[name].items()}] if timed else []) + (
            [judged(evaluation)] if tested else [])
        rows += [[*row, *(column.get(arm, "") for column in columns)]
                 for arm, row in _rows(name, evaluation, several)]
    return {"verdicts": [(run.name, advised(run), verdict(run.evaluation)) for run in runs if run.evaluation],
            "header": header, "rows": rows, "timed": timed,
            "notes": " ".join(_notes([evaluation for _, evaluation in evaluated], several)) if evaluated else None,
            "absent": [(run.name, [*(f"no {role} artifact: {_LACKING[role]} are not shown" for role in run.missing),
                                   *run.left_out]) for run in runs if run.missing or run.left_out]}


def advised(run: Run) -> str | None:
    """Say which arm to use, or return None if the figures by which that is chosen are not there."""
    runs = run.runs()
    if not run.evaluation or not runs:
        return None
    return advice(run.evaluation, {arm: fmean(read_json(each.path / "metrics.json")["validation_ndcg@10"]
                                              for each in of_arm) for arm, of_arm in runs.items()})


def verdict(evaluation: Mapping[str, Any]) -> str:
    """Say in a sentence what the comparisons with the first arm show."""
    baseline, *others = evaluation["arms"]
    tests = deciding_tests(evaluation)
    if not others:
        mean = evaluation["arms"][baseline]["filtered"][_DECIDING]["mean"]
        return f"NDCG@10 of “{quoted(baseline)}” is {short(mean)}; there is no other arm to compare it with."
    if not tests:
        return "The arms were not tested against each other, so the table alone can't tell a difference from chance."
    sorted_out: dict[str, list[str]] = {"better": [], "worse": [], "no better": []}
    for arm, kind in judged(evaluation).items():
        sorted_out[kind].append(f"“{quoted(arm)}” ({_lift(tests[arm])}, p = {p_value(tests[arm]['p_holm'])})")
    clauses = [f"NDCG@10 is significantly {text} with {_listed(sorted_out[kind])}"
               for kind, text in (("better", "higher"), ("worse", "lower")) if sorted_out[kind]]
    if sorted_out["no better"]:
        clauses.append(f"no difference that chance could not explain was found for {_listed(sorted_out['no better'])}")
    return f"Compared with “{quoted(baseline)}”, {'; '.join(clauses)}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _lift(test: Mapping[str, Any]) -> str:
    return short(test["difference"]) if test["relative"] is None else signed_share(test["relative"])


def _rows(run: str, evaluation: Mapping[str, Any], several: bool) -> Iterator[tuple[str, list[str]]]:
    """Give every arm and the first columns of its row."""
    tests = {(test["arm"], test["metric"]): test for test in evaluation["comparisons"] if test["group"] == "all"}
    best = {metric: max(arm["filtered"][metric]["mean"] for arm in evaluation["arms"].values()) for metric in METRICS}
    for arm, figures in evaluation["arms"].items():
        name = quoted(arm) + " (n-1)" * (figures.get("learned_from") == "n-1")
        row = [run, name, evaluation["split"]] if several else [name]
        row.append(str(len(figures["runs"])))
        for metric in METRICS:
            values, test = figures["filtered"][metric], tests.get((arm, metric))
            shown = with_deviation(values)
            highest = len(evaluation["arms"]) > 1 and values["mean"] == best[metric]
            row += [strong(shown) if highest else shown, _lift(test) if test else "",
                    p_value(test["p_holm"]) + stars(test["p_holm"]) if test else ""]
        yield arm, row


def _notes(evaluations: Sequence[Mapping[str, Any]], several: bool) -> Iterator[str]:
    seeds = {len(arm["runs"]) for evaluation in evaluations for arm in evaluation["arms"].values()}
    yield ("Mean ± standard deviation over seeds." if max(seeds) > 1 else
           "One seed an arm: how much results vary from seed to seed is not known.")
    yield "Bold: the highest mean" + (" of the run." if several else ".")
    tests = [test for evaluation in evaluations for test in evaluation["comparisons"]]
    if tests:
        yield (f"Lift is over the first arm{' of the run' if several else ''}; p is of a paired {tests[0]['test']} "
               f"test over users, by Holm's correction for all tests of {'its' if several else 'the'} run; * p < .05, "
               "** p < .01, *** p < .001. The last column goes by NDCG@10 and p < .05.")
    if any(evaluation["split"] == "validation" for evaluation in evaluations):
        yield "Validation figures: settings and epochs were chosen by these very targets."
    if any(arm.get("learned_from") == "n-1" for evaluation in evaluations for arm in evaluation["arms"].values()):
        yield ("Arms marked (n-1) learned from the training and validation items; their figures can't be compared with "
               "those of arms that learned from the training items alone.")
    if len({(evaluation["data"]["split_hash"], evaluation["split"]) for evaluation in evaluations}) > 1:
        yield ("The runs are of different data or splits (see the split hashes): figures of one can't be compared with "
               "those of another.")


def facts(run: Run) -> list[tuple[str, str]]:
    """Return what was run, in a few figures."""
    pairs = []
    data = (run.evaluation or {}).get("data") or run.file("dataset", "dataset.json")
    if data:
        pairs.append(("data", f"{data['users']:,} users, {data['items']:,} items, {data['interactions']:,} "
                              "interactions"))
    recommenders = {_recommender(artifact.config) for artifact in (*run.stages["train"], *run.stages[PART])}
    if recommenders:
        pairs.append(("recommender", ", ".join(sorted(recommenders))))
    stage, tuning = run.stage("finetune"), run.file("finetune", "metrics.json")
    if stage and tuning:
        pairs.append(("language model", f"{setting(stage.config['model'])}, LoRA rank {stage.config['lora_rank']}, "
                                        f"{stage.config['quant']}"))
        known = f"constant predictor {tuning['baseline']:.4f}: {tuning['improvement']:.1%} less"
        if tuning.get("objective") == "residual":
            known = ", ".join(f"{name} {tuning[key]:.4f}" for name, key in (
                ("untuned", "untuned"), ("counts", "counts"), ("popularity", "baseline")))
        pairs.append(("fine-tuning", f"held-out {tuning['loss']} {tuning['best']:.4f}, {known}"))
    shares = {name: spread.neighbour_share for name, spread in run.spreads.items()
              if spread.neighbour_share is not None}
    if shares:
        states = " → ".join(f"{shares[name]:.1%}" for name in ("embed-untuned", "embed") if name in shares)
        others = [f"{text} {shares[name]:.1%}" for name, text in _OTHER_VECTORS.items() if name in shares]
        pairs.append(("neighbours in the category", ", ".join(filter(None, [states, *others]))))
    parity = run.file("finetune", "parity.json") or run.failed_parity
    if parity:
        pairs.append(("parity of the GGUF", "passed" if parity["passed"] else "failed"))
    records = [artifact.record for artifacts in run.stages.values() for artifact in artifacts]
    return [*pairs, ("computed in", duration(sum(record["wall_seconds"] for record in records))),
            ("peak memory", f"{max(record['peak_memory_mib'] for record in records):,.0f} MiB")]


def _recommender(config: Mapping[str, Any]) -> str:
    """Return what kind of recommender a train artifact has."""
    model = str(config["model"])
    return "sums" if model == FUSED else model if model in COUNTING_MODELS else f"{model} ({config['loss']})"
