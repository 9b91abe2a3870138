"""A tiny random llama model with a byte-level BPE tokenizer, as a folder of transformers."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM

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


def make_tiny_llm(folder: Path, *, tied: bool = True, seed: int = 0, tokenizer: Tokenizer | None = None,
                  **changes: object) -> Path:
    """Write the model; `changes` override its config. Weights are large enough for attention to matter."""
    tokenizer = tokenizer or make_tokenizer()
    settings: dict[str, object] = {
        "vocab_size": tokenizer.get_vocab_size(), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
        "initializer_range": 0.15, "tie_word_embeddings": tied, "bos_token_id": 1, "eos_token_id": 2,
        "pad_token_id": 2, **changes}
    torch.manual_seed(seed)
    network = LlamaForCausalLM(LlamaConfig(**settings))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
    network.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
