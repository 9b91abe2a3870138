"""The output of commands: tables for people, the artifact's JSON for programs."""

from __future__ import annotations

import json
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ..runtime.progress import note
from ..storage.artifacts import read_json


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table: the first column left-aligned, the others right-aligned."""
    widths = [max(map(columns_of, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, *rows):
        blanks = [" " * (width - columns_of(cell)) for cell, width in zip(row, widths, strict=True)]
        first, *others = zip(row, blanks, strict=True)
        lines.append("  ".join(["".join(first), *(blank + cell for cell, blank in others)]).rstrip())
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def columns_of(text: str) -> int:
    """Return the width of a text in a terminal: Chinese characters take two columns, combining marks none."""
    return sum(0 if unicodedata.category(character) in ("Mn", "Me", "Cf") else
               2 if unicodedata.east_asian_width(character) in "WF" else 1
               for character in unicodedata.normalize("NFC", text))


def print_statistics(summary: Mapping[str, Any]) -> None:
    """Print the statistics of a data set."""
    times = [_moment(summary[name]) for name in ("first_time", "last_time") if name in summary]
    rows = [("users", f"{summary['users']:,}"), ("items", f"{summary['items']:,}"),
            ("interactions", f"{summary['interactions']:,}"), ("density", f"{summary['density']:.4%}"),
            ("mean length", f"{summary['mean_length']:.2f}"), ("median length", f"{summary['median_length']:g}"),
            ("time", " to ".join(times) or "order only"), ("items without title", f"{summary['blank_titles']:,}")]
    if summary["unescaped_items"]:
        rows.append(("HTML entities unescaped", f"{summary['unescaped_items']:,} items"))
    left_out = {"rating": "below_min_rating", "time": "outside_time_window", "duplicates": "duplicates",
                f"{summary['k_core']}-core": "below_k_core", "new after training": "new_after_training"}
    rows += [(f"left out: {name}", f"{summary[key]:,}") for name, key in left_out.items() if summary[key]]
    for what, reasons in summary["bad_rows"].items():
        for reason, bad in reasons.items():
            lines = [*map(str, bad["first_lines"]), *(["..."] if bad["rows"] > len(bad["first_lines"]) else [])]
            rows.append((f"left out: {reason}", f"{bad['rows']:,} of the {what}: line {', '.join(lines)}"))
    if summary["split"] == "temporal":
        rows.append(("training interactions", f"{summary['training_interactions']:,}"))
        rows += [(f"{split} users", f"{summary[f'{split}_users']:,}, from {_moment(summary[f'{split}_from'])} on")
                 for split in ("validation", "test")]
    if "cold_items" in summary:
        rows += [("cold items", f"{summary['cold_items']:,}, with {summary['cold_interactions']:,} interactions"),
                 ("users with a cold target", f"{summary['cold_users']:,}")]
    rows.append(("split hash", summary["split_hash"][:16]))
    width = max(len(name) for name, _ in rows)
    click.echo("\n".join(f"{name.ljust(width)}  {value}" for name, value in rows))


def _moment(time: float) -> str:
    """Return a time as text: as a date if it can be seconds since 1970, from 1973 to 2286."""
    if not 1e8 <= time < 1e10:
        return f"{time:g}" if isinstance(time, float) else str(time)
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d}"


def print_training(out: Path, as_json: bool) -> None:
    """Print the best epoch and its metrics."""
    metrics = read_json(out / "metrics.json")
    if as_json:
        click.echo(json.dumps(metrics))
        return
    if "constants" in metrics:
        constants = ", ".join(f"{name} {value:g}" for name, value in metrics["constants"].items()) or "none"
        click.echo(f"{out}: validation NDCG@10 {metrics['validation_ndcg@10']:.4f} (seen items left out); constants: "
                   f"{constants}{_cost(out)}")
        return
    click.echo(f"{out}: best epoch {metrics['best_epoch']} of {len(metrics['epochs'])}, validation "
               f"HR@10 {metrics['validation_hr@10']:.4f}, NDCG@10 {metrics['validation_ndcg@10']:.4f} (seen items "
               f"left out){_cost(out)}")
    if "refit" in metrics:
        items = {"validation": "training and validation items: for test figures only, marked (n-1)",
                 "all": "all items: for recommendations, not for figures"}[metrics["refit"]]
        click.echo(f"trained again on {items}, epochs: {metrics['refit_epochs']}")
    if "categories" in metrics:
        sizes = metrics["categories"]["sizes"]
        click.echo(f"{len(sizes)} latent categories of {min(sizes)} to {max(sizes)} items")


def print_fusion(out: Path, metrics: Mapping[str, Any]) -> None:
    """Print what each part of a sum brings."""
    parts = metrics["parts"]
    frequencies = list(parts[0]["weights"])
    header = ("part", "alone", "sum without it", *(f"weight at {frequency}" for frequency in frequencies))
    rows = [(part["name"], f"{part['validation_ndcg@10']:.4f}", f"{part['without_it']:.4f}",
             *(f"{part['weights'][frequency]:.2f}" for frequency in frequencies)) for part in parts]
    click.echo(table(header, rows))
    click.echo(f"{out}: validation NDCG@10 of the sum {metrics['validation_ndcg@10']:.4f} (seen items left out; "
               f"weights fitted on other users){_cost(out)}. Weight at n: of items with n training interactions.")
    if "weights_from" in metrics:
        click.echo(f"The weights, and all of these figures, are those of {metrics['weights_from']}.")


def print_finetuning(out: Path, as_json: bool) -> None:
    """Print the loss of fine-tuning, its training data and the parity check."""
    metrics, parity = read_json(out / "metrics.json"), read_json(out / "parity.json")
    if as_json:
        click.echo(json.dumps(metrics | {"parity": parity}))
        return
    if metrics.get("objective") == "residual":
        click.echo(f"{out}: loss of next items of {metrics['held_out_users']} held-out users {metrics['best']:.4f}; "
                   f"untuned {metrics['untuned']:.4f}, counts {metrics['counts']:.4f}, popularity "
                   f"{metrics['baseline']:.4f}{_cost(out)}")
        click.echo(f"learned from {metrics['training_users']:,} users with {metrics['training_places']:,} next items; "
                   f"{metrics['training_samples']:,} items, {metrics['training_tokens']:,} tokens")
        print_parity(parity)
        return
    click.echo(f"{out}: {metrics['loss']} on {metrics['held_out_users']} held-out users {metrics['best']:.4f}; "
               f"constant predictor {metrics['baseline']:.4f}: {metrics['improvement']:.1%} less{_cost(out)}")
    if "baselines" in metrics:
        best = min(metrics["checks"], key=lambda check: check["loss"])
        click.echo("; ".join(f"{name.replace('_', ' ')} {best[name]:.4f}, constant predictor {constant:.4f}"
                             for name, constant in metrics["baselines"].items()))
    click.echo(f"learned from {metrics['training_users']:,} of {metrics['available_users']:,} users "
               f"({metrics['selection']}): {metrics['items_covered']:.1%} of the items, "
               f"{metrics['categories_covered']:.1%} of the categories; {metrics['training_samples']:,} samples, "
               f"{metrics['training_tokens']:,} tokens; {metrics['titles_cut_in_prompts']} different titles cut in "
               f"prompts, {metrics['titles_cut']} in the catalogue")
    print_parity(parity)


def print_parity(report: Mapping[str, Any]) -> None:
    """Print the cosines of a parity check."""
    rows = [(name, f"{values['mean_cosine']:.5f}", f"{values['min_cosine']:.5f}",
             f"{values['neighbour_overlap_10']:.3f}", f"{report['thresholds'][name]}"
             if name in report["thresholds"] else "") for name, values in report["comparisons"].items()]
    click.echo(f"hidden states of {report['prompts']} real prompts compared with {report['reference']}:")
    click.echo(table(("", "mean cosine", "minimum", "same 10 neighbours", "mean at least"), rows))


def print_quantisations(report: Mapping[str, Any]) -> None:
    """Print size, speed and similarity of every quantisation, below the model that it is compared with."""
    reference = report["reference"]
    rows: list[tuple[str, ...]] = [("float32, torch", "", f"{reference['items_per_second']:.1f}", "", "", "")]
    rows += [(quant, f"{values['size_mib']:.1f}", f"{values['items_per_second']:.1f}", f"{values['mean_cosine']:.5f}",
              f"{values['min_cosine']:.5f}", f"{values['neighbour_overlap_10']:.3f}")
             for quant, values in report["quants"].items()]
    header = ["", "MiB", "items/s", "mean cosine", "minimum", "same 10 neighbours"]
    if "validation_ndcg@10" in reference:
        header.append("validation NDCG@10")
        rows = [(*row, mean_and_deviation(values["validation_ndcg@10"]))
                for row, values in zip(rows, (reference, *report["quants"].values()), strict=True)]
    click.echo(f"embeddings of {report['items']:,} items compared with the merged model; speed over "
               f"{report['embedded_items']:,} items with {report['threads']} threads")
    click.echo(table(header, rows))


def print_embedding(out: Path, as_json: bool, neighbours: Mapping[str, float] | None) -> None:
    """Print the summary of item embeddings, and the result of `category_neighbours`."""
    summary = read_json(out / "embed.json")
    if as_json:
        click.echo(json.dumps(summary | ({"category_neighbours": neighbours} if neighbours else {})))
        return
    if "words" in summary:  # TF-IDF
        click.echo(f"{out}: {summary['items']} items x {summary['width']}, {summary['share_of_squares']:.1%} of the "
                   f"squares of the TF-IDF weights of {summary['words']} words; {summary['without_words']} items "
                   f"without a known word have zeros; mean cosine of two items {summary['mean_cosine']:.3f}"
                   f"{_cost(out)}")
    else:
        _print_prompts(out, summary)
    if neighbours:
        print_neighbours({"": neighbours})


def _print_prompts(out: Path, summary: Mapping[str, Any]) -> None:
    kept = f" ({summary['kept']} kept, {summary['computed']} computed)" if summary["kept"] else ""
    click.echo(f"{out}: {summary['items']} items x {summary['width']}{kept}, {summary['different_prompts']} different "
               f"prompts ({summary['titles_cut']} titles cut), {summary['tokens']} tokens; mean cosine of two items "
               f"{summary['mean_cosine']:.3f}{_cost(out)}")


def print_neighbours(shares: Mapping[str, Mapping[str, float]]) -> None:
    """Print the results of `category_neighbours` by name of the item embeddings."""
    for name, values in shares.items():
        own = f" ({values['preferences']:.1%} by its preferences)" if "preferences" in values else ""
        click.echo(f"{name}{': ' if name else ''}{values['share']:.1%}{own} of an item's 10 nearest neighbours are in "
                   f"its latent category; by chance {values['chance']:.1%}")


def mean_and_deviation(values: Mapping[str, Any]) -> str:
    """Return the mean of a metric and, for several runs, its standard deviation."""
    return short(values["mean"]) + (f"±{short(values['std'])}" if len(values["runs"]) > 1 else "")


def short(value: float) -> str:
    """Return a metric's value or a p-value without the zero before the point: .1082."""
    return f"{value:.4f}".replace("0.", ".")


def print_stages(stages: Sequence[Mapping[str, Any]]) -> None:
    """Print the time and memory of every stage of a run."""
    rows = [(stage["name"], f"{stage['wall_seconds']:.1f}", f"{stage['peak_memory_mib']:.0f}",
             "made" if stage["made"] else "kept") for stage in stages]
    total = sum(stage["wall_seconds"] for stage in stages)
    peak = max(stage["peak_memory_mib"] for stage in stages)
    click.echo(table(("stage", "seconds", "peak MiB", ""), [*rows, ("all", f"{total:.1f}", f"{peak:.0f}", "")]))


def print_costs(seconds: Mapping[str, float], jobs: int) -> None:
    """Print how long a run of every arm took; of networks, `jobs` were trained at the same time."""
    click.echo(table(("arm, with its parts and embeddings", "seconds a run"),
                     [(arm, f"{took:.0f}") for arm, took in seconds.items()]))
    if jobs > 1:
        click.echo(f"networks were trained {jobs} at a time and shared the threads; one alone takes less time")


def print_next_commands(out: Path, stages: Sequence[Mapping[str, Any]], best: str) -> None:
    """Print the next commands to standard error, with the recommender for serving, or the run of the best validation.

    Args:
        out: folder of the run.
        stages: what it made or kept.
        best: the arm that was made for serving.
    """
    names = [stage["name"] for stage in stages]
    runs = [out / name for name in names if name.startswith("train/")]
    chosen, what = out / "serving", f"{best}, made again from all items"
    if "serving" not in names:
        chosen = max(runs, key=lambda path: read_json(path / "metrics.json")["validation_ndcg@10"])
        what = "the run of the best validation NDCG@10"
    dataset, embeddings = str(out / "dataset"), out / "embed"
    commands = [["recommend", dataset, str(chosen), "--titles", "-o", "recommendations.csv"]]
    if embeddings.is_dir():
        commands.append(["similar", dataset, "ITEM", "--embeddings", str(embeddings)])
    note("\n    tslrec ".join([f"\nNext, with {what} (ITEM is an item's id):", *map(shlex.join, commands)]))


def _cost(out: Path) -> str:
    record = read_json(out / "config.json")
    return f"; {record['wall_seconds']:.0f} s, {record['peak_memory_mib']:.0f} MiB"
