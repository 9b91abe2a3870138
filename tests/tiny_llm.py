"""Tiny random models of every architecture, as folders of transformers, and tiny tokenizers of both kinds."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import Gemma3ForCausalLM, LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM
from transformers.convert_slow_tokenizer import generate_merges

from tslrec_min.llm.gguf.writer import write_gguf
from tslrec_min.llm.model import LanguageModel

SMOLLM = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                  pre_tokenizers.ByteLevel(add_prefix_space=False)])
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CORPUS = ["A person liked these items, oldest first:", "\n- The Matrix (1999)", "\n- Toy Story (1995)",
          "\nIn short, the items this person prefers are:", "The quick brown fox; Star Wars and Star Trek",
          "The Godfather, The Shining, The Thing"]


def make_tokenizer(pre_tokenizer: pre_tokenizers.PreTokenizer = SMOLLM, *, bos: bool = False,
                   eos: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    if bos or eos:
        pieces = [SPECIAL[1]] * bos + ["$A"] + [SPECIAL[2]] * eos
        tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join(pieces), special_tokens=[(SPECIAL[1], 1), (SPECIAL[2], 2)])
    return tokenizer


def make_sentencepiece_tokenizer(*, prefix: bool, user_defined: tuple[str, ...] = ()) -> Tokenizer:
    """Make a tokenizer like Llama 2's (`prefix`: a space is put before the text) or Gemma's, with a BOS.

    The pieces are trained; their merges are all that transformers' converter finds for them.
    """
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trained.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=200, show_progress=False))
    learned = sorted(trained.get_vocab(), key=trained.token_to_id)
    pieces = sorted(learned, key=lambda piece: len(piece) == 1)  # letters come last, as in SentencePiece
    before = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *user_defined]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys([*before, *pieces]))}
    merges = generate_merges(vocabulary, {token: -float(rank) for rank, token in enumerate([*user_defined, *pieces])})
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    replace = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if prefix else replace
    if not prefix:
        tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in before[:3]])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in user_defined])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           *([decoders.Strip(" ", 1, 0)] if prefix else [])])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 16.0, "original_max_position_embeddings": 256}  # 3 of 8 frequencies lie between
GEMMA3 = {"num_hidden_layers": 7, "sliding_window": 24, "head_dim": 32, "query_pre_attn_scalar": 32}
ARCHITECTURES: dict[str, tuple[type, dict[str, object]]] = {  # layer 5 of gemma3 sees all tokens, the others 24
    "llama": (LlamaForCausalLM, {}),
    "llama3": (LlamaForCausalLM, {"rope_parameters": LLAMA3_ROPE}),
    "qwen2": (Qwen2ForCausalLM, {}),
    "qwen3": (Qwen3ForCausalLM, {"head_dim": 32}),
    "gemma3": (Gemma3ForCausalLM, GEMMA3),
}


def make_tiny_llm(folder: Path, *, architecture: str = "llama", tied: bool = True, seed: int = 0,
                  tokenizer: Tokenizer | None = None, **changes: object) -> Path:
    """Write the model; `changes` override its config. Weights are large enough for attention to matter, and no norm
    or bias has the value that would hide it. GGUF files hold them exactly: matrices are float16 numbers.
    """
    tokenizer = tokenizer or make_tokenizer()
    network_class, own = ARCHITECTURES[architecture]
    settings: dict[str, object] = {
        "vocab_size": tokenizer.get_vocab_size(), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
        "initializer_range": 0.15, "tie_word_embeddings": tied, "bos_token_id": 1, "eos_token_id": 2,
        "pad_token_id": 2, **own, **changes}
    torch.manual_seed(seed)
    network = network_class(network_class.config_class(**settings))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" in name:
                parameter.uniform_(-0.5, 0.5).add_(0 if architecture == "gemma3" else 1)
            elif name.endswith("bias"):
                parameter.uniform_(-0.5, 0.5)
            else:
                parameter.copy_(parameter.half())
    network.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def save_gguf(model: LanguageModel, path: Path, **changes: object) -> Path:
    """Write a model as a GGUF file; `changes` override what it says of its config."""
    write_gguf(path, model.network, {**model.network.config.to_dict(), **changes}, model.metadata)
    return path
