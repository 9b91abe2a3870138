"""The top of the page: what was run, the main table, and what it shows in a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..ranking.significance import stars
from .collect import Run
from .markup import (
    Content,
    Html,
    bullets,
    definitions,
    element,
    escaped,
    p_value,
    paragraph,
    quoted,
    setting,
    short,
    signed_share,
    table,
)

METRICS = ("hr@10", "ndcg@10")
_LEVEL = 0.05
_DECIDING = "ndcg@10"


def summary(runs: Sequence[Run]) -> Html:
    """Return the summary of all runs together: the table, sentences, and figures of each."""
    evaluated = [run for run in runs if run.evaluation]
    several = len(runs) > 1
    parts: list[Content] = [
        paragraph(*([element("strong", f"{run.name}: ")] if several else []), verdict(run.evaluation), class_="verdict")
        for run in evaluated if run.evaluation]
    if evaluated:
        parts += [_main_table(evaluated, several), paragraph(_notes(evaluated), class_="note")]
    else:
        parts.append(paragraph("No evaluation is among the artifacts given, so there is no table of results."))
    if not several:
        parts.append(facts(runs[0]))
    parts += [_absent(run, several) for run in runs]
    return escaped(parts)


def verdict(evaluation: Mapping[str, Any]) -> str:
    """Say in a sentence what the comparisons with the first arm show."""
    baseline, *others = evaluation["arms"]
    tests = {found["arm"]: found for found in evaluation["comparisons"]
             if found["metric"] == _DECIDING and found["group"] == "all"}
    if not others:
        mean = evaluation["arms"][baseline]["filtered"][_DECIDING]["mean"]
        return f"NDCG@10 of “{quoted(baseline)}” is {short(mean)}; there is no other arm to compare it with."
    if not tests:
        return "The arms were not tested against each other, so the table alone can't tell a difference from chance."
    sorted_out: dict[str, list[str]] = {"higher": [], "lower": [], "none": []}
    for arm, found in tests.items():
        kind = "none" if found["p_holm"] >= _LEVEL else "higher" if found["difference"] > 0 else "lower"
        sorted_out[kind].append(f"“{quoted(arm)}” ({_lift(found)}, p = {p_value(found['p_holm'])})")
    clauses = [f"NDCG@10 is significantly {kind} with {_listed(sorted_out[kind])}" for kind in ("higher", "lower")
               if sorted_out[kind]]
    if sorted_out["none"]:
        clauses.append(f"no difference that chance could not explain was found for {_listed(sorted_out['none'])}")
    return f"Compared with “{quoted(baseline)}”, {'; '.join(clauses)}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _lift(found: Mapping[str, Any]) -> str:
    return short(found["difference"]) if found["relative"] is None else signed_share(found["relative"])


def with_deviation(values: Mapping[str, Any]) -> str:
    """Return the mean of a metric and, over several runs, its standard deviation: .2139 ± .0022."""
    return short(values["mean"]) + (f" ± {short(values['std'])}" if len(values["runs"]) > 1 else "")


def _main_table(runs: Sequence[Run], several: bool) -> Html:
    header = [*(["run"] if several else []), "arm", *(["split"] if several else []), "seeds",
              *(text for metric in METRICS for text in (metric.upper(), "lift", "p (Holm)"))]
    caption = "HR@10 and NDCG@10 of every arm: full ranking, seen items left out"
    return table(caption, header, [row for run in runs for row in _rows(run, several)], texts=3 if several else 1)


def _rows(run: Run, several: bool) -> Iterator[list[Content]]:
    evaluation = run.evaluation
    assert evaluation is not None, "called for runs with an evaluation"
    tests = {(found["arm"], found["metric"]): found for found in evaluation["comparisons"] if found["group"] == "all"}
    best = {metric: max(arm["filtered"][metric]["mean"] for arm in evaluation["arms"].values()) for metric in METRICS}
    for arm, found in evaluation["arms"].items():
        row: list[Content] = [run.name, quoted(arm), evaluation["split"]] if several else [quoted(arm)]
        row.append(str(len(found["runs"])))
        for metric in METRICS:
            values, test = found["filtered"][metric], tests.get((arm, metric))
            figure = with_deviation(values)
            highest = len(evaluation["arms"]) > 1 and values["mean"] == best[metric]
            row += [element("strong", figure) if highest else figure,
                    _lift(test) if test else "", [p_value(test["p_holm"]), stars(test["p_holm"])] if test else ""]
        yield row


def _notes(runs: Sequence[Run]) -> str:
    evaluations = [run.evaluation for run in runs if run.evaluation]
    seeds = {len(arm["runs"]) for evaluation in evaluations for arm in evaluation["arms"].values()}
    notes = ["Mean ± standard deviation over seeds." if max(seeds) > 1 else
             "One seed an arm: how much results vary from seed to seed is not known.",
             "Bold: the highest mean" + (" of the run." if len(runs) > 1 else ".")]
    tests = [found for evaluation in evaluations for found in evaluation["comparisons"]]
    if tests:
        notes.append(f"Lift is over the first arm{' of the run' if len(runs) > 1 else ''}; p is of a paired "
                     f"{tests[0]['test']} test over users, by Holm's correction for all tests of "
                     f"{'its' if len(runs) > 1 else 'the'} run; * p < .05, ** p < .01, *** p < .001.")
    if any(evaluation["split"] == "validation" for evaluation in evaluations):
        notes.append("Validation figures: settings and epochs were chosen by these very targets.")
    hashes = {(evaluation["data"]["split_hash"], evaluation["split"]) for evaluation in evaluations}
    if len(hashes) > 1:
        notes.append("The runs are of different data or splits (see the split hashes): figures of one can't be "
                     "compared with those of another.")
    return " ".join(notes)


def facts(run: Run) -> Html:
    """Return what was run, in a few figures."""
    pairs: list[tuple[Content, Content]] = []
    data = (run.evaluation or {}).get("data") or run.file("dataset", "dataset.json")
    if data:
        pairs.append(("data", f"{data['users']:,} users, {data['items']:,} items, {data['interactions']:,} "
                              "interactions"))
    arms = {(artifact.config["model"], artifact.config["loss"]) for _, artifact in run.trainings()}
    if arms:
        pairs.append(("recommender", ", ".join(f"{model} ({loss})" for model, loss in sorted(arms))))
    stage, tuning = run.stage("finetune"), run.file("finetune", "metrics.json")
    if stage and tuning:
        pairs.append(("language model", f"{setting(stage.config['model'])}, LoRA rank {stage.config['lora_rank']}, "
                                        f"{stage.config['quant']}"))
        pairs.append(("fine-tuning", f"held-out {tuning['loss']} {tuning['best']:.4f}, constant predictor "
                                     f"{tuning['baseline']:.4f}: {tuning['improvement']:.1%} less"))
    shares = {name: spread.neighbour_share for name, spread in run.spreads.items()
              if spread.neighbour_share is not None}
    if shares:
        states = " → ".join(f"{share:.1%}" for name, share in shares.items() if name != "preferences")
        preferences = f", preferences {shares['preferences']:.1%}" if "preferences" in shares else ""
        pairs.append(("neighbours in the category", states + preferences))
    parity = run.file("finetune", "parity.json") or run.failed_parity
    if parity:
        pairs.append(("parity of the GGUF", "passed" if parity["passed"] else "failed"))
    records = [artifact.record for artifacts in run.stages.values() for artifact in artifacts]
    pairs += [("computed in", duration(sum(record["wall_seconds"] for record in records))),
              ("peak memory", f"{max(record['peak_memory_mib'] for record in records):,.0f} MiB")]
    return definitions(pairs, class_="facts")


def duration(seconds: float) -> str:
    """Return a time as people say it: 12.3 s, 4 min 5 s, 2 h 3 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


_LACKING = {"dataset": "data set, titles, categories and maps", "pretrain": "pretraining, categories and maps",
            "finetune": "fine-tuning and parity", "embed-untuned": "embeddings before fine-tuning",
            "embed": "embeddings after fine-tuning", "train": "training curves of the arms",
            "evaluate": "results and their intervals"}


def _absent(run: Run, several: bool) -> Html:
    """Say what of a run is missing, or was left out."""
    missing = [f"no {role} artifact: {_LACKING[role]} are not shown" for role in run.missing]
    if not missing and not run.left_out:
        return Html()
    heading = f"What the page lacks{f' of {run.name}' if several else ''}:"
    return element("div", paragraph(heading), bullets([*missing, *run.left_out]), class_="note lacking")
