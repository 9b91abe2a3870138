"""What encoders read of items, and the artifact that comes of it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from tslrec_min.configs import EmbedConfig, PrepareConfig
from tslrec_min.data.dataset import load_dataset
from tslrec_min.data.prepare import prepare
from tslrec_min.embedding.embed import embed_tuned
from tslrec_min.embedding.reading import PromptReading, TitleReading
from tslrec_min.embedding.store import Part
from tslrec_min.errors import TslrecError
from tslrec_min.finetuning.artifact import open_tuned
from tslrec_min.item_vectors.load import load_item_embeddings
from tslrec_min.llm.encoders import encoder_of
from tslrec_min.llm.resolve import resolve_model
from tslrec_min.storage.artifacts import read_json

from ..factories import N_ITEMS, write_cycle
from ..tiny_encoder import TITLES, make_tiny_encoder
from .factories import embed, files

TORCH = EmbedConfig(engine="torch", shard_size=5)


@pytest.fixture(scope="module")
def titled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with titles of every kind, two of them blank, and one twice."""
    folder = write_cycle(tmp_path_factory.mktemp("titled"))
    titles = [" ".join(title.split()) for title in TITLES]
    titles += [titles[0]] * (N_ITEMS - len(titles))
    rows = [f"i{item}\t{title}" for item, title in enumerate(titles)]
    (folder / "items.tsv").write_text("item_id\ttitle\n" + "\n".join(rows) + "\n", encoding="utf-8")
    prepare(folder, folder / "dataset", PrepareConfig(k_core=2, missing_titles="blank"))
    return folder / "dataset"


def reading(folder: Path, prefix: str = "", **changes: object) -> TitleReading:
    model = resolve_model(folder)
    encoder = encoder_of(model)
    assert encoder is not None
    return TitleReading(replace(encoder, **changes), prefix, model)


def test_long_titles_are_cut_before_the_last_token(tmp_path: Path) -> None:
    folder = make_tiny_encoder(tmp_path)
    whole, short = reading(folder), reading(folder, max_tokens=5)
    texts = ["the the the", "the the the the", "gift"]
    prompts = [prompt.token_ids for prompt in short.tokenize(texts)]
    assert prompts[0] == whole.tokenize(texts)[0].token_ids and len(prompts[0]) == 5  # just fits
    assert prompts[1] == prompts[0]
    assert {ids[0] for ids in prompts} == {2} and {ids[-1] for ids in prompts} == {3}  # [CLS] and [SEP]
    assert all((prompt.pool_start, prompt.pool_stop) == (0, len(prompt.token_ids)) for prompt in short.tokenize(texts))
    assert short.counts(texts) == {"titles_cut": 1, "untitled": 0}


def test_blank_titles_and_the_prefix(titled: Path, tmp_path: Path) -> None:
    dataset, _ = load_dataset(titled)
    plain, asked = (reading(make_tiny_encoder(tmp_path / "x"), prefix) for prefix in ("", "query: "))
    assert plain.texts(dataset).count("(untitled)") == 2 == plain.counts(plain.texts(dataset))["untitled"]
    assert asked.texts(dataset) == [f"query: {text}" for text in plain.texts(dataset)]
    assert asked.counts(asked.texts(dataset))["untitled"] == 2
    assert asked.described()["encoder"]["prefix"] == "query: "


def test_a_special_token_in_a_title_is_text(tmp_path: Path) -> None:
    inside = reading(make_tiny_encoder(tmp_path)).tokenize(["[SEP] and [CLS]"])[0].token_ids[1:-1]
    assert not {2, 3} & set(inside)


def test_the_artifact_says_how_it_was_made(titled: Path, tmp_path: Path) -> None:
    folder = make_tiny_encoder(tmp_path / "encoder", max_tokens=8)
    assert embed(titled, folder, tmp_path / "e", TORCH) == 0
    about = read_json(tmp_path / "e" / "embed.json")
    assert about["encoder"] == {"architecture": "bert", "pooling": "mean", "normalised": True, "max_tokens": 8,
                                "causal": False, "prefix": ""}
    titles, tokenizer = load_dataset(titled)[0].titles, Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    lengths = [len(tokenizer.encode(title or "(untitled)").ids) for title in titles]
    assert about["engine"] == "torch" and about["untitled"] == 2
    assert about["titles_cut"] == sum(length > 8 for length in lengths) > 0
    assert about["different_prompts"] == len(set(titles)) < about["items"]
    assert "template" not in about
    found = load_item_embeddings(tmp_path / "e", load_dataset(titled)[0]).known
    np.testing.assert_allclose(np.linalg.norm(found[1:], axis=1), 1, atol=1e-6)
    prefixed = replace(TORCH, prefix="query: ")
    embed(titled, folder, tmp_path / "p", prefixed)
    assert read_json(tmp_path / "p" / "embed.json")["encoder"]["prefix"] == "query: "
    assert not np.allclose(np.load(tmp_path / "p" / "item_embeddings.npy")[1:], found[1:], atol=0.01)


def test_parts_make_the_whole_and_known_titles_are_kept(titled: Path, tmp_path: Path) -> None:
    folder = make_tiny_encoder(tmp_path / "encoder")
    embed(titled, folder, tmp_path / "e", TORCH)
    assert embed(titled, folder, tmp_path / "parts", TORCH, part=Part(1, 2)) > 0
    assert embed(titled, folder, tmp_path / "parts", TORCH, part=Part(0, 2)) == 0
    assert files(tmp_path / "parts") == files(tmp_path / "e")
    embed(titled, folder, tmp_path / "again", TORCH, append_to=tmp_path / "e")
    about = read_json(tmp_path / "again" / "embed.json")
    assert (about["kept"], about["computed"]) == (N_ITEMS, 0)
    with pytest.raises(TslrecError, match="was embedded with other settings .*prefix '', now 'query: '"):
        embed(titled, folder, tmp_path / "p", replace(TORCH, prefix="query: "), append_to=tmp_path / "e")
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls"}))
    with pytest.raises(TslrecError, match="was embedded with other settings .*pooling 'mean', now 'cls'"):
        embed(titled, folder, tmp_path / "p", TORCH, append_to=tmp_path / "e")


def test_a_fine_tuned_encoder_reads_an_item_as_the_base_does(titled: Path, tuned_encoder: Path) -> None:
    tuned, (dataset, _) = open_tuned(tuned_encoder), load_dataset(titled)
    ours, base = PromptReading(tuned.template, tuned.tokenizer_model), reading(Path(tuned.config.model))
    assert ours.tokenize(ours.texts(dataset)) == base.tokenize(base.texts(dataset))
    assert ours.counts(ours.texts(dataset)) == {"titles_cut": 0}
    assert ours.described()["encoder"] == asdict(base.encoder) | {"max_title_tokens": 48, "text": "title",
                                                                  "fields": ()}


def test_a_prefix_is_for_encoders_only(cycle: Path, llm: Path, tuned: Path, tmp_path: Path) -> None:
    with pytest.raises(TslrecError, match="--prefix 'query: ' is only for encoders, .*a decoder, reads a prompt"):
        embed(cycle, llm, tmp_path / "e", replace(TORCH, prefix="query: "))
    with pytest.raises(TslrecError, match="a fine-tuned model reads what it was tuned with: leave the prefix out"):
        embed_tuned(cycle, tuned, tmp_path / "e", replace(TORCH, prefix="query: "), device="cpu", threads=1)
    assert not (tmp_path / "e").exists()
