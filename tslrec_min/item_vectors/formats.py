"""Files of item vectors that other tools read and write: NumPy arrays, Parquet, word2vec's and RecBole's text.

- ``npy``: float [I, D], with the ids in a second file, a text with one id per line; ``npz`` (read only): arrays ``ids``
  (Unicode or integers) and ``vectors``. Neither is ever unpickled.
- ``parquet``: a column of ids and a column of lists of numbers (written as item_id and vector).
- ``word2vec``: the text format of word2vec and gensim: a line ``I D``, then ``id number number ...``; ids have no white
  space.
- ``recbole``: an atomic file for ``additional_feat_suffix`` and ``preload_weight`` (recbole.io, "Load Pre-trained
  Embedding"): the header ``iid:token``, tab, ``item_emb:float_seq``, then an id, a tab and numbers with spaces. Its
  name is DATASET.SUFFIX; its id column needs another name than in the other files.

Numbers in texts have the digits that float32 needs. There is no padding row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ..errors import TslrecError, missing_path
from ..storage.arrays import load_array, load_arrays
from ..storage.parquet import load_pyarrow

_RECBOLE_HEADER = "iid:token\titem_emb:float_seq"
_BLOCK = 512
"""Rows of text written at once; 16 times as many for Parquet."""


def ids_beside(path: Path) -> Path:
    """Return the path of the ids of an .npy file: items.npy -> items.ids.txt."""
    return path.with_suffix(".ids.txt")


def write_vectors(paths: Sequence[Path], format: str, item_ids: Sequence[str], rows: np.ndarray) -> None:
    """Write item vectors.

    Args:
        paths: the file, and for ``npy`` the file of the ids.
        format: one of `configs.VECTOR_FORMATS`.
        item_ids: external ids, [I].
        rows: float32 [I, D].

    Raises:
        TslrecError: the format can't hold an id, or the format is Parquet and pyarrow is missing.
    """
    if format == "npy":
        with open(paths[0], "wb") as stream:
            np.save(stream, rows)
        paths[1].write_text("".join(f"{item}\n" for item in item_ids), encoding="utf-8")
    elif format == "parquet":
        _write_parquet(paths[0], item_ids, rows)
    else:
        _write_text(paths[0], format, item_ids, rows)


def _write_text(path: Path, format: str, item_ids: Sequence[str], rows: np.ndarray) -> None:
    header, between = (_RECBOLE_HEADER, "\t") if format == "recbole" else (f"{rows.shape[0]} {rows.shape[1]}", " ")
    unfit = [item for item in item_ids if format == "word2vec" and item.split() != [item]]
    if unfit:
        raise TslrecError(f"word2vec's text format can't hold ids with white space, such as {unfit[0]!r} "
                          f"({len(unfit)} of {len(item_ids)}); choose another --format")
    with open(path, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(f"{header}\n")
        for start in range(0, len(rows), _BLOCK):
            texts = rows[start:start + _BLOCK].astype(str).tolist()
            stream.writelines(f"{item}{between}{' '.join(numbers)}\n"
                              for item, numbers in zip(item_ids[start:start + _BLOCK], texts, strict=True))


def _write_parquet(path: Path, item_ids: Sequence[str], rows: np.ndarray) -> None:
    pyarrow, parquet = load_pyarrow()
    schema = pyarrow.schema([("item_id", pyarrow.string()), ("vector", pyarrow.list_(pyarrow.float32()))])
    with parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, len(rows), _BLOCK * 16):
            block = rows[start:start + _BLOCK * 16]
            offsets = np.arange(len(block) + 1, dtype=np.int32) * block.shape[1]
            vectors = pyarrow.ListArray.from_arrays(offsets, pyarrow.array(block.ravel()))
            writer.write_table(pyarrow.table([list(item_ids[start:start + _BLOCK * 16]), vectors], schema=schema))


def read_vectors(path: Path, ids_path: Path | None) -> tuple[list[str], np.ndarray]:
    """Read item vectors; the ending decides the format, for texts the first line.

    Args:
        path: the file.
        ids_path: text file with one id per line; only for .npy files.

    Returns:
        ids [n], and floats [m, D] as stored; m may differ from n.

    Raises:
        TslrecError: a file can't be read, has another format, or `ids_path` is missing or superfluous.
    """
    if (path.suffix == ".npy") != (ids_path is not None):
        problem = "has no ids; give them with" if ids_path is None else "has ids of its own; leave out"
        raise TslrecError(f"{path} {problem} --embedding-ids, a text file with one id per line, for .npy files only")
    try:
        if ids_path is not None:
            return _read_lines(ids_path), _matrix(path, load_array(path))
        if path.suffix == ".npz":
            return _read_npz(path)
        if path.suffix == ".parquet":
            return _read_parquet(path)
        with open(path, encoding="utf-8", newline="\n") as stream:
            return _read_text(path, stream)
    except FileNotFoundError as error:
        raise missing_path(Path(error.filename or path), "give a folder that tslrec embed wrote, or a file of vectors"
                           ) from None
    except UnicodeDecodeError as error:
        raise TslrecError(f"{ids_path or path} is not UTF-8 text ({error.reason}); expected a folder of tslrec embed, "
                          ".npy, .npz, .parquet, or text in the format of word2vec or RecBole") from None
    except ValueError as error:
        raise TslrecError(f"{path} can't be read: {error}") from None


def _read_lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def _matrix(path: Path, array: np.ndarray) -> np.ndarray:
    if array.ndim != 2 or array.dtype.kind != "f" or not array.shape[1]:
        raise TslrecError(f"{path}: the vectors are {array.dtype} {list(array.shape)}; expected floating-point numbers "
                          "in two dimensions, one row per item")
    return array


def _read_npz(path: Path) -> tuple[list[str], np.ndarray]:
    arrays = load_arrays(path, ("ids", "vectors"))
    ids = arrays["ids"]
    if ids.ndim != 1 or ids.dtype.kind not in "Uiu":
        raise TslrecError(f"{path}: the ids are {ids.dtype} {list(ids.shape)}; expected Unicode texts or integers in "
                          "one dimension")
    return ids.astype(str).tolist(), _matrix(path, arrays["vectors"])


def _read_parquet(path: Path) -> tuple[list[str], np.ndarray]:
    pyarrow, parquet = load_pyarrow()
    try:
        schema, types = parquet.read_schema(path), pyarrow.types
        ids = _column(path, schema, "item_id", types.is_string, types.is_large_string, types.is_integer)
        vectors = _column(path, schema, "vector", types.is_list, types.is_large_list, types.is_fixed_size_list)
        table = parquet.read_table(path, columns=[ids, vectors])
    except (TslrecError, FileNotFoundError):
        raise
    except Exception as error:  # pyarrow's errors share no base class
        raise TslrecError(f"{path} can't be read as Parquet: {error}") from None
    return _of_columns(path, pyarrow, table.column(ids), table.column(vectors))


def _of_columns(path: Path, pyarrow: Any, ids: Any, vectors: Any) -> tuple[list[str], np.ndarray]:
    chunks = [chunk for chunk in vectors.chunks if len(chunk)]
    widths = {width for chunk in chunks for width in pyarrow.compute.list_value_length(chunk).unique().to_pylist()}
    if len(widths) != 1 or None in widths or ids.null_count:
        raise TslrecError(f"{path}: the vectors have the widths {sorted(map(str, widths))[:5]}; expected the same "
                          "width in all rows, and no empty value")
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in chunks]
    return list(map(str, ids.to_pylist())), _matrix(path, np.concatenate(flat).reshape(-1, widths.pop()))


def _column(path: Path, schema: Any, name: str, *kinds: Callable[[Any], bool]) -> str:
    """Return `name` if such a column is of one of the kinds, otherwise the name of the only column of these kinds."""
    names = [field.name for field in schema if any(is_kind(field.type) for is_kind in kinds)]
    if name in names or len(names) == 1:
        return name if name in names else names[0]
    raise TslrecError(f"{path} has {len(names)} columns that may be {name} ({', '.join(names) or 'none'}) among "
                      f"{', '.join(schema.names)}; name one {name}: item_id holds texts or integers, vector lists")


def _read_text(path: Path, stream: TextIO) -> tuple[list[str], np.ndarray]:
    header = stream.readline().rstrip("\r\n").lstrip("\ufeff")
    if [name.rpartition(":")[2] for name in header.split("\t")] == ["token", "float_seq"]:
        ids, rows = _text_rows(path, stream, "\t", None)
    else:
        sizes = header.split()
        if len(sizes) != 2 or not all(size.isdecimal() for size in sizes):
            raise TslrecError(f"{path} begins with {header[:60]!r}; expected a folder of tslrec embed, .npy, .npz, "
                              f".parquet, word2vec's line of two numbers, or RecBole's {_RECBOLE_HEADER!r}")
        ids, rows = _text_rows(path, stream, " ", int(sizes[1]))
        if len(ids) != int(sizes[0]):
            raise TslrecError(f"{path} has {len(ids)} vectors, its first line says {sizes[0]}; check whether the file "
                              "is complete")
    return ids, _matrix(path, rows)


def _text_rows(path: Path, stream: TextIO, after_id: str, width: int | None) -> tuple[list[str], np.ndarray]:
    """Return ids and float32 [n, D]; without a `width`, the first row decides it."""
    ids, rows = [], []
    for number, line in enumerate(stream, 2):
        item, _, text = line.rstrip("\r\n ").partition(after_id)
        numbers = text.split(" ")
        width = len(numbers) if width is None else width
        if len(numbers) != width:
            raise TslrecError(f"{path}, line {number}: item {item!r} has {len(numbers)} numbers; expected {width}")
        try:
            rows.append(np.array(numbers, dtype=np.float32))
        except ValueError as error:
            raise TslrecError(f"{path}, line {number}: item {item!r}: {error}") from None
        ids.append(item)
    return ids, np.stack(rows) if rows else np.empty((0, width or 1), np.float32)
