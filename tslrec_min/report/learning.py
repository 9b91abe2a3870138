"""How the models learned: recommenders by epoch, the language model beside its baseline, and what conversion kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..recommenders.training import ended_rising
from ..storage.artifacts import Artifact, read_json
from .accuracy import legend
from .collect import Run
from .figures import Curve, curves, held_out_losses, training_losses
from .markup import Content, Html, element, paragraph, quoted, short, signed_share, table


def training(run: Run, name: str) -> Html | None:
    """Return the section on the recommenders' epochs, or None if none was trained."""
    trained, pretrained = run.trainings(), run.stage("pretrain")
    if not trained and pretrained is None:
        return None
    parts: list[Html] = []
    if trained:
        parts.append(paragraph("Arms, validated on the validation targets, seen items left out; one line for each "
                               "seed. The weights of the best epoch are kept."))
        parts += _curves(trained, f"{name}-arms")
    if pretrained is not None:
        parts.append(paragraph("Pretraining on ids alone, whose item table gives the latent categories. It is "
                               "validated on the last item of every training history, so its figures can't be "
                               "compared with those of arms."))
        parts += _curves([("pretraining", pretrained)], f"{name}-pretraining")
    return Html("".join(parts))


def _curves(trained: Sequence[tuple[str, Artifact]], name: str) -> list[Html]:
    arms = list(dict.fromkeys(arm for arm, _ in trained))
    logs = [(arm, artifact, read_json(artifact.path / "metrics.json")) for arm, artifact in trained]

    def picture(key: str, what: str) -> Html:
        lines = [Curve(arms.index(arm), [epoch[key] for epoch in log["epochs"]]) for arm, _, log in logs]
        drawn = curves(f"{name}-{key.partition('@')[0].replace('_', '-')}", f"{what} by epoch", lines, what)
        return element("figure", drawn, element("figcaption", f"{what[0].upper()}{what[1:]} by epoch."))

    rows: list[list[Content]] = []
    unfinished = False
    for arm, artifact, log in logs:
        epochs = len(log["epochs"])
        late = ended_rising(log["best_epoch"], epochs, artifact.config["decay"])
        rows.append([quoted(arm), str(artifact.record["seed"]), f"{log['best_epoch']} of {epochs}{' †' * late}",
                     short(log["validation_ndcg@10"]), short(log["validation_hr@10"])])
        unfinished |= late
    header = ["arm", "seed", "best epoch", "validation NDCG@10", "validation HR@10"]
    note = [paragraph("† The last epoch was the best: a longer training might have given more.", class_="note")]
    pictures = element("div", picture("loss", "training loss"), picture("validation_ndcg@10", "validation NDCG@10"),
                       class_="figures")
    return [*([legend(arms)] if len(arms) > 1 else []), pictures, table("Best epochs", header, rows),
            *(note if unfinished else [])]


def fine_tuning(run: Run, name: str) -> Html | None:
    """Return the section on the language model's losses, or None without one."""
    metrics, stage = run.file("finetune", "metrics.json"), run.stage("finetune")
    if stage is None:
        return None
    loss, baseline = metrics["loss"], metrics["baseline"]
    outcome = (f"came down to {metrics['best']:.4f}, {metrics['improvement']:.1%} below the constant predictor "
               f"({baseline:.4f}). " if metrics["improvement"] > 0 else
               f"is no lower than that of the constant predictor ({baseline:.4f}): nothing about single users was "
               "learned. ")
    verdict = f"On {metrics['held_out_users']:,} users that it did not learn from, the {loss} loss {outcome}"
    learned = (f"It learned from {metrics['training_users']:,} of {metrics['available_users']:,} users "
               f"({metrics['selection']}), {metrics['training_samples']:,} samples and "
               f"{metrics['training_tokens']:,} tokens, which cover {metrics['items_covered']:.1%} of the items and "
               f"{metrics['categories_covered']:.1%} of the categories.")
    checks = metrics["checks"]
    pictures = [
        element("figure", held_out_losses(f"{name}-checks", "Held-out loss of every check and of the constant "
                                          "predictor", checks, baseline, f"held-out {loss}"),
                element("figcaption", "Loss on held-out users; the constant predictor gives everybody the mean "
                                      "preference of the training users.")),
        element("figure", training_losses(f"{name}-steps", "Training loss by step", metrics["training_losses"],
                                          f"training {loss}"),
                element("figcaption", "Training loss of every step, and its running mean over a twentieth of them."))]
    rows = [[f"{check['step']:,}", f"{check['loss']:.4f}",
             signed_share(check["loss"] / baseline - 1) if baseline else ""] for check in checks]
    return Html(paragraph(element("strong", verdict), learned) + element("div", pictures, class_="figures")
                + table("Checks on held-out users",
                        ["step", f"held-out {loss}", "against the constant predictor"], rows))


def parity(run: Run) -> Html | None:
    """Return the section on merging and quantisation, or None where neither was verified."""
    report = run.file("finetune", "parity.json") or run.failed_parity
    if report is None:
        return None
    stage = run.stage("finetune")
    outcome = "passed" if report["passed"] else "failed"
    rows = [[version, f"{values['mean_cosine']:.5f}", _threshold(report, version), f"{values['min_cosine']:.5f}",
             f"{values['neighbour_overlap_10']:.3f}", _size(stage, version)]
            for version, values in report["comparisons"].items()]
    return Html(
        paragraph(element("strong", f"The check {outcome}. "), f"Pooled states of {report['prompts']} real prompts, "
                  f"half of users and half of items, against {report['reference']}.")
        + table("What merging and quantisation changed",
                ["version", "mean cosine", "at least", "least cosine", "same 10 neighbours", "file, MiB"], rows))


def _threshold(report: Any, version: str) -> str:
    return f"{report['thresholds'][version]:g}" if version in report["thresholds"] else ""


def _size(stage: Artifact | None, version: str) -> str:
    names = {"F16": "model-f16.gguf"}
    path = stage.path / names.get(version, f"model-{version}.gguf") if stage else None
    return f"{path.stat().st_size / 2**20:,.1f}" if path and path.is_file() else ""
