"""What is held out changes nothing that is learned, through all stages."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tslrec_min.categories.artifact import load_categories
from tslrec_min.categories.pretrain import pretrain
from tslrec_min.configs import (
    COUNTING_MODELS,
    REFITS,
    EvaluateConfig,
    FinetuneConfig,
    PrepareConfig,
    PretrainConfig,
    ProbeConfig,
    TrainConfig,
    TuneConfig,
)
from tslrec_min.data.dataset import SPLITS, load_dataset
from tslrec_min.data.prepare import prepare
from tslrec_min.evaluation import probe as probing
from tslrec_min.evaluation.evaluate import evaluate
from tslrec_min.evaluation.probe import probe
from tslrec_min.finetuning.finetune import finetune
from tslrec_min.finetuning.kinds import kind_of
from tslrec_min.finetuning.samples import make_samples
from tslrec_min.llm.gguf.tokenizer import load_tokenizer
from tslrec_min.llm.prompts import template_of
from tslrec_min.ranking.metrics import COLD_METRICS
from tslrec_min.recommenders.counting.artifact import CLASSES, counted
from tslrec_min.recommenders.counting.base import Knowledge
from tslrec_min.recommenders.counting.itemknn import ItemKNN
from tslrec_min.recommenders.counting.transitions import Transitions
from tslrec_min.recommenders.fuse import fuse
from tslrec_min.recommenders.fusion.fit import Features, fitted
from tslrec_min.recommenders.fusion.parts import WORDS, Part
from tslrec_min.recommenders.train import train
from tslrec_min.recommenders.tune import tune
from tslrec_min.storage.artifacts import open_artifact, read_json

from ..factories import COLD, N_ITEMS, PRETRAIN, SMALL, config_for, write_random_embeddings

CPU = torch.device("cpu")


def test_held_out_items_change_nothing_that_is_learned(cycle_raw: Path, llm: Path, encoder: Path, tmp_path: Path
                                                       ) -> None:
    """DESIGN: V, c, p_u and the prompts must not depend on validation or test items."""
    changed = tmp_path / "changed"
    shutil.copytree(cycle_raw, changed)
    random = np.random.default_rng(1)
    lines = (cycle_raw / "sequences.txt").read_text().splitlines()
    rows = [line.split() for line in lines]
    swapped = [[*row[:-2], *(f"i{item}" for item in random.integers(N_ITEMS, size=2))] for row in rows]
    (changed / "sequences.txt").write_text("\n".join(map(" ".join, swapped)) + "\n")
    learned = []
    for name, source in (("a", cycle_raw), ("b", changed)):
        prepare(source, tmp_path / name, PrepareConfig(k_core=0))
        pretrain(tmp_path / name, tmp_path / f"{name}-pre", PRETRAIN, device=CPU, threads=1)
        dataset, dataset_hash = load_dataset(tmp_path / name)
        categories, _ = load_categories(tmp_path / f"{name}-pre", dataset, dataset_hash)
        samples = []
        for model in (llm, encoder):
            config, (_, kind) = config_for(model), kind_of(str(model))
            made = make_samples(dataset, categories, load_tokenizer(model), kind.prompts(config), config,
                                context_length=1024)
            samples += [made.training, made.held_out]
        learned.append((load_file(tmp_path / f"{name}-pre" / "model.safetensors"), categories.labels, samples,
                        dataset.split_hash()))
    (table_a, labels_a, samples_a, hash_a), (table_b, labels_b, samples_b, hash_b) = learned
    assert hash_a != hash_b
    assert all(torch.equal(table_a[name], table_b[name]) for name in table_a)
    assert np.array_equal(labels_a, labels_b)
    for part_a, part_b in zip(samples_a, samples_b, strict=True):
        assert part_a.prompts == part_b.prompts and torch.equal(part_a.preferences, part_b.preferences)


@pytest.mark.parametrize("objective", ["residual", "two-level"])
def test_held_out_items_change_no_weight_of_objectives_that_learn_next_items(
        cycle_raw: Path, llm: Path, tmp_path: Path, objective: str) -> None:
    torch.set_num_threads(1)
    changed = tmp_path / "changed"
    shutil.copytree(cycle_raw, changed)
    rows = [line.split() for line in (cycle_raw / "sequences.txt").read_text().splitlines()]
    random = np.random.default_rng(1)
    swapped = [[*row[:-2], *(f"i{item}" for item in random.integers(N_ITEMS, size=2))] for row in rows]
    (changed / "sequences.txt").write_text("\n".join(map(" ".join, swapped)) + "\n")
    config = config_for(llm, objective=objective, epochs=1, quant="F16", parity_prompts=4)
    for name, source in (("a", cycle_raw), ("b", changed)):
        prepare(source, tmp_path / name, PrepareConfig(k_core=0))
        pretrain(tmp_path / name, tmp_path / f"{name}-pre", PRETRAIN, device=CPU, threads=1)
        finetune(tmp_path / name, tmp_path / f"{name}-pre", tmp_path / f"{name}-ft", config, device=CPU, threads=1)
    files = "adapter/adapter_model.safetensors", "head.safetensors", "projection.safetensors", "metrics.json"
    for file in files:
        assert (tmp_path / "a-ft" / file).read_bytes() == (tmp_path / "b-ft" / file).read_bytes(), file


def reordered(raw: Path, out: Path, cold_ids: set[str]) -> Path:
    """Copy raw data with the cold interactions of every user elsewhere, twice or, of every third one, none at all."""
    out.mkdir()
    random, lines = np.random.default_rng(5), []
    for number, line in enumerate((raw / "sequences.txt").read_text().splitlines()):
        user, *items = line.split()
        kept = [item for item in items if item not in cold_ids]
        if number % 3:
            for item in [item for item in items if item in cold_ids for _ in range(2)]:
                kept.insert(random.integers(len(kept) + 1), item)
        lines.append(" ".join([user, *kept]))
    lines.append("only-cold " + " ".join(sorted(cold_ids)))  # a user without a warm item
    (out / "sequences.txt").write_text("\n".join(lines) + "\n")
    (out / "items.tsv").write_bytes((raw / "items.tsv").read_bytes())
    return out


def test_cold_interactions_change_nothing_that_is_learned(cycle_raw: Path, cold: Path, llm: Path, tmp_path: Path
                                                          ) -> None:
    first, _ = load_dataset(cold)
    assert first.cold is not None
    prepare(reordered(cycle_raw, tmp_path / "raw", set(first.cold.item_ids)), tmp_path / "dataset", COLD)
    config, learned = FinetuneConfig(model=str(llm), max_history=6), []
    for name, path in (("a", cold), ("b", tmp_path / "dataset")):
        dataset, dataset_hash = load_dataset(path)
        pretrain(path, tmp_path / f"{name}-pre", PretrainConfig(categories=4, **SMALL), device=CPU, threads=1)
        categories, pretrained = load_categories(tmp_path / f"{name}-pre", dataset, dataset_hash)
        samples = make_samples(dataset, categories, load_tokenizer(llm), template_of(config), config,
                               context_length=1024)
        vectors, run = tmp_path / f"{name}-embed", tmp_path / f"{name}-run"
        write_random_embeddings(vectors, dataset)
        train(path, run, TrainConfig(adapter="linear", **SMALL), embeddings_path=vectors, device=CPU, threads=1)
        learned.append((dataset, dataset_hash, pretrained, samples, open_artifact(run, "train").hash))
    (one, hash_one, pre_one, samples_one, run_one), (two, hash_two, pre_two, samples_two, run_two) = learned
    assert hash_one != hash_two and one.split_hash() == two.split_hash()  # they do differ, in the cold part alone
    assert pre_one == pre_two  # V, centroids and labels
    assert run_one == run_two  # the recommender, what it was fitted on, and the rows of the cold items
    for part in ("training", "held_out"):
        mine, theirs = getattr(samples_one, part), getattr(samples_two, part)
        assert mine.prompts == theirs.prompts and torch.equal(mine.preferences, theirs.preferences)
    found = [evaluate(path, {"run": [tmp_path / f"{name}-run"]}, EvaluateConfig(test="none"), device=CPU, threads=1)[
        "cold"] for name, path in (("a", cold), ("b", tmp_path / "dataset"))]
    assert set(found[0]["random"]["all"]) == set(COLD_METRICS) and found[0] != found[1]


def write_timed_cycle(folder: Path, changed_from: float = math.inf) -> Path:
    """Write histories in which item i is followed by i + 1, all users active throughout; another end if asked for."""
    random = np.random.default_rng(0)
    rows = []
    for user in range(60):
        start = int(random.integers(24))
        for step in range(20):
            time = 1000 * step + user
            item = (start + step * (3 if time >= changed_from else 1)) % 24
            rows.append(f"u{user},i{item},{time}\n")
    folder.mkdir()
    (folder / "interactions.csv").write_text("user_id,item_id,timestamp\n" + "".join(rows))
    (folder / "items.tsv").write_text("item_id\ttitle\n" + "".join(f"i{item}\tTitle {item}\n" for item in range(24)))
    return folder


def test_the_stages_work_with_it_and_learn_the_same_from_changed_ends(tmp_path: Path) -> None:
    import torch

    from tslrec_min.categories.pretrain import pretrain
    from tslrec_min.evaluation.evaluate import evaluate
    from tslrec_min.recommenders.train import train

    cpu = torch.device("cpu")
    config = PrepareConfig(split="temporal", k_core=2)
    small = {"width": 16, "blocks": 1, "max_len": 8, "batch_size": 32, "epochs": 12, "learning_rate": 1e-2}
    weights = {}
    for changed in (False, True):
        folder = tmp_path / str(changed)
        folder.mkdir()
        summary = prepare(write_timed_cycle(folder / "raw", 16_000 if changed else math.inf), folder / "d", config)
        assert summary["validation_from"] == 16_000 and summary["validation_users"] == summary["test_users"] == 60
        pretrain(folder / "d", folder / "p", PretrainConfig(**small, categories=4), device=cpu, threads=1)
        weights[changed] = [(folder / "p" / name).read_bytes() for name in ("model.safetensors", "categories.npz")]
        assert json.loads((folder / "p" / "metrics.json").read_text())["best_epoch"] >= 1
    assert weights[False] == weights[True]
    folder = tmp_path / "False"
    train(folder / "d", folder / "t", TrainConfig(**small), device=cpu, threads=1)
    for split in SPLITS:
        report = evaluate(folder / "d", {"a": [folder / "t"]}, EvaluateConfig(split=split, test="none"),
                          out=folder / split, device=cpu, threads=1)
        assert report["data"]["evaluated_users"] == 60 and report["data"]["split"] == "temporal"
        assert report["arms"]["a"]["unfiltered"]["hr@10"]["mean"] > 0.9
        assert len((folder / split / "users.txt").read_text().splitlines()) == 60


def write_with_others(raw: Path, out: Path, place: int) -> Path:
    """Copy raw sequences with another item at one place of every history."""
    out.mkdir()
    rows = [line.split() for line in (raw / "sequences.txt").read_text().splitlines()]
    for row in rows:
        row[place] = f"i{(int(row[place][1:]) + 7) % N_ITEMS}"
    (out / "sequences.txt").write_text("\n".join(map(" ".join, rows)) + "\n")
    (out / "items.tsv").write_bytes((raw / "items.tsv").read_bytes())
    return out


@pytest.mark.parametrize("split", ["leave-one-out", "temporal"])
def test_a_refit_learns_validation_items_and_only_with_all_the_test_items(cycle_raw: Path, tmp_path: Path, split: str
                                                                          ) -> None:
    """One epoch: with more, other validation items may stop the first training elsewhere."""
    if split == "temporal":  # validation from 16,000, test from 18,000 on, so that two items of a user are tested
        sources = {"same": write_timed_cycle(tmp_path / "a"), "validation": write_timed_cycle(tmp_path / "b", 16_000),
                   "test": write_timed_cycle(tmp_path / "c", 18_000)}
    else:
        sources = {"same": cycle_raw, "validation": write_with_others(cycle_raw, tmp_path / "b", -2),
                   "test": write_with_others(cycle_raw, tmp_path / "c", -1)}
    weights: dict[tuple[str, str], bytes] = {}
    for name, source in sources.items():
        prepare(source, tmp_path / name, PrepareConfig(k_core=0, split=split))
        for refit in REFITS:
            out = tmp_path / f"{name}-{refit}"
            train(tmp_path / name, out, TrainConfig(refit=refit, **SMALL | {"epochs": 1}), device=CPU, threads=1)
            weights[name, refit] = (out / "model.safetensors").read_bytes()
    for changed, refit, differs in (("test", "none", False), ("test", "validation", False), ("test", "all", True),
                                    ("validation", "none", False), ("validation", "validation", True)):
        assert (weights[changed, refit] != weights["same", refit]) == differs, (changed, refit)


def test_test_items_do_not_change_how_long_a_refit_is(cycle_raw: Path, tmp_path: Path) -> None:
    learned = []
    for name, source in (("a", cycle_raw), ("b", write_with_others(cycle_raw, tmp_path / "raw", -1))):
        prepare(source, tmp_path / name, PrepareConfig(k_core=0))
        config = TrainConfig(refit="validation", **SMALL | {"epochs": 5, "patience": 2})
        train(tmp_path / name, tmp_path / f"{name}-run", config, device=CPU, threads=1)
        learned.append(open_artifact(tmp_path / f"{name}-run", "train").hash)
    assert learned[0] == learned[1]


def sources_that_differ(cycle_raw: Path, folder: Path, split: str) -> dict[str, Path]:
    """Return interactions, and the same with other validation and with other test items."""
    if split == "temporal":
        return {"same": write_timed_cycle(folder / "a"), "validation": write_timed_cycle(folder / "b", 16_000),
                "test": write_timed_cycle(folder / "c", 18_000)}
    return {"same": cycle_raw, "validation": write_with_others(cycle_raw, folder / "b", -2),
            "test": write_with_others(cycle_raw, folder / "c", -1)}


def test_a_search_does_not_look_at_test_items(cycle_raw: Path, tmp_path: Path) -> None:
    found = {}
    for name, place in (("same", None), ("test", -1), ("validation", -2)):
        source = cycle_raw if place is None else write_with_others(cycle_raw, tmp_path / f"{name}-raw", place)
        prepare(source, tmp_path / name, PrepareConfig(k_core=0))
        out, config = tmp_path / f"{name}-tuned", TuneConfig(trials=4, budget=1, **SMALL)
        tune(tmp_path / name, out, config, device=CPU, threads=1)
        result = read_json(out / "trials.json")
        found[name] = [[{**rung, "seconds": 0} for rung in trial["rungs"]] for trial in result["trials"]]
    assert found["test"] == found["same"] != found["validation"]


@pytest.mark.parametrize("split", ["leave-one-out", "temporal"])
def test_sums_and_what_is_counted_learn_from_training_items_and_choose_by_validation_items(
        cycle_raw: Path, tmp_path: Path, split: str) -> None:
    """Test items change no file; validation items change constants, weights and figures, but nothing that is counted.
    """
    sources = sources_that_differ(cycle_raw, tmp_path, split)
    learned: dict[str, dict[str, tuple[str, bytes]]] = {}
    weights: dict[str, bytes] = {}
    for name, source in sources.items():
        dataset, vectors, out = tmp_path / name, tmp_path / f"{name}-embed", tmp_path / f"{name}-out"
        prepare(source, dataset, PrepareConfig(k_core=0, split=split))
        write_random_embeddings(vectors, load_dataset(dataset)[0])
        learned[name] = {}
        for model in COUNTING_MODELS:
            train(dataset, out / model, TrainConfig(model=model), device=CPU, threads=1,
                  embeddings_path=vectors if model.startswith("content") else None)
            learned[name][model] = (open_artifact(out / model, "train").hash, (out / model / "counts.npz").read_bytes())
        fuse(dataset, [*(Part(word, word) for word in WORDS), Part("text", vectors)], out / "sum", device=CPU,
             threads=1)
        files = {file: digest for file, digest in open_artifact(out / "sum", "train").record["files"].items()
                 if not file.endswith("part.json")}  # it names the data set by its hash, test items included
        learned[name]["sum"] = str(files), (out / "sum" / "occurrences.npy").read_bytes()
        weights[name] = (out / "sum" / "weights.json").read_bytes()
    assert learned["test"] == learned["same"] and weights["test"] == weights["same"] != weights["validation"]
    for name, (made, counts) in learned["validation"].items():
        assert made != learned["same"][name][0]  # its figures, at least
        if name not in ("itemknn", "transitions"):  # what they store depends on the constants
            assert counts == learned["same"][name][1]
    same, other = (load_dataset(tmp_path / name)[0] for name in ("same", "validation"))
    for model, constants in ((ItemKNN, {"shrinkage": 10.0, "neighbours": 50}), (Transitions, {
            "places": 2, "tau": 1.0, "popularity": 0.1})):
        mine, theirs = (model.maker(Knowledge.of(data, None, 1))(constants).arrays() for data in (same, other))
        assert all(np.array_equal(values, theirs[name]) for name, values in mine.items())


@pytest.mark.parametrize("split", ["leave-one-out", "temporal"])
def test_probing_learns_nothing_from_test_items_and_only_constants_from_validation_items(
        cycle_raw: Path, tmp_path: Path, split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test items change no constant, no weight, and no figure but those by test targets. Validation items change
    constants and weights, but with the same constants what is counted and mapped is the same.
    """
    sources = sources_that_differ(cycle_raw, tmp_path, split)
    learned: dict[str, list[dict[str, np.ndarray]]] = {}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    first_constants = {model: {name: values[0] for name, values in CLASSES[model].grid.items()} for model in CLASSES}
    weights: dict[tuple[str, str], list[bytes]] = {}

    def watched_count(model: str, known: Knowledge) -> Any:
        learned.setdefault(current[0], []).append(CLASSES[model].maker(known)(first_constants[model]).arrays())
        return counted(model, known)

    def watched_fit(features: Features) -> np.ndarray:
        numbers = fitted(features)
        weights.setdefault(current, []).append(numbers.tobytes())
        return numbers

    monkeypatch.setattr(probing, "counted", watched_count)
    monkeypatch.setattr(probing, "fitted", watched_fit)
    for name, source in sources.items():
        prepare(source, tmp_path / name, PrepareConfig(k_core=0, split=split))
        write_random_embeddings(tmp_path / f"{name}-embed", load_dataset(tmp_path / name)[0])
        for ranked in SPLITS:
            current = name, ranked
            config = ProbeConfig(split=ranked, cca=True, control="shuffled", resamples=50)
            found[current] = probe(tmp_path / name, {"a": tmp_path / f"{name}-embed"}, config, threads=1)
    of_same, of_test = (found[name, "validation"] for name in ("same", "test"))
    for part in ("rows", "comparisons", "groups"):
        assert of_same[part] == of_test[part]
    constants = {key: [row["constants"] for row in report["rows"]] for key, report in found.items()}
    for ranked in SPLITS:
        assert constants["test", ranked] == constants["same", "validation"]
        assert weights["test", ranked] == weights["same", ranked] == weights["same", "validation"]
    assert found["test", "test"]["rows"] != found["same", "test"]["rows"]
    assert found["validation", "validation"]["rows"] != of_same["rows"]
    assert len(learned["same"]) == 10  # transitions and four sets, twice
    for name in ("test", "validation"):
        for mine, theirs in zip(learned["same"], learned[name], strict=True):
            assert all(np.array_equal(values, theirs[key]) for key, values in mine.items())
