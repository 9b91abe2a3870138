"""Item vectors: export and import in every format, alignment by id, and neighbours by cosine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tslrec_min.configs import VECTOR_FORMATS
from tslrec_min.data.dataset import Dataset
from tslrec_min.errors import TslrecError
from tslrec_min.item_vectors.formats import read_vectors, write_vectors
from tslrec_min.item_vectors.load import load_item_embeddings
from tslrec_min.storage.artifacts import sha256_of_file

from ..factories import tslrec
from .factories import write_ids

SUFFIXES = {"npy": ".npy", "parquet": ".parquet", "word2vec": ".vec", "recbole": ".itememb"}


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
