"""What is written of a BERT, and what can't be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader, TokenType

from tslrec_min.errors import TslrecError
from tslrec_min.llm.gguf.bert import check_bert, write_bert
from tslrec_min.llm.gguf.tokenizer import tokenizer_from_file
from tslrec_min.llm.model import load_encoder

from ...tiny_encoder import make_tiny_encoder, save_bert


def test_names_types_and_metadata_are_those_of_llama_cpp(tmp_path: Path) -> None:
    folder = make_tiny_encoder(tmp_path / "bert", pooling="cls")
    reader = GGUFReader(save_bert(folder, tmp_path / "bert.gguf", pooling=2))
    stored = {tensor.name: tensor for tensor in reader.tensors}
    layer = [f"blk.{{}}.{name}" for name in ("attn_q", "attn_k", "attn_v", "attn_output", "attn_output_norm", "ffn_up",
                                             "ffn_down", "layer_output_norm")]
    assert stored.keys() == {"token_embd.weight", "position_embd.weight", "token_types.weight", *(
        f"{name.format(index)}.{part}" for name in (*layer, "token_embd_norm") for index in (0, 1)
        for part in ("weight", "bias"))}
    assert {tensor.tensor_type.name for name, tensor in stored.items()
            if "norm" in name or name.endswith("bias") or name.startswith(("position", "token_types"))} == {"F32"}
    assert stored["blk.1.ffn_down.weight"].tensor_type.name == stored["token_embd.weight"].tensor_type.name == "F16"
    state = load_encoder(folder).state_dict()
    for gguf, hf in (("blk.1.attn_v.weight", "encoder.layer.1.attention.self.value.weight"),
                     ("blk.0.layer_output_norm.bias", "encoder.layer.0.output.LayerNorm.bias"),
                     ("blk.1.attn_output_norm.weight", "encoder.layer.1.attention.output.LayerNorm.weight"),
                     ("position_embd.weight", "embeddings.position_embeddings.weight")):
        np.testing.assert_array_equal(stored[gguf].data.astype(np.float32), state[hf].numpy())
    values = {key: field.contents() for key, field in reader.fields.items()}
    expected = {
        "general.architecture": "bert", "bert.context_length": 128, "bert.embedding_length": 64, "bert.block_count": 2,
        "bert.feed_forward_length": 96, "bert.attention.head_count": 4, "bert.attention.causal": False,
        "bert.pooling_type": 2, "tokenizer.ggml.model": "bert", "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.bos_token_id": 2, "tokenizer.ggml.cls_token_id": 2, "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.padding_token_id": 0, "tokenizer.ggml.unknown_token_id": 1, "tokenizer.ggml.mask_token_id": 4}
    assert {key: values[key] for key in expected} == expected
    assert values["bert.attention.layer_norm_epsilon"] == np.float32(1e-12)


def test_pieces_are_marked_where_words_begin(tmp_path: Path) -> None:
    folder = make_tiny_encoder(tmp_path / "bert")
    reader = GGUFReader(save_bert(folder, tmp_path / "bert.gguf"))
    tokens, types = (reader.get_field(f"tokenizer.ggml.{key}").contents() for key in ("tokens", "token_type"))
    for piece, index in json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"].items():
        if index < 5:
            assert (tokens[index], types[index]) == (piece, TokenType.CONTROL)
        else:
            assert tokens[index] == (piece[2:] if piece.startswith("##") else "▁" + piece)
            assert types[index] == TokenType.NORMAL


def test_embeddings_without_a_token_are_unused(tmp_path: Path) -> None:
    folder = make_tiny_encoder(tmp_path / "bert", vocab_size=450)
    reader = GGUFReader(save_bert(folder, tmp_path / "bert.gguf"))
    tokens, types = (reader.get_field(f"tokenizer.ggml.{key}").contents() for key in ("tokens", "token_type"))
    assert len(tokens) == len(set(tokens)) == 450 and types[-1] == TokenType.UNUSED


@pytest.mark.parametrize(("changes", "message"), [
    ({"hidden_act": "relu"}, "hidden_act = 'relu', where llama.cpp computes 'gelu'; use --engine torch"),
    ({"kind": "roberta"}, "model_type = 'roberta', where llama.cpp computes 'bert'"),
    ({"vocab_size": 100}, "has the token .* the model has 100 embeddings"),
])
def test_models_that_llama_cpp_computes_otherwise_are_refused(tmp_path: Path, changes: dict[str, object], message: str
                                                              ) -> None:
    folder = make_tiny_encoder(tmp_path / "model", **changes)
    with pytest.raises(TslrecError, match=message):
        save_bert(folder, tmp_path / "bert.gguf")
    assert not (tmp_path / "bert.gguf").exists()


@pytest.mark.parametrize(("part", "value", "message"), [
    ("normalizer", None, "the tokenizer is .* where llama.cpp computes BERT's WordPiece"),
    ("normalizer", {"type": "BertNormalizer", "clean_text": False, "handle_chinese_chars": True, "lowercase": True,
                    "strip_accents": None}, "where llama.cpp computes BERT's WordPiece"),
    ("pre_tokenizer", {"type": "Whitespace"}, "where llama.cpp computes BERT's WordPiece"),
    ("model", {"type": "WordPiece", "continuing_subword_prefix": "@@", "vocab": {}}, "where llama.cpp computes BERT's"),
    ("model", {"type": "WordPiece", "continuing_subword_prefix": "##", "vocab": {"a": 0}}, None),
])
def test_other_tokenizers_are_refused(tmp_path: Path, part: str, value: object, message: str | None) -> None:
    folder = make_tiny_encoder(tmp_path / "model")
    _, description = tokenizer_from_file(str(folder / "tokenizer.json"))
    changed = description | {part: value} | ({} if message else {"added_tokens": []})
    with pytest.raises(TslrecError, match=message or r"lacks \[CLS\], \[UNK\], \[SEP\], \[PAD\], \[MASK\]"):
        write_bert(tmp_path / "bert.gguf", load_encoder(folder), changed, pooling=1, name="model")
    with pytest.raises(TslrecError, match=message or r"lacks \[CLS\]"):
        check_bert(load_encoder(folder), changed)


def test_weights_that_are_not_finite_or_missing_leave_no_file(tmp_path: Path) -> None:
    folder = make_tiny_encoder(tmp_path / "model")
    network = load_encoder(folder)
    _, description = tokenizer_from_file(str(folder / "tokenizer.json"))
    with torch.no_grad():
        network.encoder.layer[1].output.dense.weight[3, 4] = float("inf")
    with pytest.raises(TslrecError, match="encoder.layer.1.output.dense.weight has values that are not finite"):
        write_bert(tmp_path / "bert.gguf", network, description, pooling=1, name="model")
    network.encoder.extra = torch.nn.Linear(2, 2)
    with pytest.raises(TslrecError, match="lacks 0 tensors .* has 2 unknown ones .encoder.extra.bias"):
        write_bert(tmp_path / "bert.gguf", network, description, pooling=1, name="model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
