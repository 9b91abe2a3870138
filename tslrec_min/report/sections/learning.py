"""How the models learned: recommenders by epoch, the language model beside its baseline, and what conversion kept.

Recommenders without training have constants in place of epochs, and sums have weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from markupsafe import Markup

from ...finetuning.artifact import quantised_name
from ...recommenders.training import ended_rising
from ...storage.artifacts import Artifact, read_json
from ..collect import PART, Run
from ..drawing import legend
from ..figures import curves, held_out_losses, training_losses, weights
from ..text import quoted, short, signed_share

_Log = tuple[str, Artifact, Mapping[str, Any]]
"""Name of an arm, its run, and that run's metrics.json."""


def training(run: Run, name: str) -> dict[str, Any] | None:
    """Return the section on the recommenders, or None if there is none."""
    logs = [(arm, artifact, read_json(artifact.path / "metrics.json")) for arm, artifact in run.trainings()]
    parts = [(_name_of_part(run, artifact), artifact, read_json(artifact.path / "metrics.json"))
             for artifact in run.stages[PART]]
    pretrained = run.stage("pretrain")
    if not logs and not parts and pretrained is None:
        return None
    trained, counted, fused = ([log for log in [*logs, *parts] if key in log[2]]
                               for key in ("epochs", "constants", "parts"))
    before = [("pretraining", pretrained, read_json(pretrained.path / "metrics.json"))] if pretrained else []
    return {"arms": _epochs(trained, f"{name}-arms") if trained else None,
            "constants": [[quoted(arm), artifact.config["model"], _constants(log), short(log["validation_ndcg@10"])]
                          for arm, artifact, log in counted],
            "sums": _sums(fused, f"{name}-sums") if fused else None,
            "pretraining": _epochs(before, f"{name}-pretraining") if before else None}


def _name_of_part(run: Run, part: Artifact) -> str:
    """Return what the first sum with this part calls it."""
    return next((name.removeprefix("part ") for artifact in run.stages["train"]
                 for name, value in artifact.record["inputs"].items() if value == part.hash), part.path.name)


def _constants(log: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in log["constants"].items()) or "none"


def _epochs(logs: Sequence[_Log], name: str) -> dict[str, Any]:
    """Return curves and best epochs of trainings."""
    arms = list(dict.fromkeys(arm for arm, _, _ in logs))

    def picture(key: str, what: str) -> Markup:
        lines = [(arms.index(arm), [epoch[key] for epoch in log["epochs"]]) for arm, _, log in logs]
        return curves(f"{name}-{key.partition('@')[0].replace('_', '-')}", f"{what} by epoch", lines, "epoch", what)

    late = [ended_rising(log["best_epoch"], len(log["epochs"]), artifact.config["decay"]) for _, artifact, log in logs]
    rows = [[quoted(arm), artifact.record["seed"], f"{log['best_epoch']} of {len(log['epochs'])}{' †' * is_late}",
             short(log["validation_ndcg@10"]), short(log["validation_hr@10"])]
            for (arm, artifact, log), is_late in zip(logs, late, strict=True)]
    return {"legend": legend(arms) if len(arms) > 1 else None, "rows": rows, "unfinished": any(late),
            "loss": picture("loss", "training loss"), "ndcg": picture("validation_ndcg@10", "validation NDCG@10")}


def _sums(logs: Sequence[_Log], name: str) -> dict[str, Any]:
    """Return what the parts of every sum bring, and their weights; means over the runs of an arm."""
    by_arm: dict[str, list[Mapping[str, Any]]] = {}
    for arm, _, log in logs:
        by_arm.setdefault(arm, []).append(log)
    parts = list(dict.fromkeys(part["name"] for _, _, log in logs for part in log["parts"]))
    sums = []
    for number, (arm, runs) in enumerate(by_arm.items()):
        whole, lines, rows = mean(run["validation_ndcg@10"] for run in runs), [], []
        for same in zip(*(run["parts"] for run in runs), strict=True):
            part, alone, without = same[0]["name"], mean(each["validation_ndcg@10"] for each in same), mean(
                each["without_it"] for each in same)
            weight = {frequency: mean(each["weights"][frequency] for each in same) for frequency in same[0]["weights"]}
            lines.append((parts.index(part), weight))
            rows.append([quoted(part), short(alone), short(without), short(whole - without),
                         *(short(value, 2) for value in weight.values())])
        title = f"Weights of the parts of “{quoted(arm)}” by the frequency of an item"
        sums.append({"arm": quoted(arm), "runs": len(runs), "ndcg": short(whole), "rows": rows,
                     "picture": weights(f"{name}-{number}", title, lines),
                     "header": ["part", "alone", "sum without it", "brings", *(f"weight at {n}" for n in lines[0][1])]})
    return {"legend": legend(parts), "sums": sums}


def fine_tuning(run: Run, name: str) -> dict[str, Any] | None:
    """Return the section on the language model's losses, or None without one."""
    metrics = run.file("finetune", "metrics.json")
    if run.stage("finetune") is None:
        return None
    loss, checks, by_items = metrics["loss"], metrics["checks"], metrics.get("objective") == "residual"
    baseline, known = (metrics["counts"], "counts") if by_items else (metrics["baseline"], "constant predictor")
    return {
        "metrics": metrics, "by_items": by_items,
        "rows": [[f"{check['step']:,}", f"{check['loss']:.4f}",
                  signed_share(check["loss"] / baseline - 1) if baseline else ""] for check in checks],
        "held_out": held_out_losses(f"{name}-checks", f"Held-out loss of every check and of the {known}", checks,
                                    baseline, known, f"held-out {loss}"),
        "steps": training_losses(f"{name}-steps", "Training loss by step", metrics["training_losses"],
                                 f"training {loss}")}


def parity(run: Run) -> dict[str, Any] | None:
    """Return the section on merging and quantisation, or None where neither was verified."""
    report = run.file("finetune", "parity.json") or run.failed_parity
    if report is None:
        return None
    stage, thresholds = run.stage("finetune"), report["thresholds"]
    return {"report": report, "rows": [
        [version, f"{values['mean_cosine']:.5f}", f"{thresholds[version]:g}" if version in thresholds else "",
         f"{values['min_cosine']:.5f}", f"{values['neighbour_overlap_10']:.3f}", _size(stage, version)]
        for version, values in report["comparisons"].items()]}


def _size(stage: Artifact | None, version: str) -> str:
    path = stage.path / quantised_name(version) if stage else None
    return f"{path.stat().st_size / 2**20:,.1f}" if path and path.is_file() else ""
