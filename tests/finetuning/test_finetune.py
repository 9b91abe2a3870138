"""The stage finetune on a tiny random language model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tslrec_min.configs import EmbedConfig
from tslrec_min.embedding.embed import embed_tuned
from tslrec_min.errors import TslrecError
from tslrec_min.finetuning.finetune import finetune
from tslrec_min.storage.artifacts import read_json

from ..factories import config_for
from ..tiny_encoder import make_tiny_encoder
from ..tiny_llm import make_tiny_llm

CPU = torch.device("cpu")


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


def test_prompts_longer_than_the_context_are_refused_before_training(cycle: Path, pretrained: Path, tmp_path: Path
                                                                     ) -> None:
    short = make_tiny_llm(tmp_path / "llm", max_position_embeddings=64)
    with pytest.raises(TslrecError, match="lower --max-history"):
        finetune(cycle, pretrained, tmp_path / "ft", config_for(short), device=CPU, threads=1)


def test_an_encoder_is_fine_tuned_as_a_decoder_is(tuned_encoder: Path, encoder: Path) -> None:
    files = sorted(str(file.relative_to(tuned_encoder)) for file in tuned_encoder.rglob("*") if file.is_file())
    assert files == ["adapter/adapter_config.json", "adapter/adapter_model.safetensors", "config.json",
                     "encoder.json", "head.safetensors", "metrics.json", "model-Q8_0.gguf", "model-f16.gguf",
                     "parity.json", "tokenizer.json"]
    metrics, parity = (read_json(tuned_encoder / name) for name in ("metrics.json", "parity.json"))
    assert metrics["improvement"] > 0.2 and metrics["held_out_users"] == 6 and metrics["training_users"] == 54
    assert parity["passed"] and parity["comparisons"]["merged"]["min_cosine"] > 0.9999
    assert parity["comparisons"]["F16"]["min_cosine"] > 0.9999
    assert load_file(tuned_encoder / "head.safetensors")["weight"].shape == (4, 64)
    assert (tuned_encoder / "tokenizer.json").read_bytes() == (encoder / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("changes", [
    {"level": "instance", "users": 12, "loss": "ce", "quant": "F16"},
    {"window": "random", "users": 16, "text": "id", "max_title_tokens": 9, "virtual_users": 0.5, "lora_dropout": 0.1}])
def test_options_of_samples_are_those_of_decoders(cycle: Path, pretrained: Path, encoder: Path, tmp_path: Path,
                                                  changes: dict[str, object]) -> None:
    finetune(cycle, pretrained, tmp_path / "ft", config_for(encoder, **changes), device=CPU, threads=1)
    metrics = read_json(tmp_path / "ft" / "metrics.json")
    assert metrics["training_users"] == changes["users"]
    assert metrics.get("held_out_instance_loss", metrics["best"]) < (
        np.log(4) if metrics["level"] == "instance" else metrics["baseline"])
    embed_tuned(cycle, tmp_path / "ft", tmp_path / "e", EmbedConfig(), device=CPU, threads=1)
    about = read_json(tmp_path / "e" / "embed.json")["encoder"]
    assert (about["text"], about["max_title_tokens"]) == (changes.get("text", "title"),
                                                          changes.get("max_title_tokens", 48))


def test_what_does_not_apply_to_an_encoder_is_refused_first(cycle: Path, pretrained: Path, encoder: Path,
                                                            tmp_path: Path) -> None:
    for changes, message in (
            ({"pooling": "last", "prompt_suffix": " So:"},
             r"is an encoder, which reads titles without a prompt .*\(mean\); leave out prompt_suffix = ' So:'"),
            ({"lora_layers": 3}, "--lora-layers is 3, the model has 2 layers"),
            ({"text_fields": "year"}, "--text title with the columns year")):
        with pytest.raises(TslrecError, match=message):
            finetune(cycle, pretrained, tmp_path / "ft", config_for(encoder, **changes), device=CPU, threads=1)
    assert not list(tmp_path.iterdir())


def test_an_encoder_that_llama_cpp_cannot_compute_is_refused_first(cycle: Path, pretrained: Path, tmp_path: Path
                                                                   ) -> None:
    folder = make_tiny_encoder(tmp_path / "encoder", hidden_act="relu")
    with pytest.raises(TslrecError, match="hidden_act = 'relu', where llama.cpp computes 'gelu'"):
        finetune(cycle, pretrained, tmp_path / "ft", config_for(folder), device=CPU, threads=1)
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]
