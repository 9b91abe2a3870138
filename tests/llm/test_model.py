"""Language models: folder and GGUF give the same model; what is damaged is refused in one line."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import pytest
import torch

from tslrec_min.errors import TslrecError
from tslrec_min.llm.gguf.writer import write_gguf
from tslrec_min.llm.model import last_hidden_states, load_language_model

from ..tiny_llm import ARCHITECTURES, make_tiny_llm, save_gguf


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_folder_and_gguf_give_the_same_states(tmp_path: Path, architecture: str) -> None:
    original = load_language_model(make_tiny_llm(tmp_path / "tiny", architecture=architecture))
    again = load_language_model(save_gguf(original, tmp_path / "model.gguf"))
    assert not original.network.training and not again.network.training
    assert again.network.config._attn_implementation == "sdpa"
    (ids, _), = original.tokenizer.encode_all_with_offsets(["A person liked these items: The Matrix (1999)"])
    tokens = torch.tensor([ids])
    states = [last_hidden_states(model.network, tokens, torch.ones_like(tokens)) for model in (original, again)]
    assert states[0].shape == (1, len(ids), 64)
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)  # gemma3 too: 1 + weight is the same


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gguf_in_bfloat16_keeps_its_buffers(tmp_path: Path, architecture: str) -> None:
    original = load_language_model(make_tiny_llm(tmp_path / "tiny", architecture=architecture))
    network = load_language_model(save_gguf(original, tmp_path / "model.gguf"), dtype=torch.bfloat16).network
    assert {parameter.dtype for parameter in network.parameters()} == {torch.bfloat16}
    assert network.lm_head.weight is network.model.embed_tokens.weight
    weight = original.network.model.layers[1].mlp.up_proj.weight
    torch.testing.assert_close(network.model.layers[1].mlp.up_proj.weight, weight.bfloat16(), rtol=0, atol=0)
    frequencies = {name: buffer for name, buffer in network.named_buffers() if "inv_freq" in name}
    assert frequencies
    for name, buffer in frequencies.items():
        torch.testing.assert_close(buffer, original.network.get_buffer(name), rtol=0, atol=0)  # float32


def test_weights_of_a_gguf_are_read_one_at_a_time(tmp_path: Path) -> None:
    """In bfloat16 the network itself is torch's: what NumPy holds beside it are tensors on their way."""
    path = save_gguf(load_language_model(make_tiny_llm(tmp_path / "big", hidden_size=256, intermediate_size=256,
                                                     num_hidden_layers=16)), tmp_path / "model.gguf")
    load_language_model(path)  # imports
    tracemalloc.start()
    try:
        network = load_language_model(path, dtype=torch.bfloat16).network
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    in_float32 = 4 * sum(parameter.numel() for parameter in network.parameters())
    assert peak < 0.4 * in_float32, (peak, in_float32)


def test_states_come_after_the_final_norm(folder: Path) -> None:
    network = load_language_model(folder).network
    tokens = torch.tensor([[5, 6, 7]])
    states = last_hidden_states(network, tokens, torch.ones_like(tokens))
    logits = network(tokens, attention_mask=torch.ones_like(tokens)).logits
    torch.testing.assert_close(network.lm_head(states), logits)


def test_padding_changes_nothing(folder: Path) -> None:
    network = load_language_model(folder).network
    tokens = torch.tensor([[5, 6, 7, 0, 0], [5, 6, 7, 8, 9]])
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    padded = last_hidden_states(network, tokens, mask)[0, :3]
    alone = last_hidden_states(network, tokens[:1, :3], mask[:1, :3])[0]
    torch.testing.assert_close(padded, alone, rtol=1e-5, atol=1e-5)


def test_dtype_is_followed(folder: Path) -> None:
    assert load_language_model(folder, dtype=torch.bfloat16).network.dtype == torch.bfloat16
    assert load_language_model(folder).network.dtype == torch.float32


def test_source_hash_depends_on_the_weights_alone(folder: Path, tmp_path: Path) -> None:
    first = load_language_model(folder).source.hash
    assert first == load_language_model(make_tiny_llm(tmp_path / "copy", max_position_embeddings=1024)).source.hash
    other = make_tiny_llm(tmp_path / "other", max_position_embeddings=1024, seed=1)
    assert first != load_language_model(other).source.hash


def test_damaged_gguf_is_one_line(folder: Path, tmp_path: Path) -> None:
    path = save_gguf(load_language_model(folder), tmp_path / "model.gguf")
    os.truncate(path, path.stat().st_size - 1000)
    with pytest.raises(TslrecError, match="damaged or cut off") as caught:
        load_language_model(path)
    assert len(str(caught.value).splitlines()) == 1


def test_gguf_whose_parts_do_not_fit_is_one_line(folder: Path, tmp_path: Path,
                                                 capfd: pytest.CaptureFixture[str]) -> None:
    model = load_language_model(folder)
    state = {key: value.numpy() for key, value in model.network.state_dict().items()}
    config, path = model.network.config.to_dict(), tmp_path / "model.gguf"
    tokens = model.metadata["tokenizer.ggml.tokens"]
    renamed = tokens._replace(value=[*tokens.value[:-1], "renamed"])  # the last merge makes a token that isn't there
    for changes, metadata in (({"intermediate_size": 128}, model.metadata),
                              ({"hidden_size": 66}, model.metadata),  # no multiple of the heads
                              ({}, {**model.metadata, "tokenizer.ggml.tokens": renamed})):
        write_gguf(path, state, {**config, **changes}, metadata)
        capfd.readouterr()
        with pytest.raises(TslrecError, match="configuration that doesn't fit|tokenizer is damaged") as caught:
            load_language_model(path)
        assert len(str(caught.value).splitlines()) == 1
        assert capfd.readouterr() == ("", "")


def test_damaged_folders_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TslrecError, match="can't be loaded .*get or save the model again"):
        load_language_model(folder)
    weights.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"a pickle, never read")
    with pytest.raises(TslrecError, match="no ..safetensors"):
        load_language_model(folder)
    weights.write_bytes(whole)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(TslrecError, match="can't be read as a tokenizer"):
        load_language_model(folder)


def test_a_token_far_beyond_the_others_is_refused_at_once(folder: Path) -> None:
    description = json.loads((folder / "tokenizer.json").read_text())
    description["model"]["vocab"]["!"] = 2**31
    (folder / "tokenizer.json").write_text(json.dumps(description))
    with pytest.raises(TslrecError, match="numbers a token 2147483648 and has"):
        load_language_model(folder)


def test_missing_weights_are_not_replaced_by_random_ones(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    del state["model.layers.0.mlp.up_proj.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TslrecError, match="lacks the weights model.layers.0.mlp.up_proj.weight"):
        load_language_model(folder)


def test_layers_without_weights_are_refused_before_they_are_made(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 10**9}))
    with pytest.raises(TslrecError, match="has 1000000000 layers, but it has [0-9]+ tensors"):
        load_language_model(folder)


def test_other_architectures_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    with pytest.raises(TslrecError, match="of type 'gpt2'; expected one of llama"):
        load_language_model(folder)
