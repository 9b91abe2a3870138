"""A small random language model, so that the benchmark needs no download: a llama with a tokenizer of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_VOCABULARY = 400


def write_tiny_model(folder: Path, texts: Sequence[str], seed: int) -> Path:
    """Write a model as transformers stores it; its weights are random, large enough for attention to matter.

    Args:
        folder: of the model, created here.
        texts: training texts of the tokenizer, byte-level BPE like SmolLM2's.
        seed: of the weights.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM

    from ..llm.model import quiet_transformers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=_VOCABULARY, special_tokens=list(_SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False))
    torch.manual_seed(seed)
    network = LlamaForCausalLM(LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=128, intermediate_size=256, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024, rms_norm_eps=1e-5,
        initializer_range=0.1, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=2))
    with quiet_transformers():
        network.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
