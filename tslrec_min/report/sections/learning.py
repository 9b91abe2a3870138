"""How the models learned: recommenders by epoch, the language model beside its baseline, and what conversion kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from ...finetuning.artifact import quantised_name
from ...recommenders.training import ended_rising
from ...storage.artifacts import Artifact, read_json
from ..collect import Run
from ..drawing import legend
from ..figures import curves, held_out_losses, training_losses
from ..text import quoted, short, signed_share


def training(run: Run, name: str) -> dict[str, Any] | None:
    """Return the section on the recommenders' epochs, or None if none was trained."""
    trained, pretrained = run.trainings(), run.stage("pretrain")
    if not trained and pretrained is None:
        return None
    return {"arms": _epochs(trained, f"{name}-arms") if trained else None,
            "pretraining": _epochs([("pretraining", pretrained)], f"{name}-pretraining") if pretrained else None}


def _epochs(trained: Sequence[tuple[str, Artifact]], name: str) -> dict[str, Any]:
    """Return curves and best epochs of trainings, (arm, artifact) each."""
    arms = list(dict.fromkeys(arm for arm, _ in trained))
    logs = [(arm, artifact, read_json(artifact.path / "metrics.json")) for arm, artifact in trained]

    def picture(key: str, what: str) -> Markup:
        lines = [(arms.index(arm), [epoch[key] for epoch in log["epochs"]]) for arm, _, log in logs]
        return curves(f"{name}-{key.partition('@')[0].replace('_', '-')}", f"{what} by epoch", lines, "epoch", what)

    late = [ended_rising(log["best_epoch"], len(log["epochs"]), artifact.config["decay"]) for _, artifact, log in logs]
    rows = [[quoted(arm), artifact.record["seed"], f"{log['best_epoch']} of {len(log['epochs'])}{' †' * is_late}",
             short(log["validation_ndcg@10"]), short(log["validation_hr@10"])]
            for (arm, artifact, log), is_late in zip(logs, late, strict=True)]
    return {"legend": legend(arms) if len(arms) > 1 else None, "rows": rows, "unfinished": any(late),
            "loss": picture("loss", "training loss"), "ndcg": picture("validation_ndcg@10", "validation NDCG@10")}


def fine_tuning(run: Run, name: str) -> dict[str, Any] | None:
    """Return the section on the language model's losses, or None without one."""
    metrics = run.file("finetune", "metrics.json")
    if run.stage("finetune") is None:
        return None
    loss, baseline, checks = metrics["loss"], metrics["baseline"], metrics["checks"]
    return {
        "metrics": metrics,
        "rows": [[f"{check['step']:,}", f"{check['loss']:.4f}",
                  signed_share(check["loss"] / baseline - 1) if baseline else ""] for check in checks],
        "held_out": held_out_losses(f"{name}-checks", "Held-out loss of every check and of the constant predictor",
                                    checks, baseline, f"held-out {loss}"),
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
