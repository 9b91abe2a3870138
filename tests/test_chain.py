"""The chain on a tiny random language model: fine-tuning, embedding, leakage, crashes, the run command."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from tslrec_min import configs
from tslrec_min.categories.artifact import load_categories
from tslrec_min.categories.pretrain import pretrain
from tslrec_min.cli import main
from tslrec_min.config_fields import from_mapping
from tslrec_min.configs import EmbedConfig, FinetuneConfig, PrepareConfig, PretrainConfig, TrainConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.data.prepare import prepare
from tslrec_min.data.raw import inspect as finding
from tslrec_min.embedding.embed import embed_base, embed_tuned
from tslrec_min.embedding.quality import category_neighbours
from tslrec_min.errors import TslrecError
from tslrec_min.finetuning.artifact import F16_FILE, open_tuned
from tslrec_min.finetuning.conversion import verify
from tslrec_min.finetuning.finetune import finetune
from tslrec_min.finetuning.head import PreferenceModel
from tslrec_min.finetuning.preference_head import PreferenceHead
from tslrec_min.finetuning.samples import Samples, make_samples
from tslrec_min.finetuning.training import fine_tune
from tslrec_min.item_vectors.load import combined, load_item_embeddings
from tslrec_min.llm.files import load_tokenizer
from tslrec_min.llm.lora import add_lora
from tslrec_min.llm.model import load_language_model
from tslrec_min.llm.prompts import PromptTemplate, template_of
from tslrec_min.recommenders.train import train
from tslrec_min.storage.artifacts import Recipe, open_artifact, read_json, write_artifact

from .conftest import N_ITEMS
from .tiny_llm import make_tiny_llm

CPU = torch.device("cpu")
# Epochs enough for categories that follow the histories: what is random can't be learned.
PRETRAIN = PretrainConfig(categories=4, width=16, blocks=1, max_len=8, batch_size=32, learning_rate=5e-3, epochs=12)


@pytest.fixture(scope="module")
def pretrained(cycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pre") / "pretrain"
    pretrain(cycle, out, PRETRAIN, device=CPU, threads=1)
    return out


def config_for(llm: Path, **changes: object) -> FinetuneConfig:
    return FinetuneConfig(**{"model": str(llm), "max_history": 6, "epochs": 4, "learning_rate": 1e-3,
                             "head_learning_rate": 1e-2, "batch_size": 8, "parity_prompts": 16, **changes})


@pytest.fixture(scope="module")
def tuned(cycle: Path, pretrained: Path, llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "finetune"
    finetune(cycle, pretrained, out, config_for(llm), device=CPU, threads=1)
    return out


def test_fine_tuning_writes_its_files_and_beats_the_constant_predictor(tuned: Path) -> None:
    files = sorted(str(file.relative_to(tuned)) for file in tuned.rglob("*") if file.is_file())
    assert files == ["adapter/adapter_config.json", "adapter/adapter_model.safetensors", "config.json",
                     "head.safetensors", "metrics.json", "model-Q8_0.gguf", "model-f16.gguf", "parity.json",
                     "prompt.json"]
    metrics = read_json(tuned / "metrics.json")
    assert metrics["improvement"] > 0.05 and metrics["best"] == min(check["loss"] for check in metrics["checks"])
    assert metrics["held_out_users"] == 6 and metrics["training_users"] == 54
    parity = read_json(tuned / "parity.json")
    assert parity["passed"] and parity["comparisons"]["merged"]["min_cosine"] > 0.9999
    assert load_file(tuned / "head.safetensors")["weight"].shape == (4, 64)


@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_every_loss_learns(cycle: Path, pretrained: Path, llm: Path, tmp_path: Path, loss: str) -> None:
    finetune(cycle, pretrained, tmp_path / "ft", config_for(llm, loss=loss, pooling="last", quant="F16"), device=CPU,
             threads=1)
    metrics = read_json(tmp_path / "ft" / "metrics.json")
    assert metrics["loss"] == loss and metrics["best"] < metrics["baseline"]
    assert not (tmp_path / "ft" / "model-Q8_0.gguf").exists()


@pytest.mark.parametrize(("changes", "samples", "selection"), [
    ({"level": "instance", "users": 12, "select": "coverage"}, 12 * 11, "coverage"),
    ({"window": "random", "users": 16, "epochs": 3, "text": "id"}, 16, "random")])
def test_samples_are_described_beside_the_losses(cycle: Path, pretrained: Path, llm: Path, tmp_path: Path,
                                                 changes: dict[str, object], samples: int, selection: str) -> None:
    finetune(cycle, pretrained, tmp_path / "ft", config_for(llm, quant="F16", **changes), device=CPU, threads=1)
    metrics = read_json(tmp_path / "ft" / "metrics.json")
    assert metrics["training_users"] == changes["users"] and metrics["available_users"] == 54
    assert metrics["training_samples"] == samples and metrics["selection"] == selection
    assert metrics["held_out_users"] == 6
    if metrics["level"] == "instance":  # one-hot targets: the uniform predictor loses log K
        assert metrics["held_out_instance_loss"] < np.log(4)
    else:
        assert metrics["best"] < metrics["baseline"] and "held_out_instance_loss" not in metrics
    embed_tuned(cycle, tmp_path / "ft", tmp_path / "e", EmbedConfig(engine="torch"), device=CPU, threads=1)
    summary = read_json(tmp_path / "e" / "embed.json")
    assert summary["template"]["text"] == changes.get("text", "title") and summary["titles_cut"] == 0


def test_windows_are_drawn_once_an_epoch(cycle: Path, pretrained: Path, llm: Path) -> None:
    dataset, dataset_hash = load_dataset(cycle)
    categories, _ = load_categories(pretrained, dataset, dataset_hash)
    base, config = load_language_model(llm), config_for(llm, window="random", users=16, epochs=3, patience=9)
    samples = make_samples(dataset, categories, base.tokenizer, template_of(config), config, context_length=1024)
    drawn: list[int] = []

    def redraw(epoch: int) -> Samples:
        drawn.append(epoch)
        return samples.training.epoch(epoch)

    add_lora(base.network, rank=2, alpha=4.0)
    fine_tune(PreferenceModel(base.network, 4), replace(samples.training, redraw=redraw), samples.held_out, config)
    assert drawn == [1, 2]


def test_bfloat16_keeps_the_rotary_frequencies(cycle: Path, pretrained: Path, llm: Path, tmp_path: Path) -> None:
    network = load_language_model(llm, dtype=torch.bfloat16).network
    assert network.model.embed_tokens.weight.dtype == torch.bfloat16
    assert network.model.rotary_emb.inv_freq.dtype == torch.float32
    finetune(cycle, pretrained, tmp_path / "ft", config_for(llm, precision="bf16"), device=CPU, threads=1)
    metrics = read_json(tmp_path / "ft" / "metrics.json")
    assert metrics["best"] < metrics["baseline"]


def test_other_weights_under_the_same_name_are_refused(cycle: Path, pretrained: Path, tmp_path: Path) -> None:
    base = make_tiny_llm(tmp_path / "llm", max_position_embeddings=1024)
    finetune(cycle, pretrained, tmp_path / "ft", config_for(base, epochs=1, users=8), device=CPU, threads=1)
    make_tiny_llm(base, max_position_embeddings=1024, seed=1)
    with pytest.raises(TslrecError, match="weights have changed"):
        embed_tuned(cycle, tmp_path / "ft", tmp_path / "e", EmbedConfig(engine="torch"), device=CPU, threads=1)


def test_prompts_longer_than_the_context_are_refused_before_training(cycle: Path, pretrained: Path, tmp_path: Path
                                                                     ) -> None:
    short = make_tiny_llm(tmp_path / "llm", max_position_embeddings=64)
    with pytest.raises(TslrecError, match="lower --max-history"):
        finetune(cycle, pretrained, tmp_path / "ft", config_for(short), device=CPU, threads=1)


def test_verify_again_agrees_with_the_stored_report(cycle: Path, tuned: Path) -> None:
    stored, again = read_json(tuned / "parity.json"), verify(cycle, tuned, threads=1)
    assert again["passed"] and again["prompts"] == stored["prompts"]
    assert again["comparisons"]["Q8_0"]["mean_cosine"] == pytest.approx(
        stored["comparisons"]["Q8_0"]["mean_cosine"], abs=2e-3)


def test_broken_conversion_fails_and_keeps_the_evidence(cycle: Path, pretrained: Path, llm: Path, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(configs.QUANTS, "F16", 1.1)
    with pytest.raises(TslrecError, match="differs too much"):
        finetune(cycle, pretrained, tmp_path / "ft", config_for(llm, epochs=1, users=8), device=CPU, threads=1)
    assert os.listdir(tmp_path) == ["ft.parity.json"] and not read_json(tmp_path / "ft.parity.json")["passed"]


def test_a_record_of_other_settings_is_refused(tmp_path: Path) -> None:
    own = {"model": "m", "loss": "kl", "quant": "F16"}
    for number, (config, message) in enumerate((
            (own | {"quant": 8}, "quant: 8"), (own | {"quant": "Q3"}, "quant: 'Q3'"), (own | {"colour": 1}, "'colour'"),
            (own, "lacks model-f16.gguf"), ({}, "config.json lacks model, loss, quant"))):
        with write_artifact(tmp_path / str(number), Recipe("finetune", config, {})):
            pass
        with pytest.raises(TslrecError, match=message):
            open_tuned(tmp_path / str(number))


def test_both_engines_embed_alike_and_last_item_keeps_its_vector(cycle: Path, tuned: Path, tmp_path: Path) -> None:
    dataset, _ = load_dataset(cycle)
    vectors = {}
    for engine in ("llama", "torch"):
        embed_tuned(cycle, tuned, tmp_path / engine, EmbedConfig(engine=engine), device=CPU, threads=1)
        vectors[engine] = load_item_embeddings(tmp_path / engine, dataset).known
    assert vectors["llama"].shape == (N_ITEMS + 1, 64) and vectors["llama"].dtype == np.float32
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in
               zip(vectors["llama"][1:], vectors["torch"][1:], strict=True)]
    assert min(cosines) > 0.995
    nearest = (vectors["llama"][1:] @ vectors["torch"][1:].T / np.linalg.norm(vectors["torch"][1:], axis=1)).argmax(1)
    assert nearest[-1] == N_ITEMS - 1
    summary = read_json(tmp_path / "llama" / "embed.json")
    assert summary["different_prompts"] == N_ITEMS and summary["catalogue_hash"] == dataset.catalogue_hash()


def test_a_folder_of_transformers_can_be_embedded_untuned(cycle: Path, llm: Path, tmp_path: Path) -> None:
    template = template_of(FinetuneConfig())
    found = {}
    for engine in ("llama", "torch"):
        embed_base(cycle, str(llm), template, tmp_path / engine, EmbedConfig(engine=engine), device=CPU, threads=1)
        found[engine] = np.load(tmp_path / engine / "item_embeddings.npy")
    np.testing.assert_allclose(found["llama"], found["torch"], atol=0.02)


def test_other_quantisations_are_written_first(cycle: Path, tuned: Path, tmp_path: Path) -> None:
    template = open_tuned(tuned).template
    found = {}
    for name in ("auto", "BF16", "Q4_0"):
        embed_tuned(cycle, tuned, tmp_path / name, EmbedConfig(quant=name), device=CPU, threads=1)
        found[name] = np.load(tmp_path / name / "item_embeddings.npy")
        base = tmp_path / f"base-{name}"
        embed_base(cycle, str(tuned / F16_FILE), template, base, EmbedConfig(quant=name), device=CPU, threads=1)
        if name != "auto":  # of the same file
            np.testing.assert_array_equal(np.load(base / "item_embeddings.npy"), found[name])
    exact = np.load(tmp_path / "base-auto" / "item_embeddings.npy")  # f16, as it is
    errors = {name: np.linalg.norm(values - exact) for name, values in found.items()}
    assert 0 < errors["BF16"] < errors["Q4_0"] and 0 < errors["auto"] < errors["Q4_0"]
    with pytest.raises(TslrecError, match="quant = BF16 is read only with engine = llama; got engine = torch"):
        from_mapping(EmbedConfig, {"engine": "torch", "quant": "BF16"}, "embed")


def test_held_out_items_change_nothing_that_is_learned(cycle_raw: Path, llm: Path, tmp_path: Path) -> None:
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
        config = config_for(llm)
        samples = make_samples(dataset, categories, load_tokenizer(llm), template_of(config), config,
                               context_length=1024)
        learned.append((load_file(tmp_path / f"{name}-pre" / "model.safetensors"), categories.labels,
                        (samples.training, samples.held_out),
                        dataset.split_hash()))
    (table_a, labels_a, samples_a, hash_a), (table_b, labels_b, samples_b, hash_b) = learned
    assert hash_a != hash_b
    assert all(torch.equal(table_a[name], table_b[name]) for name in table_a)
    assert np.array_equal(labels_a, labels_b)
    for part_a, part_b in zip(samples_a, samples_b, strict=True):
        assert part_a.prompts == part_b.prompts and torch.equal(part_a.preferences, part_b.preferences)


RUN = """
source = "{raw}"
seeds = [0, 1]
[prepare]
k_core = 2
[pretrain]
categories = 4
width = 16
blocks = 1
max_len = 8
batch_size = 32
epochs = {pretrain_epochs}
patience = 200
[finetune]
model = "{llm}"
max_history = 6
parity_prompts = 8
users = 16
[embed]
shard_size = 1
[train]
width = 16
blocks = 1
max_len = 8
batch_size = 32
epochs = 2
[[arms]]
name = "ids"
[[arms]]
name = "untuned"
embeddings = "untuned"
adapter = "linear"
[[arms]]
name = "tslrec"
embeddings = "tuned"
adapter = "init"
"""


def write_run(folder: Path, raw: Path, llm: Path, pretrain_epochs: int = 3) -> Path:
    (folder / "run.toml").write_text(RUN.format(raw=raw, llm=llm, pretrain_epochs=pretrain_epochs))
    return folder / "run.toml"


def command(config: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "tslrec_min.cli", "run", str(config), "-o", str(out), "--threads", "1", "--json"]


def hashes(out: Path) -> dict[str, str]:
    return {str(record.parent.relative_to(out)): read_json(record)["hash"] for record in out.rglob("config.json")}


def test_run_survives_kill_and_repeats_itself(cycle_raw: Path, llm: Path, tmp_path: Path) -> None:
    config = write_run(tmp_path, cycle_raw, llm, pretrain_epochs=30)
    subprocess.run(command(config, tmp_path / "whole"), check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    expected = hashes(tmp_path / "whole")
    assert len(expected) == 5 + 6 + 1  # dataset, two embeds, pretrain, finetune; three arms of two seeds; evaluate

    out = tmp_path / "killed"
    for stage, at_work in (("pretrain", ".pretrain.tmp-*"), ("embed", ".embed.shards")):
        process = subprocess.Popen(command(config, out), cwd=tmp_path, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not list(out.glob(at_work)) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, f"{stage} was never seen at work"
        assert not (out / stage).exists() and list(out.glob(at_work))
        for record in out.rglob("config.json"):
            if ".tmp-" not in str(record):
                open_artifact(record.parent, read_json(record)["kind"])  # what is there is whole
    finished = subprocess.run(command(config, out), check=True, cwd=tmp_path, capture_output=True, text=True)
    assert hashes(out) == expected
    assert not list(out.rglob("*.tmp-*")) and not list(out.rglob(".*.shards"))
    result = json.loads(finished.stdout)
    neighbours = result["category_neighbours"]
    assert list(neighbours) == ["embed-untuned", "embed"] and all(0 <= of["share"] <= 1 for of in neighbours.values())
    embed_again = [sys.executable, "-m", "tslrec_min.cli", "embed", str(out / "dataset"), "--model", str(llm), "-o",
                   str(tmp_path / "again"), "--pretrain", str(out / "pretrain"), "--threads", "1", "--json"]
    printed = subprocess.run(embed_again, check=True, cwd=tmp_path, capture_output=True, text=True).stdout
    assert json.loads(printed)["category_neighbours"] == neighbours["embed-untuned"]
    made = {stage["name"]: stage["made"] for stage in result["stages"]}
    assert not made["dataset"] and not made["pretrain"] and not made["finetune"] and made["embed"]


def test_editing_the_configuration_redoes_what_depends_on_it(cycle_raw: Path, llm: Path, tmp_path: Path) -> None:
    from tslrec_min.pipeline.config import load_run_config
    from tslrec_min.pipeline.run import run

    config = write_run(tmp_path, cycle_raw, llm)
    run(load_run_config(config), tmp_path / "out")
    config.write_text(config.read_text().replace("parity_prompts = 8", "parity_prompts = 10"))
    made = {stage["name"]: stage["made"] for stage in run(load_run_config(config), tmp_path / "out")["stages"]}
    assert made["finetune"] and not made["pretrain"] and not made["dataset"] and not made["train/1-ids-0"]
    assert not any(stage["made"] for stage in run(load_run_config(config), tmp_path / "out")["stages"])

    expected = hashes(tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "train")
    stages = run(load_run_config(config), tmp_path / "out", jobs=2)["stages"]  # of one thread each, as before
    assert hashes(tmp_path / "out") == expected
    assert [stage["name"] for stage in stages if stage["made"]] == [
        f"train/{arm}-{seed}" for seed in (0, 1) for arm in ("1-ids", "2-untuned", "3-tslrec")]


@pytest.mark.parametrize(("given", "named"), [
    ([], ["my loans.csv has no column for --user-column user_id, --item-column item_id, --time-column timestamp",
          "its columns are day, book, reader", "no titles beside my loans.csv", "--missing-titles blank"]),
    (["--items", "books.csv", "--time-column", "day"],
     ["--user-column user_id, --item-column item_id; its columns are day, book, reader",
      "books.csv has no column for --item-column item_id, --title-column title; its columns are shelf, book, called"]),
    (["--items", "books.csv", "--title-column", "called", "--user-column", "reader", "--time-column", "day"],
     ["my loans.csv has no column for --item-column item_id", "books.csv has no column for --item-column item_id"]),
    (["--items", "books.csv", "--item-column", "bok", "--user-column=reader", "--title-column", "called",
      "--time-column", "day"], ["my loans.csv has no column for --item-column bok"]),
    (["--missing-titles", "blank", "--columns", "reader,book"],
     ["--time-column timestamp; its columns are reader, book", "if there are no times", "give --time-column ''"]),
    (["--items", "other.csv"], ["other.csv has no column for --item-column item_id"]),
    (["--items", "books.csv", "--item-fields", "colour"], ["--item-fields colour"]),
    (["--items", "books.csv", "--user-column", "called", "--item-column", "book", "--title-column", "reader"],
     ["my loans.csv has no column for --user-column called", "they seem to be given in each other's place"]),
])
def test_run_names_all_that_is_missing_at_once(given: list[str], named: list[str], tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my loans.csv").write_text("day,book,reader\n2024-03-01,b1,r1\n", encoding="utf-8")
    (tmp_path / "books.csv").write_text("shelf,book,called\n1,b1,Heat\n", encoding="utf-8")
    (tmp_path / "other.csv").write_text("id,title\nb1,Heat\n", encoding="utf-8")
    refused = CliRunner().invoke(main, ["run", "my loans.csv", *given], prog_name="tslrec")
    assert refused.exit_code == 1 and refused.stderr.count("\n") == 1 and not (tmp_path / "runs").exists()
    assert all(text in refused.stderr for text in named), refused.stderr


def test_run_takes_own_files_and_says_how_to_go_on(cycle_raw: Path, llm: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path, tmp_path / "not-there", llm)
    assert "no-file.csv does not exist" in CliRunner().invoke(main, ["run", "no-file.csv"]).stderr
    text = (tmp_path / "run.toml").read_text(encoding="utf-8")
    (tmp_path / "wrong.toml").write_text(text.replace(str(llm), "smollm-135m"), encoding="utf-8")
    refused = CliRunner().invoke(main, ["run", "wrong.toml", "--data", str(cycle_raw)])
    assert refused.exit_code == 1 and "smollm-135m" in refused.stderr and "smollm2-135m" in refused.stderr
    assert not (tmp_path / "runs").exists()
    days = [f"{reader};{book};{day}" for line in (cycle_raw / "sequences.txt").read_text().splitlines()
            for reader, *books in [line.split()] for day, book in enumerate(books)]
    (tmp_path / "my loans.csv").write_text("reader;book;day\n" + "\n".join(days), encoding="utf-8")
    titles = (cycle_raw / "items.tsv").read_text(encoding="utf-8").replace("item_id\ttitle", "book\tname")
    (tmp_path / "books.tsv").write_text(titles, encoding="utf-8")
    own = ["--items", "books.tsv", "--user-column", "reader", "--item-column", "book", "--time-column", "day"]

    def tslrec(*words: str) -> Result:
        return CliRunner().invoke(main, [*words, "--threads", "1"] if words[0] != "similar" else list(words))

    with monkeypatch.context() as patch:
        patch.setattr(finding, "find_source", Mock(wraps=finding.find_source))
        refused = tslrec("run", "my loans.csv", *own, "--k-core", "1000")  # by the built-in configuration
        assert refused.exit_code == 1 and "lower --k-core" in refused.stderr
        finding.find_source.assert_called_once()
    assert tslrec("run", "my loans.csv", *own, "--data", "books.tsv").exit_code == 2
    assert tslrec("run", "my loans.csv", *own, "--k-core", "-1").exit_code == 2
    assert not list((tmp_path / "runs").rglob("config.json"))

    result = tslrec("run", "run.toml", "--data", "my loans.csv", *own, "-o", "my runs")
    assert result.exit_code == 0, result.output
    assert "60 users, 24 items, 840 interactions; 0 left out by the 2-core" in result.stderr
    following = [shlex.split(line)[1:] for line in result.stderr.splitlines() if line.strip().startswith("tslrec ")]
    assert [words[0] for words in following] == ["recommend", "similar"]
    best = max((tmp_path / "my runs" / "train").iterdir(),
               key=lambda path: read_json(path / "metrics.json")["validation_ndcg@10"])
    assert Path(following[0][2]).name == best.name
    for words in following:
        assert tslrec(*[word.replace("ITEM", "i3") for word in words]).exit_code == 0, words
    written = (tmp_path / "recommendations.csv").read_text(encoding="utf-8")
    assert written.startswith("user,history,rank,item,score,title\n")


def test_embed_writes_what_the_head_makes_of_the_states(cycle: Path, pretrained: Path, tuned: Path, tmp_path: Path
                                                        ) -> None:
    dataset, _ = load_dataset(cycle)
    embed_tuned(cycle, tuned, tmp_path / "e", EmbedConfig(engine="torch"), device=CPU, threads=1)
    loaded = [load_item_embeddings(tmp_path / "e", dataset, kind) for kind in ("states", "preferences", "both", "auto")]
    states, found, both, auto = (embeddings.known for embeddings in loaded)
    head = load_file(tuned / "head.safetensors")
    expected = torch.softmax(torch.from_numpy(states[1:]) @ head["weight"].T + head["bias"], dim=1)
    np.testing.assert_allclose(np.square(found[1:]), expected, atol=1e-5)
    assert found.dtype == np.float32 and not found[0].any() and loaded[0].hashes == loaded[1].hashes
    shares = category_neighbours(cycle, pretrained, tmp_path / "e")
    assert shares["preferences"] > shares["share"] > 0
    assert np.array_equal(both, auto)
    for block, part in ((both[1:, :64], states[1:]), (both[1:, 64:], found[1:])):
        assert np.abs(block.mean(axis=0)).max() < 1e-4
        assert np.square(block).sum(axis=1).mean() == pytest.approx(1, abs=1e-4)
        centred = part - part.mean(axis=0)
        np.testing.assert_allclose(block * np.sqrt(np.square(centred).sum(axis=1).mean()), centred, atol=1e-3)
    train(cycle, tmp_path / "t", TrainConfig(adapter="linear", width=8, max_len=8, epochs=1), device=CPU, threads=1,
          embeddings_path=tmp_path / "e")
    weights = load_file(tmp_path / "t" / "model.safetensors")
    assert weights["adapter.features.items"].shape == (N_ITEMS, 64 + 4)


def test_preferences_are_exported_and_compared(cycle: Path, tuned: Path, tmp_path: Path) -> None:
    def invoke(*words: object) -> Result:
        return CliRunner().invoke(main, [str(word) for word in words])

    dataset, _ = load_dataset(cycle)
    embed_tuned(cycle, tuned, tmp_path / "e", EmbedConfig(engine="torch"), device=CPU, threads=1)
    wanted = load_item_embeddings(tmp_path / "e", dataset, "preferences").known[1:]
    done = invoke("export", cycle, tmp_path / "e", "--vectors", "preferences", "-o", tmp_path / "p.npy")
    assert not done.exit_code and np.array_equal(np.load(tmp_path / "p.npy"), wanted), done.output
    done = invoke("similar", cycle, dataset.item_ids[3], "--embeddings", tmp_path / "e", "--vectors", "preferences",
                  "-k", 2, "--json")
    found = json.loads(done.output)[0]["similar"]
    assert found[0]["cosine"] == pytest.approx(np.delete(wanted @ wanted[3], 3).max(), abs=1e-5)
    train(cycle, tmp_path / "t", TrainConfig(width=8, max_len=8, epochs=1), device=CPU, threads=1)
    assert invoke("similar", cycle, dataset.item_ids[3], "--run", tmp_path / "t", "--vectors", "both").exit_code == 2
    done = invoke("export", cycle, tmp_path / "t", "--vectors", "both", "-o", tmp_path / "t.npy")
    assert done.exit_code == 1 and "is a trained recommender; --vectors both is for folders" in done.output


def test_preferences_are_refused_where_there_is_no_head(cycle: Path, llm: Path, tuned: Path, tmp_path: Path) -> None:
    dataset, _ = load_dataset(cycle)
    embed_base(cycle, str(llm), PromptTemplate(), tmp_path / "e", EmbedConfig(engine="torch"), device=CPU, threads=1)
    assert np.array_equal(*(load_item_embeddings(tmp_path / "e", dataset, kind).rows for kind in ("auto", "states")))
    with pytest.raises(TslrecError, match="has states alone.*--vectors states"):
        load_item_embeddings(tmp_path / "e", dataset, "both")
    np.save(tmp_path / "v.npy", np.eye(N_ITEMS, dtype=np.float32))
    (tmp_path / "v.ids.txt").write_text("".join(f"{item}\n" for item in dataset.item_ids))
    with pytest.raises(TslrecError, match="is a file of vectors; --vectors preferences is for folders"):
        train(cycle, tmp_path / "t", TrainConfig(adapter="linear", vectors="preferences"), device=CPU, threads=1,
              embeddings_path=tmp_path / "v.npy", embedding_ids=tmp_path / "v.ids.txt")
    shutil.copytree(tuned, tmp_path / "ft")
    (tmp_path / "ft" / "head.safetensors").write_bytes(b"no head")
    with pytest.raises(TslrecError, match="head.safetensors|hash|changed"):
        embed_tuned(cycle, tmp_path / "ft", tmp_path / "e2", EmbedConfig(), device=CPU, threads=1)
    assert not (tmp_path / "e2").exists()


def test_an_mse_head_gives_distributions_too() -> None:
    head = PreferenceHead(np.array([[1.0, 0], [0, 2], [-1, -1]]), np.array([0, 0.5, 0]), "mse")
    found = head.distributions(np.array([[0.3, 0.1], [-1, -1]], np.float32))
    np.testing.assert_allclose(found, [[0.3, 0.7, 0], [0, 0, 1]], atol=1e-6)
    np.testing.assert_allclose(np.square(head.vectors(np.zeros((1, 2), np.float32))), [[0, 1, 0]], atol=1e-6)


def test_cold_items_are_scaled_by_what_is_known() -> None:
    random = np.random.default_rng(0)
    states, preferences = (np.concatenate([np.zeros((1, 5)), random.normal(3, 2, (9, 5))]).astype(np.float32)
                           for _ in range(2))
    both = combined(states, preferences, 6)
    assert both.shape == (10, 10) and not both[0].any()
    known = combined(states[:7], preferences[:7], 6)
    np.testing.assert_allclose(both[:7], known, atol=1e-6)
    ratio = both[1:, :5].std(axis=0) / states[1:].std(axis=0)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
