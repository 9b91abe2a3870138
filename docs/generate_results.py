"""Write the tables of results into the pages; ``--check`` writes nothing and fails if a table is stale.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``. Its figures are those of
``benchmarks/study/results/*.json``: studies as `benchmarks/study.py` writes them, and transcribed tables (a list of
columns with formats, and rows).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "study" / "results"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACE = re.compile(r"(?<=<!-- table: )([\w-]+)( -->\n)(.*?)(?=<!-- end -->)", re.DOTALL)

HEADLINE = (  # data, recommender, study, its arms: ids only, untuned, TSLRec
    ("Beauty", "SASRec", "amazon-beauty-sasrec", "ids", "untuned", "tslrec"),
    ("Beauty", "GRU4Rec", "amazon-beauty-gru4rec", "gru4rec, ids", "gru4rec, untuned, cca", "gru4rec, TSLRec, cca"),
    ("Beauty", "BERT4Rec", "amazon-beauty-bert4rec", "bert4rec, ids", "bert4rec, untuned, cca",
     "bert4rec, TSLRec, cca"),
    ("MovieLens-1M", "SASRec", "ml-1m-sasrec", "ids", "untuned, init", "TSLRec, init"),
    ("MovieLens-100K", "SASRec", "ml-100k-sasrec", "ids", "untuned, init", "TSLRec, init"),
    ("MovieLens-100K", "GRU4Rec", "ml-100k-gru4rec", "gru4rec, ids", "gru4rec, untuned, init", "gru4rec, TSLRec, init"),
    ("MovieLens-100K", "BERT4Rec", "ml-100k-bert4rec", "bert4rec, ids", "bert4rec, untuned, init",
     "bert4rec, TSLRec, init"),
)
STUDIES = {  # data and recommender of a study, and what its arms are called where the table has other names
    "amazon-beauty-sasrec": ("Beauty", "SASRec", {"untuned": "untuned, cca", "tslrec": "TSLRec, cca"}),
    "amazon-beauty-controls": ("Beauty", "SASRec", {}),
    "amazon-beauty-sasrec-driver": ("Beauty", "SASRec again, by `study.py`", {}),
    "amazon-beauty-gru4rec": ("Beauty", "GRU4Rec", {}), "amazon-beauty-gru4rec-init": ("Beauty", "GRU4Rec", {}),
    "amazon-beauty-bert4rec": ("Beauty", "BERT4Rec", {}), "amazon-beauty-bert4rec-init": ("Beauty", "BERT4Rec", {}),
    "ml-1m-sasrec": ("MovieLens-1M", "SASRec", {}), "ml-100k-sasrec": ("MovieLens-100K", "SASRec", {}),
    "ml-100k-gru4rec": ("MovieLens-100K", "GRU4Rec", {}), "ml-100k-bert4rec": ("MovieLens-100K", "BERT4Rec", {}),
}

SYSTEMS = {"Beauty": "amazon-beauty-sum-system", "Food and Kitchen": "amazon-food-kitchen-sum-system",
           "MovieLens-1M": "ml-1m-sum-system"}


@cache
def load(name: str) -> dict[str, Any]:
    """Return a file of results."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def shown(value: Any, kind: str) -> str:
    """Return a cell's text: `kind` is "text", "rate", "p", "lift", "share", "percent" or a format of Python's."""
    if value is None or kind == "text":
        return value or ""
    if kind == "p":
        return format(value, ".4f" if value != round(value, 2) else ".4g").removeprefix("0")
    if kind == "rate":
        return f"{value:.4f}".removeprefix("0")
    percents = {"lift": "+.1%", "share": ".1%", "percent": ".0%"}
    return format(value, percents.get(kind, kind)).replace("%", " %")


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table; what a row's first cell has in common with the row before is left blank."""
    lines = [f"| {' | '.join(head)} |".replace("|  |", "| |"), "|" + "---|" * len(head)]
    before: Sequence[str] = ()
    for row in rows:
        same = bool(before) and row[0] == before[0] and len(row) > 2
        lines.append(f"| {' | '.join(['', *row[1:]] if same else row)} |".replace("|  |", "| |").replace("|  |", "| |"))
        before = row
    return lines


def source(found: dict[str, Any], command: str | None = None) -> list[str]:
    """Return the line under a table: command, machine, date and version."""
    made = command or found["command"]
    made = f"`{made}`" if made.startswith(("python ", "tslrec ")) else made
    return ["", " · ".join(filter(None, (made, found["machine"], found["date"], found["version"])))]


def transcribed(name: str, table: str, columns: Sequence[str] = ()) -> list[str]:
    """Return a table whose figures stand in a file as they were printed; `columns` chooses among them."""
    found = load(name)["tables"][table]
    kinds = {column["name"]: (place, column["format"]) for place, column in enumerate(found["columns"])}
    chosen = columns or list(kinds)
    rows = [[shown(row[kinds[column][0]], kinds[column][1]) for column in chosen] for row in found["rows"]]
    return markdown(chosen, rows) + source(found)


def figure(study: str, arm: str, metric: str, group: str = "all", protocol: str = "filtered") -> dict[str, Any]:
    """Return mean, std and runs."""
    found: dict[str, Any] = load(study)["arms"][arm][protocol][group][metric]
    return found


def spread(figures: dict[str, Any]) -> str:
    """Return mean and standard deviation."""
    alone = len(figures["runs"]) == 1  # there is nothing that a seed decides
    return shown(figures["mean"], "rate") + ("" if alone else f" ± {shown(figures['std'], 'rate')}")


def tested(study: str, arm: str, metric: str, group: str = "all") -> tuple[float | None, float | None]:
    """Return lift over the study's first arm and corrected p-value, if the arm was compared with it."""
    for row in load(study)["tests"]:
        if (row["arm"], row["metric"], row["group"]) == (arm, metric, group):
            return row["relative"], row["p_holm"]
    return None, None


def over_untuned(study: str, tuned: str, untuned: str, group: str = "all") -> tuple[float, float | None]:
    """Return the lift of TSLRec over the untuned model, and its p-value where it was tested."""
    metric = "ndcg@10" if group == "all" else "hr@10"
    lift = figure(study, tuned, metric, group)["mean"] / figure(study, untuned, metric, group)["mean"] - 1
    for row in load("experiments")["tables"]["against_untuned"]["rows"]:
        if row[:3] == [study, tuned, untuned]:
            return lift, row[5 if group == "all" else 6]
    return lift, None


def quickstart() -> list[str]:
    """Return every arm of the quickstart, the opponent first."""
    study = "ml-100k-quickstart"
    found, rows = load(study), []
    for arm in found["arms"]:
        lift, p = tested(study, arm, "ndcg@10")
        star = " *" if p is not None and p < .05 else ""
        rows.append([arm, *(shown(figure(study, arm, metric, group)["mean"], "rate") for metric, group in (
            ("hr@10", "all"), ("ndcg@10", "all"), ("hr@10", "tail"))),
            "" if lift is None else shown(lift, "lift") + star, f"{found['seconds'][arm]:.0f} s"])
    return markdown(["MovieLens-100K", "HR@10", "NDCG@10", "tail HR@10", "over the first row", "time"], rows)


def systems() -> list[str]:
    """Return the sum of counts, titles and networks, its networks and the opponent on every data set."""
    rows = []
    for data, study in SYSTEMS.items():
        for arm in load(study)["arms"]:
            lift, p = tested(study, arm, "ndcg@10")
            rows.append([data, arm, *(spread(figure(study, arm, metric)) for metric in ("hr@10", "ndcg@10")),
                         *(shown(figure(study, arm, "hr@10", group)["mean"], "rate") for group in ("tail", "head")),
                         "" if lift is None else shown(lift, "lift"), "" if p is None else shown(p, "p")])
    head = ["data", "arm", "HR@10", "NDCG@10", "tail HR@10", "head HR@10", "over the first row", "p"]
    return markdown(head, rows) + source(load(study))


def accuracy(metric: str, group: str) -> list[str]:
    """Return ids only, untuned and TSLRec on every data set, with the lift over ids."""
    rows = []
    for data, recommender, study, *arms in HEADLINE:
        cells = [spread(figure(study, arm, metric, group)) for arm in arms]
        for arm in arms[1:]:
            lift, p = tested(study, arm, metric, group)
            cells += [shown(lift, "lift"), shown(p, "p")]
        rows.append([data, recommender, *cells])
    head = ["data", "recommender", "ids only", "untuned", "TSLRec", "untuned over ids", "p", "TSLRec over ids", "p"]
    return markdown(head, rows) + source(load("ml-100k-sasrec"), "commands in docs/reproduce.md")


def finetuning() -> list[str]:
    """Return TSLRec beside the untuned model, adapter by adapter."""
    rows = []
    for study, tuned, untuned, *_ in load("experiments")["tables"]["against_untuned"]["rows"]:
        if study not in STUDIES:
            continue
        (lift, p), (tail, tail_p) = (over_untuned(study, tuned, untuned, group) for group in ("all", "tail"))
        data, recommender, names = STUDIES[study]
        adapter = names.get(tuned, tuned).rpartition(", ")[2]
        rows.append([data, recommender, f"`{adapter}`",
                     *(spread(figure(study, arm, "ndcg@10")) for arm in (untuned, tuned)),
                     shown(lift, "lift"), shown(p, "p"), shown(tail, "lift"), shown(tail_p, "p")])
    head = ["data", "recommender", "adapter", "untuned", "TSLRec", "NDCG@10", "p", "tail HR@10", "p"]
    return markdown(head, rows) + source(load("experiments")["tables"]["against_untuned"])


def all_arms() -> list[str]:
    """Return every arm of the main studies; ids only once for each data set and recommender."""
    rows: dict[tuple[str, str], list[str]] = {}
    for study, (data, recommender, names) in STUDIES.items():
        for arm in load(study)["arms"]:
            label = names.get(arm, arm).removeprefix(f"{recommender.lower()}, ").replace("ids", "ids only")
            cells = [f"{data}, {recommender}", label, spread(figure(study, arm, "hr@10"))]
            for metric, group in (("ndcg@10", "all"), ("hr@10", "tail")):
                lift, p = tested(study, arm, metric, group)
                cells += [spread(figure(study, arm, metric, group)), shown(lift, "lift"), shown(p, "p")]
            rows.setdefault((cells[0], label), cells)
    head = ["data, recommender", "arm", "HR@10", "NDCG@10", "lift", "p", "tail HR@10", "lift", "p"]
    return markdown(head, rows.values()) + source(load("ml-100k-sasrec"), "commands in docs/reproduce.md")


def adapters() -> list[str]:
    """Return every adapter on MovieLens-100K, the best on validation targets first."""
    validation = load("experiments")["tables"]["adapters_validation"]
    rows = []
    for adapter, untuned, tuned, _ in validation["rows"]:
        study = "ml-100k-sasrec" if adapter == "init" else "ml-100k-adapters"
        arms = [f"untuned, {adapter}", f"TSLRec, {adapter}"]
        lift, p = over_untuned(study, arms[1], arms[0])
        over_ids, _ = tested(study, arms[1], "ndcg@10")
        rows.append([f"`{adapter}`", shown(untuned, "rate"), shown(tuned, "rate"),
                     *(spread(figure(study, arm, "ndcg@10")) for arm in arms),
                     shown(over_ids, "lift"), shown(lift, "lift"), shown(p, "p")])
    shuffled = figure("ml-100k-adapters", "shuffled, cca", "ndcg@10")
    of_shuffled = next(row[3] for row in validation["rows"] if row[3])
    rows.append(["`cca`, shuffled vectors", shown(of_shuffled, "rate"), "", spread(shuffled), "", "", "", ""])
    head = ["adapter", "validation: untuned", "TSLRec", "test: untuned", "TSLRec", "over ids", "over untuned", "p"]
    return markdown(head, rows) + source(validation)


def cold() -> list[str]:
    """Return what is recommended of items that training never saw."""
    study = load("ml-100k-cold-sasrec")
    found = study["cold"]
    rows = [[name.replace("TSLRec, ", "TSLRec, `").replace("untuned, ", "untuned, `") + "`",
             *(spread(arm[of][metric]) for of, metric in (("all", "hr@10"), ("cold", "hr@10"), ("cold", "ndcg@10")))]
            for name, arm in found["arms"].items() if "all" in arm]
    rows += [[label, *(shown(found[key][of][metric], "rate") for of, metric in (
        ("all", "hr@10"), ("cold", "hr@10"), ("cold", "ndcg@10")))]
             for label, key in (("by popularity", "popularity"), ("in random order", "random"))]
    return markdown(["arm", "HR@10 among all items", "HR@10 among cold items", "NDCG@10 among cold items"],
                    rows) + source(study)


def one_model_on_ids() -> list[str]:
    """Return the recommenders on item ids, without what has no spread."""
    found = load("recommenders")["tables"]["ids"]
    rows = [[row[0], row[1], *(shown(row[at], "rate") + (f" ± {shown(row[at + 1], 'rate')}" if row[at + 1] else "")
                               for at in (2, 4, 6, 8)), str(row[10])] for row in found["rows"]]
    head = ["data", "model", "HR@10", "NDCG@10", "unfiltered HR@10", "NDCG@10", "seeds"]
    return markdown(head, rows) + source(found)


def training() -> list[str]:
    """Return time and memory of training beside what they are compared with."""
    tables = load("speed")["tables"]
    (_, ours, our_epochs), (_, theirs, their_epochs) = tables["time_to_accuracy"]["rows"]
    (_, sampled), (_, full), _ = tables["memory"]["rows"]
    (_, milliseconds, times), _ = tables["batches"]["rows"]
    epoch = tables["epoch"]
    rows = [
        ["NDCG@10 of .050 on validation data, MovieLens-100K", f"{ours} s, {our_epochs} epochs",
         f"RecBole 1.2.1: {theirs} s, {their_epochs} epochs"],
        ["epoch on MovieLens-1M, histories of 200", f"{epoch['seconds']} s",
         f"its matrix products at full speed: {epoch['products_at_full_speed_seconds']} s"],
        ["batches of that epoch", f"{milliseconds} ms", f"padding `DataLoader`: {times} times as long"],
        ["step with 1,000,000 items, width 64: peak memory", f"{sampled:.2f} GiB, sampled softmax",
         f"full softmax: {full:.2f} GiB"]]
    made = "`python benchmarks/time_to_accuracy.py`, `training_step.py`, `batching.py`, `memory.py`"
    return markdown(["SASRec", "tslrec-min", "for comparison"], rows) + source(epoch, made)


def other_speeds() -> list[str]:
    """Return negatives and recommending beside what they are compared with."""
    tables = load("speed")["tables"]
    rows = [[f"negatives, {name}, one thread", f"{low:g} to {high:g} million a second",
             f"RecBole 1.2.1: {least} to {most} times slower"]
            for name, low, high, least, most in tables["negatives"]["rows"]]
    (_, product), _, (_, top), (_, whole) = tables["recommending"]["rows"]
    rows.append(["10 best of 100,000 items for 100,000 users", f"{top} s; with model and JSON Lines {whole} s",
                 f"bare product in NumPy: {product} s"])
    made = "`python benchmarks/sampling.py` (Xeon) and `recommending.py` (Zen 5)"
    return markdown(["", "tslrec-min", "for comparison"], rows) + source(
        tables["recommending"] | {"machine": "two cores", "date": "2026-11-23 to 28"}, made)


def parity() -> list[str]:
    """Return the recommenders on item ids beside published figures, data set by data set."""
    tables = load("recommenders")["tables"]
    rows = []
    for data, protocol in dict.fromkeys(tuple(row[0].split(", ")) for row in tables["published"]["rows"]):
        at = 2 if protocol == "filtered" else 6
        ours = [row for row in tables["ids"]["rows"] if row[0].startswith(data) and (at == 2 or row[10] > 1)]
        rows += [[f"{data}, {protocol}", f"**{row[1]}**", shown(row[at], "rate"), shown(row[at + 2], "rate"),
                  f"tslrec-min, {row[0].partition(', ')[2]}"] for row in ours]
        rows += [[row[0], row[1], shown(row[2], "rate"), shown(row[3], "rate"), row[4]]
                 for row in tables["published"]["rows"] if row[0] == f"{data}, {protocol}"]
    return markdown(["data", "model", "HR@10", "NDCG@10", "source"], rows) + source(tables["ids"])


LM, SPEED, EX = (partial(transcribed, name) for name in ("language-model", "speed", "experiments"))
EMBEDDING = ["engine", "type", *(f"{processor}, {template}" for processor in ("Xeon", "AVX2", "Zen 5")
                                 for template in ("default", "prefix")), "cosine Xeon, default"]
TABLES: dict[str, Callable[[], list[str]]] = {
    "quickstart": quickstart, "systems": systems, "accuracy": partial(accuracy, "ndcg@10", "all"),
    "tail": partial(accuracy, "hr@10", "tail"), "finetuning": finetuning, "all-arms": all_arms, "adapters": adapters,
    "cold": cold, "ids": one_model_on_ids, "parity": parity, "training": training, "other-speeds": other_speeds,
    "embedding": partial(LM, "embedding", EMBEDDING),
    **{name.replace("_", "-"): partial(make, name) for make, names in (
        (LM, ("finetuning_speed", "finetuning_ratio", "finetuning_costs", "memory_of_stages", "embedding_beauty",
              "quantisations", "quantisations_downstream", "models")),
        (SPEED, ("ranking", "ranking_parts", "preparing", "encoders", "epoch", "training_steps", "processes", "bench",
                 "gate", "mkl", "softmax_loss")),
        (EX, ("coresets", "instances", "neighbours", "held_out", "probing", "validation", "beauty_trials", "vectors",
              "llama_engine", "quickstart_settings", "encoder_tuning", "next_items", "next_item_controls",
              "next_item_cold", "next_items_test", "two_level"))) for name in names},
}


def filled(text: str) -> str:
    """Return a page's text with its tables as they should be."""
    return PLACE.sub(lambda found: f"{found[1]}{found[2]}{chr(10).join(TABLES[found[1]]())}\n", text)


def run() -> None:
    """Write or check the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the tables are what would be written")
    check = parser.parse_args().check
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if filled(text) == text:
            continue
        if check:
            sys.exit(f"{page} has stale tables; run: python docs/generate_results.py")
        page.write_text(filled(text), encoding="utf-8")


if __name__ == "__main__":
    run()
