"""What quantisations cost and keep: the report on a tiny random language model, fine-tuned by the real stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from tslrec_min.categories.pretrain import pretrain
from tslrec_min.cli import main
from tslrec_min.configs import QUANTS, EmbedConfig, FinetuneConfig, PretrainConfig, TrainConfig
from tslrec_min.embedding.embed import embed_tuned
from tslrec_min.errors import TslrecError
from tslrec_min.finetuning.finetune import finetune
from tslrec_min.finetuning.quant_report import report_quantisations
from tslrec_min.recommenders.train import train
from tslrec_min.storage.artifacts import read_json

from ..factories import N_ITEMS
from ..tiny_llm import make_tiny_llm

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tuned(cycle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quants")
    llm = make_tiny_llm(folder / "llm", hidden_size=256, intermediate_size=256)  # a block of k-quants is 256 wide
    pretrain(cycle, folder / "pretrain", PretrainConfig(categories=4, width=16, blocks=1, max_len=8, epochs=1),
             device=CPU, threads=1)
    finetune(cycle, folder / "pretrain", folder / "finetune",
             FinetuneConfig(model=str(llm), max_history=4, users=8, parity_prompts=8), device=CPU, threads=1)
    return folder / "finetune"


def report(*words: object) -> Result:
    return CliRunner().invoke(main, ["gguf", "report", *map(str, words), "--threads", "1"])


def test_coarser_quantisations_are_smaller_and_further_away(cycle: Path, tuned: Path) -> None:
    before = sorted(tuned.rglob("*"))
    result = report(cycle, tuned, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["items"] == found["embedded_items"] == N_ITEMS and found["reference"]["items_per_second"] > 0
    quants = found["quants"]
    assert tuple(quants) == tuple(QUANTS) and all(values["items_per_second"] > 0 for values in quants.values())
    sizes = [quants[name]["size_mib"] for name in QUANTS if name != "BF16"]
    assert sizes == sorted(set(sizes), reverse=True)
    assert quants["F16"]["size_mib"] == (tuned / "model-f16.gguf").stat().st_size / 2**20
    assert quants["F16"]["size_mib"] == pytest.approx(quants["BF16"]["size_mib"], rel=0.01)
    assert quants["F16"]["mean_cosine"] > 0.999 and quants["F16"]["neighbour_overlap_10"] > 0.95
    for finer, coarser in (("F16", "Q8_0"), ("Q8_0", "Q6_K"), ("Q6_K", "Q4_K_M"), ("Q6_K", "Q4_0")):
        assert quants[finer]["mean_cosine"] > quants[coarser]["mean_cosine"], (finer, coarser)
    assert all(values["min_cosine"] <= values["mean_cosine"] for values in quants.values())
    assert sorted(tuned.rglob("*")) == before


def test_downstream_is_what_embed_and_train_would_give(cycle: Path, tuned: Path, tmp_path: Path) -> None:
    result = report(cycle, tuned, "--quants", "Q8_0, Q4_0", "--items", 10, "--downstream", "--width", 16, "--epochs", 2,
                    "--seeds", "0,5", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["items"] == 10 and found["embedded_items"] == N_ITEMS and list(found["quants"]) == ["Q8_0", "Q4_0"]
    alone = json.loads(report(cycle, tuned, "--quants", "Q4_0", "--items", 10, "--json").stdout)
    for name in ("mean_cosine", "min_cosine"):  # of the same items, computed beside others
        assert found["quants"]["Q4_0"][name] == pytest.approx(alone["quants"]["Q4_0"][name], abs=1e-3), name
    for engine, values in (("torch", found["reference"]), ("llama", found["quants"]["Q8_0"])):
        ndcg = values["validation_ndcg@10"]
        assert ndcg["mean"] == pytest.approx(sum(ndcg["runs"]) / 2) and ndcg["runs"][0] != ndcg["runs"][1]
        embed_tuned(cycle, tuned, tmp_path / engine, EmbedConfig(engine=engine), device=CPU, threads=1)
        config = TrainConfig(adapter="init", width=16, epochs=2, seed=5)
        train(cycle, tmp_path / f"{engine}-train", config, embeddings_path=tmp_path / engine, device=CPU, threads=1)
        metrics = read_json(tmp_path / f"{engine}-train" / "metrics.json")
        assert ndcg["runs"][1] == pytest.approx(metrics["validation_ndcg@10"], abs=1e-6)


def test_the_report_is_of_encoders_too(cycle: Path, tuned_encoder: Path) -> None:
    result = report(cycle, tuned_encoder, "--quants", "F16,Q8_0", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["quants"]
    assert 0.999 < found["Q8_0"]["mean_cosine"] < found["F16"]["mean_cosine"]
    assert 0 < found["Q8_0"]["size_mib"] < found["F16"]["size_mib"]


def test_the_table_has_a_row_for_every_model(cycle: Path, tuned: Path) -> None:
    result = report(cycle, tuned, "--quants", "Q4_0,F16", "--items", 5)
    assert result.exit_code == 0, result.output
    head, columns, _, *rows = result.stdout.splitlines()
    assert "5 items" in head and "same 10 neighbours" in columns and "NDCG" not in columns
    assert [row.split()[0] for row in rows] == ["float32,", "Q4_0", "F16"]


def test_mistakes_are_named(cycle: Path, tuned: Path, tmp_path: Path) -> None:
    for words, code, text in (((cycle, tuned, "--quants", "Q8_0,Q9"), 2, "'Q9' is not one of 'F16', 'BF16'"),
                              ((cycle, tuned, "--quants", ""), 2, "--quants"),
                              ((cycle, tuned, "--seeds", "0,x"), 2, "--seeds"),
                              ((cycle, tuned, "--items", 1), 2, "--items"),
                              ((cycle, tuned, "--downstream"), 1, "--width 64 is more than the 23 principal"),
                              ((cycle, tmp_path / "nothing"), 1, "does not exist")):
        result = report(*words)
        assert result.exit_code == code and text in result.stderr, (words, result.output)
    with pytest.raises(TslrecError, match="are Q9; expected some of F16, BF16"):
        report_quantisations(cycle, tuned, ["Q9"], items=5, device=CPU, threads=1)
