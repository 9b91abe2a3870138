"""Item vectors: export and import in every format, alignment by id, and neighbours by cosine."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

import tslrec_min
from tslrec_min.cli import main
from tslrec_min.configs import VECTOR_FORMATS, TrainConfig
from tslrec_min.data.dataset import Dataset, load_dataset
from tslrec_min.errors import TslrecError
from tslrec_min.item_vectors.artifact import write_embeddings
from tslrec_min.item_vectors.formats import read_vectors, write_vectors
from tslrec_min.item_vectors.load import load_item_embeddings
from tslrec_min.ranking import neighbours
from tslrec_min.ranking.neighbours import nearest
from tslrec_min.recommenders.artifact import load_item_table
from tslrec_min.recommenders.train import train
from tslrec_min.storage.artifacts import Recipe, open_artifact, sha256_of_file, write_artifact

CPU = torch.device("cpu")
SMALL = {"width": 8, "blocks": 1, "max_len": 6, "epochs": 1, "adapter": "linear"}
SUFFIXES = {"npy": ".npy", "parquet": ".parquet", "word2vec": ".vec", "recbole": ".itememb"}


@pytest.fixture(scope="module")
def dataset(cycle: Path) -> Dataset:
    return load_dataset(cycle)[0]


@pytest.fixture(scope="module")
def embed(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An embed artifact of random vectors, some of their numbers at the edges of float32."""
    out = tmp_path_factory.mktemp("embed") / "embed"
    vectors = np.random.default_rng(0).normal(size=(dataset.n_items, 12)).astype(np.float32)
    vectors[3, :4] = 0, -0.0, np.finfo(np.float32).tiny, 1e30
    with write_artifact(out, Recipe("embed", {}, {})) as folder:
        write_embeddings(folder, [(np.arange(len(vectors)), vectors)], dataset)
    return out


def tslrec(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.mark.parametrize("format", VECTOR_FORMATS)
def test_every_format_is_read_back_equal(cycle: Path, dataset: Dataset, embed: Path, tmp_path: Path, format: str
                                         ) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / f"items{SUFFIXES[format]}"
    result = tslrec("export", cycle, embed, "-o", out, "--json")
    assert json.loads(result.stdout)["items"] == dataset.n_items, result.output
    ids = ["--embedding-ids", tmp_path / "items.ids.txt"] if format == "npy" else []
    wanted = load_item_embeddings(embed, dataset).known
    found = load_item_embeddings(out, dataset, ids_path=ids[1] if ids else None)
    np.testing.assert_array_equal(found.rows, wanted)
    assert found.hashes["embeddings"] == sha256_of_file(out) and len(found.hashes) == 1 + bool(ids)
    again = tmp_path / "again.itememb"  # from a file to another one
    assert tslrec("export", cycle, out, *ids, "-o", again).exit_code == 0
    np.testing.assert_array_equal(load_item_embeddings(again, dataset).rows, wanted)
    assert "--overwrite" in tslrec("export", cycle, embed, "-o", out).stderr


def test_the_texts_are_what_other_tools_document(cycle: Path, dataset: Dataset, embed: Path, tmp_path: Path) -> None:
    for name in ("w.vec", "r.itememb"):
        assert tslrec("export", cycle, embed, "-o", tmp_path / name).exit_code == 0
    word2vec, recbole = ((tmp_path / name).read_text(encoding="utf-8").split("\n") for name in ("w.vec", "r.itememb"))
    assert word2vec[0] == f"{dataset.n_items} 12" and word2vec[1].split(" ")[0] == dataset.item_ids[0]
    assert recbole[0] == "iid:token\titem_emb:float_seq" and recbole[-1] == ""
    item, numbers = recbole[-2].split("\t")
    assert item == dataset.item_ids[-1] and len(numbers.split(" ")) == 12  # the last item keeps its own vector


def test_export_names_the_endings_that_it_knows(cycle: Path, embed: Path, tmp_path: Path) -> None:
    result = tslrec("export", cycle, embed, "-o", tmp_path / "vectors.bin")
    assert result.exit_code == 2 and "the format of" in result.stderr and not list(tmp_path.iterdir())
    assert "expected the ending .npy, .parquet, .txt, .vec, .itememb, or say it with --format" in result.stderr
    assert tslrec("export", cycle, embed, "-o", tmp_path / "vectors.bin", "--format", "npy").exit_code == 0


def test_the_table_of_a_recommender_is_exported_too(cycle: Path, dataset: Dataset, embed: Path, tmp_path: Path) -> None:
    train(cycle, tmp_path / "run", TrainConfig(**SMALL), embeddings_path=embed, device=CPU, threads=1)
    assert tslrec("export", cycle, tmp_path / "run", "-o", tmp_path / "table.npy").exit_code == 0
    result = tslrec("export", cycle, tmp_path / "run", "-o", tmp_path / "t.npy", "--ignore-unknown-items")
    assert result.exit_code == 1 and "are for files of vectors" in result.stderr
    for words in (("similar", cycle, "i3", "--run", tmp_path / "run"), ("train", cycle, "-o", tmp_path / "other")):
        for more in (["--ignore-unknown-items"], ["--embedding-ids", tmp_path / "table.ids.txt"]):
            result = tslrec(*words, *more)
            assert result.exit_code == 2 and "go with a file as --embeddings" in result.stderr
    table = load_item_table(tmp_path / "run", dataset, load_dataset(cycle)[1]).rows
    np.testing.assert_array_equal(np.load(tmp_path / "table.npy"), table[1:])
    assert table[1:].shape == (dataset.n_items, 8)
    found = json.loads(tslrec("similar", cycle, "i3", "i5", "--run", tmp_path / "run", "-k", 2, "--json").stdout)
    assert [(entry["item"], len(entry["similar"])) for entry in found] == [("i3", 2), ("i5", 2)]


def test_shuffled_rows_give_the_same_training(cycle: Path, dataset: Dataset, embed: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    embeddings = load_item_embeddings(embed, dataset)
    order = np.random.default_rng(1).permutation(dataset.n_items)
    rows = np.concatenate([embeddings.rows[1:][order], np.ones((1, 12))])
    np.savez(tmp_path / "shuffled.npz", ids=np.array([*np.array(embeddings.ids)[order], "stranger"]), vectors=rows)
    train(cycle, tmp_path / "whole", TrainConfig(**SMALL), embeddings_path=embed, device=CPU, threads=1)
    words = ("train", cycle, "--embeddings", tmp_path / "shuffled.npz", "-o", tmp_path / "run", "--threads", 1,
             *(f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()))
    assert "'stranger'" in tslrec(*words).stderr and not (tmp_path / "run").exists()
    result = tslrec(*words, "--ignore-unknown-items")
    assert result.exit_code == 0 and "1 items that the data set doesn't know are ignored" in result.stderr
    whole, run = (open_artifact(tmp_path / name, "train") for name in ("whole", "run"))
    assert whole.hash == run.hash  # the same weights and metrics
    assert run.record["inputs"]["embeddings"] == sha256_of_file(tmp_path / "shuffled.npz")
    np.save(tmp_path / "shuffled.npy", rows)
    ids = write_ids(tmp_path / "ids.txt", [*np.array(embeddings.ids)[order], "stranger"])
    with pytest.raises(TslrecError, match="'stranger'"):
        tslrec_min.train(cycle, tmp_path / "api", embeddings=tmp_path / "shuffled.npy", embedding_ids=ids, **SMALL)
    tslrec_min.train(cycle, tmp_path / "api", embeddings=tmp_path / "shuffled.npy", embedding_ids=ids,
                     ignore_unknown_items=True, threads=1, **SMALL)
    assert open_artifact(tmp_path / "api", "train").hash == whole.hash


def write_ids(path: Path, ids: list[str]) -> Path:
    path.write_text("".join(f"{item}\n" for item in ids), encoding="utf-8")
    return path


def test_what_does_not_fit_is_refused_by_name(cycle: Path, dataset: Dataset, embed: Path, tmp_path: Path) -> None:
    rows, ids = np.ones((dataset.n_items, 3)), list(dataset.item_ids)
    not_finite = rows.copy()
    not_finite[4], not_finite[6] = np.nan, 1e300  # the latter is finite in float64
    cases = [(ids[:-2], rows[:-2], f"no vector of '{ids[-2]}', '{ids[-1]}': 2 of 24 items"),
             ([*ids, "x"], np.ones((25, 3)), "vectors of 'x', 1 in all"),
             ([*ids[:-1], ids[0]], rows, f"several vectors of '{ids[0]}'"),
             (ids, np.ones((25, 3)), "has 25 vectors, but there are 24 ids"),
             (ids, not_finite, f"the vectors of '{ids[4]}', '{ids[6]}' are not finite"),
             (ids, np.ones(24), "float64 [24]"),
             (ids, np.ones((24, 3), int), "int64 [24, 3]"), (ids, np.empty((24, 0)), "[24, 0]"),
             (ids, np.full((24, 1), None), "pickle")]
    for given_ids, given_rows, message in cases:
        np.save(tmp_path / "v.npy", given_rows)
        with pytest.raises(TslrecError) as caught:
            load_item_embeddings(tmp_path / "v.npy", dataset, ids_path=write_ids(tmp_path / "ids.txt", given_ids))
        assert message in str(caught.value)
    for path, ids_path, message in ((tmp_path / "v.npy", None, "--embedding-ids"),
                                    (embed, tmp_path / "ids.txt", "folder"),
                                    (tmp_path / "x.npz", tmp_path / "ids.txt", "ids of its own"),
                                    (tmp_path / "x.npz", None, "does not exist")):
        with pytest.raises(TslrecError, match=message):
            load_item_embeddings(path, dataset, ids_path=ids_path)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    texts = {"3 2\na 1 2\nb 3 4\n": "has 2 vectors, its first line says 3",
             "1 2\na 1 2 3\n": "line 2: item 'a' has 3 numbers",
             "1 2\na 1 x\n": "line 2: item 'a'", "word a b\n": "begins with 'word a b'", "": "begins with ''",
             "iid:token\titem_emb:float_seq\na\t1 2\nb\t1\n": "line 3: item 'b' has 1 numbers; expected 2"}
    for text, message in texts.items():
        (tmp_path / "v.txt").write_text(text)
        with pytest.raises(TslrecError, match=message):
            read_vectors(tmp_path / "v.txt", None)
    arrays = [{"ids": np.array(["a"])}, {"ids": np.array([b"a"]), "vectors": np.ones((1, 2))},
              {"ids": np.array(["a", None]), "vectors": np.ones((2, 2))}]
    for content, message in zip(arrays, ("lacks vectors", "ids are |S1", "pickle"), strict=True):
        np.savez(tmp_path / "v.npz", **content)
        with pytest.raises(TslrecError) as caught:
            read_vectors(tmp_path / "v.npz", None)
        assert message in str(caught.value)
    np.savez(tmp_path / "v.npz", ids=np.array(["a"]), vectors=np.ones((1, 2)))
    np.save(tmp_path / "v.npy", np.ones((1, 2)))
    (tmp_path / "v.npz").rename(tmp_path / "archive")
    (tmp_path / "v.npy").rename(tmp_path / "v.npz")
    (tmp_path / "archive").rename(tmp_path / "v.npy")
    ids = write_ids(tmp_path / "ids.txt", ["a"])
    for name, given_ids, message in (("v.npz", None, "not a zip file"), ("v.npy", ids, "it is an archive of arrays")):
        with pytest.raises(TslrecError, match=message):
            read_vectors(tmp_path / name, given_ids)
    for name in ("v.npz", "v.npy", "v.txt", "v.parquet"):
        if name == "v.parquet":
            pytest.importorskip("pyarrow")
        (tmp_path / name).write_bytes(b"\xffPAR1 rubbish")
        with pytest.raises(TslrecError, match="v\\."):
            read_vectors(tmp_path / name, write_ids(tmp_path / "ids.txt", ["a"]) if name == "v.npy" else None)


def test_parquet_files_of_others(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path, vectors = tmp_path / "v.parquet", [[1.0, 2.0], [3.0, 4.0]]
    with pytest.raises(TslrecError, match="v.parquet does not exist"):
        read_vectors(path, None)
    kinds = (pyarrow.list_(pyarrow.float64()), pyarrow.large_list(pyarrow.float32()),
             pyarrow.list_(pyarrow.float32(), 2))
    for kind in kinds:
        parquet.write_table(pyarrow.table({"movie": [7, 9], "e": pyarrow.array(vectors, kind), "n": [0.5, 1]}), path)
        ids, rows = read_vectors(path, None)
        assert ids == ["7", "9"] and rows.tolist() == vectors
    for columns, message in (({"a": ["x", "y"], "b": ["x", "y"], "e": vectors}, "2 columns that may be item_id"),
                             ({"a": ["x", "y"], "e": [[1.0], [1.0, 2.0]]}, "widths"),
                             ({"a": ["x", "y"]}, "may be vector"), ({"a": ["x", "y"], "e": [[1.0], None]}, "widths"),
                             ({"a": ["x", None], "e": vectors}, "value")):
        parquet.write_table(pyarrow.table(columns), path)
        with pytest.raises(TslrecError, match=message):
            read_vectors(path, None)


def test_ids_with_white_space_do_not_fit_word2vec(tmp_path: Path) -> None:
    rows = np.array([[1.5], [2.5]], np.float32)
    with pytest.raises(TslrecError, match="white space, such as 'b c'"):
        write_vectors([tmp_path / "v"], "word2vec", ["a", "b c"], rows)
    write_vectors([tmp_path / "v"], "recbole", ["a", "b c"], rows)
    assert read_vectors(tmp_path / "v", None)[0] == ["a", "b c"]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 6), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_neighbours_equal_the_definition(n_items: int, width: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(-2, 3, size=(n_items, width)).astype(np.float32)  # zero and equal rows are among them
    asked = rng.integers(0, n_items, size=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "BLOCK", 7)
        places, cosines = nearest(rows, asked, k)
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    exact = rows.astype(np.float64) @ rows.T / np.maximum(np.outer(norms, norms), 1e-30)
    assert places.shape == cosines.shape == (3, min(k, n_items - 1))
    for item, found, values in zip(asked, places, cosines, strict=True):
        others = np.delete(exact[item], item)
        np.testing.assert_allclose(values, exact[item, found], atol=1e-6)
        np.testing.assert_allclose(values, np.sort(others)[::-1][:k], atol=1e-6)
        assert item not in found and len(set(found)) == len(found)


def test_neighbours_tied_in_the_bits_come_in_the_order_of_the_catalogue(monkeypatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 4)
    rows = np.tile(np.float32([[1, 2, 3]]), (11, 1))
    assert nearest(rows, np.array([5]), 4)[0].tolist() == [[0, 1, 2, 3]]
    assert nearest(rows, np.array([0]), 20)[0].tolist() == [list(range(1, 11))]
    assert nearest(np.float32([[3e38, 3e38], [1e-38, 1e-38]]), np.array([0]), 1)[1] == pytest.approx(1)


def test_similar_shows_titles_and_suggests_ids(cycle: Path, dataset: Dataset, embed: Path, tmp_path: Path) -> None:
    result = tslrec("similar", cycle, "i3", "--embeddings", embed, "-k", 3)
    assert result.exit_code == 0 and result.stdout.startswith(f"{dataset.titles[dataset.item_ids.index('i3')]} (i3)")
    found = json.loads(tslrec("similar", cycle, "i3", "--embeddings", embed, "-k", 3, "--json").stdout)
    items = [near["item"] for near in found[0]["similar"]]
    assert items == [line.split()[-2] for line in result.stdout.splitlines()[2:]] and "i3" not in items
    result = tslrec("similar", cycle, "star wars", "--embeddings", embed)
    assert result.exit_code == 1 and "i0 (Star Wars 0), i16 (Star Wars 16), i8 (Star Wars 8)" in result.stderr
    assert "no title contains it" in tslrec("similar", cycle, "nothing", "--embeddings", embed).stderr
    assert tslrec("similar", cycle, "i3").exit_code == 2


def test_export_of_embeddings_loads_no_torch(cycle: Path, embed: Path, tmp_path: Path) -> None:
    program = ("import sys, tslrec_min.cli\n"
               f"try: tslrec_min.cli.main(['export', {str(cycle)!r}, {str(embed)!r}, '-o', 'x.npy'])\n"
               "except SystemExit as end: assert not end.code\n"
               "sys.exit('loaded' if 'torch' in sys.modules else 0)")
    subprocess.run([sys.executable, "-P", "-c", program], check=True, cwd=tmp_path)


def test_cold_items_are_exported_and_asked_for(dataset: Dataset, tmp_path: Path) -> None:
    from tslrec_min.data.cold import ColdItems

    cold = ColdItems(["cold"], ["A new one"], {}, users=np.zeros(1, np.int64), targets=np.ones(1, np.int64),
                     warm_before=np.ones(1, np.int64), earlier=np.empty(0, np.int64), indptr=np.zeros(2, np.int64),
                     n_interactions=1)
    with_cold, ids = replace(dataset, cold=cold), [*dataset.item_ids, "cold"]
    write_vectors([tmp_path / "v.vec"], "word2vec", ids[::-1], np.arange(25, dtype=np.float32)[:, None])
    vectors = load_item_embeddings(tmp_path / "v.vec", with_cold).rows
    assert vectors[:, 0].tolist() == [0, *range(24, -1, -1)]
    write_vectors([tmp_path / "w.vec"], "word2vec", ids[:-1], np.ones((24, 1), np.float32))
    with pytest.raises(TslrecError, match="no vector of 'cold'"):
        load_item_embeddings(tmp_path / "w.vec", with_cold)
