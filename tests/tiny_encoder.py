"""Tiny random encoders, as folders of transformers with the files of sentence-transformers, and their tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertModel, DistilBertModel, PreTrainedModel, RobertaModel

from tslrec_min.llm.gguf.bert import write_bert
from tslrec_min.llm.gguf.tokenizer import load_tokenizer, tokenizer_from_file
from tslrec_min.llm.model import load_encoder
from tslrec_min.llm.prompts import TokenPrompt

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TITLES = ["Crème brûlée torch", "ナイトクリーム 50ml", "口红 set", "Shampoo, 2-pack (new!)",
          "50% off: $9.99 + free gift~", "Lip gloss 💄✨", "ﬁne ﬂour İstanbul ẞ", "naïve café résumé", "a" * 99,
          "b" * 150, "x" * 100 + " short", "can't won't l'Oréal", "C++ & C#; <b>bold</b>", "tab\tand\nline",
          "Ünïcödé Ａ１ ①", "[SEP] and [CLS] in a title", "Ωmega Ж 한국어 العربية हिन्दी",
          "zero\u200bwidth soft\u00adhyphen", "—dash… “quoted” ™ ® ©", "the", "2 in 1", "", "   "]
"""Accents, CJK, punctuation, emoji, long words, special tokens written out, blank ones."""
ENCODERS: dict[str, tuple[type[PreTrainedModel], dict[str, object]]] = {
    "bert": (BertModel, {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 96}),
    "roberta": (RobertaModel, {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4,
                               "intermediate_size": 96, "pad_token_id": 0}),
    "distilbert": (DistilBertModel, {"n_layers": 2, "dim": 64, "n_heads": 4, "hidden_dim": 96}),
}


def make_wordpiece_tokenizer(*, lowercase: bool = True, also: Sequence[str] = ()) -> Tokenizer:
    """Make a tokenizer like BERT's, with whole words, parts of words and all letters of `TITLES` but a few.

    `also`: more texts to learn from.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        [*(title for title in TITLES if "हिन्दी" not in title and "[" not in title), *also],
        trainers.WordPieceTrainer(vocab_size=400, special_tokens=SPECIAL, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer


def make_tiny_encoder(folder: Path, *, kind: str = "bert", pooling: str | None = "mean", normalised: bool = True,
                      max_tokens: int | None = None, seed: int = 0, tokenizer: Tokenizer | None = None,
                      **changes: object) -> Path:
    """Write the model; `changes` override its config. Without `pooling` it has no files of sentence-transformers.

    Weights are large enough for attention to matter, and no norm or bias has the value that would hide it; matrices
    are float16 numbers, which GGUF files hold exactly.
    """
    tokenizer = tokenizer or make_wordpiece_tokenizer()
    network_class, own = ENCODERS[kind]
    torch.manual_seed(seed)
    network = network_class(network_class.config_class(**{
        "vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 128, "initializer_range": 0.15, **own,
        **changes}))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" in name.lower() and name.endswith("weight"):
                parameter.uniform_(0.5, 1.5)
            elif name.endswith("bias"):
                parameter.uniform_(-0.5, 0.5)
            else:
                parameter.copy_(parameter.half())
    network.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    if pooling:
        write_modules(folder, pooling, normalised=normalised, max_tokens=max_tokens)
    return folder


def write_modules(folder: Path, pooling: str, *, normalised: bool = True, max_tokens: int | None = None) -> None:
    """Write the files with which sentence-transformers describes a model."""
    names = {"mean": "mean_tokens", "cls": "cls_token", "last": "lasttoken"}
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] if normalised else [])]
    (folder / "modules.json").write_text(json.dumps(
        [{"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{name}"}
         for index, (path, name) in enumerate(modules)]))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(
        {"word_embedding_dimension": 64, **{f"pooling_mode_{name}": name == names.get(pooling, pooling)
                                            for name in {*names.values(), "max_tokens", "mean_sqrt_len_tokens"}}}))
    (folder / "sentence_bert_config.json").write_text(json.dumps(
        {"max_seq_length": max_tokens, "do_lower_case": False}))


def save_bert(folder: Path, path: Path, *, pooling: int = 1) -> Path:
    """Write a folder as a .gguf file with this number of a pooling."""
    write_bert(path, load_encoder(folder), tokenizer_from_file(str(folder / "tokenizer.json"))[1], pooling=pooling,
               name=folder.name)
    return path


def encoder_prompts(folder: Path) -> list[TokenPrompt]:
    """The titles, a few of them twice, in no order; a blank one is the special tokens alone."""
    return [TokenPrompt(tuple(ids[:100]), 0, len(ids[:100]))
            for ids in load_tokenizer(folder).encode_all([*TITLES, *TITLES[:3]])]


@torch.no_grad()
def expected_vectors(network: PreTrainedModel, prompts: list[TokenPrompt], pooling: str, normalised: bool
                     ) -> np.ndarray:
    """Pool the states of each text alone: the definition."""
    vectors = []
    for prompt in prompts:
        hidden = network(input_ids=torch.tensor([prompt.token_ids])).last_hidden_state[0]
        vector = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[pooling]
        vectors.append(vector / vector.norm() if normalised else vector)
    return torch.stack(vectors).numpy()
