"""Item vectors from the words of titles, compared with scikit-learn where it is installed."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import tslrec_min
from tslrec_min.cli import main
from tslrec_min.configs import EmbedConfig
from tslrec_min.data.dataset import Dataset, load_dataset
from tslrec_min.data.item_table import load_item_table
from tslrec_min.embedding.embed import embed_base
from tslrec_min.embedding.store import Part
from tslrec_min.embedding.tfidf import Weights, embed_tfidf, words_of
from tslrec_min.embedding.truncated_svd import right_singular_vectors
from tslrec_min.errors import TslrecError
from tslrec_min.item_vectors.load import load_item_embeddings
from tslrec_min.llm.prompts import PromptTemplate
from tslrec_min.storage.artifacts import Recipe, open_artifact, read_json, write_artifact
from tslrec_min.storage.existing import Existing

from ..factories import N_ITEMS
from .factories import files

CONFIG = EmbedConfig()


def embed(dataset: Path, out: Path, width: int | None = None, config: EmbedConfig = CONFIG, **options: object) -> int:
    return embed_tfidf(dataset, out, config, width, **options)


def with_titles(dataset: Path, titles: dict[int, str], out: Path, cold_titles: list[str] | None = None) -> Dataset:
    """Write a copy of a data set in which items, by index, have other titles."""
    stored, _ = load_dataset(dataset)
    stored = replace(stored, titles=[titles.get(index, title) for index, title in enumerate(stored.titles)])
    if stored.cold and cold_titles:
        stored = replace(stored, cold=replace(stored.cold, titles=cold_titles))
    with write_artifact(out, Recipe("dataset", {}, {})) as folder:
        stored.save(folder)
    return stored


def weights_of(titles: list[str]) -> np.ndarray:
    """Dense weights, by the formula of the module's docstring, title by title."""
    words = sorted({word for title in titles for word in words_of(title)})
    df = {word: sum(word in words_of(title) for title in titles) for word in words}
    rows = np.zeros((len(titles), len(words)))
    for row, title in zip(rows, titles, strict=True):
        for word in set(words_of(title)):
            tf = words_of(title).count(word)
            row[words.index(word)] = (1 + np.log(tf)) * (1 + np.log((1 + len(titles)) / (1 + df[word])))
        row /= np.linalg.norm(row) or 1
    return rows


@pytest.mark.parametrize(("title", "words"), [
    ("Toy Story (1995)", ["toy", "story", "1995"]), ("Se7en: the_end!", ["se7en", "the_end"]), ("M", ["m"]),
    ("AME\u0301LIE Amélie", ["amélie", "amélie"]),  # composed and decomposed letters are the same
    ("ﬁlm ＡＢＣ", ["film", "abc"]), ("千と千尋の神隠し 2", ["千と千尋の神隠し", "2"]), ("?! – ...", []), ("", [])])
def test_words_are_runs_of_letters_digits_and_underscores(title: str, words: list[str]) -> None:
    assert words_of(title) == words


def test_weights_are_those_of_the_formula() -> None:
    titles = ["a b", "a a a c", "", "b C? c d", "a"]
    weights = Weights.learned(titles)
    assert list(weights.vocabulary) == ["a", "b", "c", "d"]
    rows = weights.of(titles).times(_identity(4))
    np.testing.assert_allclose(rows, weights_of(titles), atol=1e-6)
    assert not weights.of(["unknown words"]).times(_identity(4)).any()


def _identity(width: int) -> object:
    import torch

    return torch.eye(width)


def test_item_vectors_have_the_inner_products_of_the_weights(cycle: Path, tmp_path: Path) -> None:
    dataset = with_titles(cycle, {0: "one two two", 1: " ?", 2: "Two three"}, tmp_path / "dataset")
    embed(tmp_path / "dataset", tmp_path / "embed")
    vectors = load_item_embeddings(tmp_path / "embed", dataset).rows
    weights = weights_of(list(dataset.titles))
    np.testing.assert_allclose(vectors[1:] @ vectors[1:].T, weights @ weights.T, atol=1e-4)  # all of the rank is kept
    assert not vectors[2].any() and not vectors[0].any()
    described = read_json(tmp_path / "embed" / "embed.json")
    assert described["model"] == "tfidf" and described["without_words"] == 1
    assert described["share_of_squares"] == pytest.approx(1, abs=1e-4)
    assert described["tokens"] == sum(len(words_of(title)) for title in dataset.titles)


def test_a_small_width_keeps_the_largest_components(cycle: Path, tmp_path: Path) -> None:
    dataset = with_titles(cycle, {index: f"word{index % 5} word{index % 3} and more" for index in range(N_ITEMS)},
                          tmp_path / "dataset")
    embed(tmp_path / "dataset", tmp_path / "embed", 3)
    vectors = load_item_embeddings(tmp_path / "embed", dataset).rows[1:]
    left, singular, _ = np.linalg.svd(weights_of(list(dataset.titles)), full_matrices=False)
    best = left[:, :3] * singular[:3]
    np.testing.assert_allclose(vectors @ vectors.T, best @ best.T, atol=1e-3)
    described = read_json(tmp_path / "embed" / "embed.json")
    assert described["width"] == 3
    assert described["share_of_squares"] == pytest.approx((singular[:3] ** 2).sum() / (singular**2).sum(), rel=1e-3)


def test_cold_titles_are_embedded_by_what_the_others_taught(cold: Path, tmp_path: Path) -> None:
    titles = ["new words only", "item", "", "Item item", "another one"]
    before = with_titles(cold, {index: f"item number {index}" for index in range(99)}, tmp_path / "dataset", titles)
    after = with_titles(cold, {index: f"item number {index}" for index in range(99)}, tmp_path / "other",
                        ["quite", "different"] * 2 + ["titles"])
    for name in ("dataset", "other"):
        embed(tmp_path / name, tmp_path / f"embed-{name}")
    rows = load_item_embeddings(tmp_path / "embed-dataset", before)
    assert np.array_equal(rows.known, load_item_embeddings(tmp_path / "embed-other", after).known)
    assert rows.n_cold == 5 and not rows.cold[[0, 2, 4]].any() and rows.cold[1].any()
    np.testing.assert_allclose(rows.cold[1], rows.cold[3], atol=1e-6)  # one word, whatever its number
    assert read_json(tmp_path / "embed-dataset" / "embed.json")["without_words"] == 3


def test_the_same_titles_give_the_same_bytes_and_are_reused(cycle: Path, tmp_path: Path) -> None:
    assert embed(cycle, tmp_path / "a", 8) == embed(cycle, tmp_path / "b", 8) == 0
    assert files(tmp_path / "a") == files(tmp_path / "b")
    record = read_json(tmp_path / "a" / "config.json")
    embed(cycle, tmp_path / "a", 8, existing=Existing.REUSE)
    assert read_json(tmp_path / "a" / "config.json") == record
    with pytest.raises(TslrecError, match="already exists"):
        embed(cycle, tmp_path / "a", 8)
    embed(cycle, tmp_path / "a", 4, existing=Existing.OVERWRITE)
    assert open_artifact(tmp_path / "a", "embed").config == {"model": "tfidf", "tfidf_width": 4}


def test_titles_without_words_are_refused(cycle: Path, tmp_path: Path) -> None:
    with_titles(cycle, dict.fromkeys(range(N_ITEMS), "?"), tmp_path / "dataset")
    with pytest.raises(TslrecError, match=f"none of the {N_ITEMS} titles has a word"):
        embed(tmp_path / "dataset", tmp_path / "embed")
    assert not (tmp_path / "embed").exists()


@pytest.mark.parametrize(("options", "named"), [
    ({"config": EmbedConfig(engine="torch", shard_size=3)}, "--engine torch, --shard-size 3"),
    ({"append_to": Path("older")}, "--append-to older"), ({"part": Part(1, 3)}, "--shard 2/3"),
    ({"width": 0}, "width of tfidf is 0")])
def test_options_of_language_models_are_refused(cycle: Path, tmp_path: Path, options: dict, named: str) -> None:
    with pytest.raises(TslrecError, match=named):
        embed(cycle, tmp_path / "embed", **options)


def test_embeddings_of_a_language_model_are_not_appended_to_them(cycle: Path, gguf: Path, tmp_path: Path) -> None:
    embed(cycle, tmp_path / "embed")
    with pytest.raises(TslrecError, match="embedded with other settings .*engine None, now 'llama'"):
        embed_base(cycle, str(gguf), PromptTemplate(), tmp_path / "more", CONFIG, device="cpu", threads=1,
                   append_to=tmp_path / "embed")


def test_the_command_and_the_function_write_it(cycle: Path, tmp_path: Path) -> None:
    command = ["embed", str(cycle), "--model", "tfidf", "-o", str(tmp_path / "a"), "--tfidf-width", "5"]
    said = CliRunner().invoke(main, command, catch_exceptions=False).stdout
    assert f"{N_ITEMS} items x 5, " in said and "0 items without a known word" in said
    again = CliRunner().invoke(main, [*command, "--overwrite", "--json"], catch_exceptions=False).stdout
    assert json.loads(again) == read_json(tmp_path / "a" / "embed.json")
    embeddings = tslrec_min.embed(cycle, tmp_path / "b", model="tfidf", tfidf_width=5)
    assert np.array_equal(embeddings.vectors, np.load(tmp_path / "a" / "item_embeddings.npy")[1:])
    refused = CliRunner().invoke(main, ["embed", str(cycle), "--model", "other", "--tfidf-width", "5", "-o", "c"])
    assert refused.exit_code == 2 and "--tfidf-width is only used with --model tfidf" in refused.stderr
    with pytest.raises(ValueError, match="expected 'tfidf'"):
        tslrec_min.embed(cycle, tmp_path / "c", model="other", tfidf_width=5)


def test_real_titles_get_the_weights_and_the_subspace_of_scikit_learn(real_data: Path) -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    reduction = pytest.importorskip("sklearn.decomposition")
    titles = load_item_table(real_data / "amazon-beauty" / "items.tsv")[1]
    vectorizer = text.TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+",
                                      preprocessor=lambda title: unicodedata.normalize("NFKC", title).lower())
    theirs = vectorizer.fit_transform(titles).sorted_indices()
    weights = Weights.learned(titles)
    ours = weights.of(titles)
    assert list(weights.vocabulary) == vectorizer.get_feature_names_out().tolist()
    assert np.array_equal(ours.indptr, theirs.indptr) and np.array_equal(ours.columns, theirs.indices)
    np.testing.assert_allclose(ours.values, theirs.data, atol=1e-6)
    width = 48
    values, vectors = right_singular_vectors(ours, width)
    exact = reduction.TruncatedSVD(width, algorithm="arpack", random_state=0).fit(theirs)
    np.testing.assert_allclose(values, exact.singular_values_, rtol=1e-6)
    cosines = np.linalg.svd(vectors.numpy().T.astype(np.float64) @ exact.components_.T, compute_uv=False)
    assert cosines.min() > 1 - 1e-4  # of the principal angles
