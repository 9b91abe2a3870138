from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tslrec_min.configs import PrepareConfig
from tslrec_min.data.prepare import prepare
from tslrec_min.errors import TslrecError

from ..factories import write_plain
from .factories import amazon_2023, check, movielens, pairs, prepared, read, write_movielens


def test_hostile_archives(tmp_path: Path) -> None:
    good = movielens("ml-1m")
    with zipfile.ZipFile(tmp_path / "up.zip", "w") as archive:
        archive.writestr("../../evil.txt", b"x")
        archive.writestr("../ratings.dat", good["ml-1m/ratings.dat"])
        archive.writestr("../movies.dat", good["ml-1m/movies.dat"])
    before = sorted(tmp_path.parent.rglob("*"))
    check(prepared(tmp_path / "up.zip", tmp_path / "a"))  # read where it is, so its names lead nowhere
    made = {path for path in sorted(tmp_path.parent.rglob("*")) if path not in before}
    assert all(path.is_relative_to(tmp_path / "a") for path in made)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ml-1m/ratings.dat", b"u::a::1::1\n" * 8_000_000)
        archive.writestr("ml-1m/movies.dat", good["ml-1m/movies.dat"])
    with pytest.raises(TslrecError, match="expands to more than 200 times its size"):
        prepared(tmp_path / "bomb.zip", tmp_path / "b")
    (tmp_path / "no.zip").write_bytes(b"PK no archive")
    with pytest.raises(TslrecError, match="can't be read as a zip archive"):
        prepared(tmp_path / "no.zip", tmp_path / "c")
    content = bytearray((tmp_path / "up.zip").read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        for member in (b"../ratings.dat", b"../movies.dat"):
            start = content.rindex(signature, 0, content.index(member) if flags == 6 else content.rindex(member))
            content[start + flags] |= 1  # says that it is encrypted
    (tmp_path / "locked.zip").write_bytes(content)
    with pytest.raises(TslrecError, match="ratings.dat can't be decompressed: .*encrypted.* unpack it yourself"):
        prepared(tmp_path / "locked.zip", tmp_path / "e")
    content = (tmp_path / "up.zip").read_bytes()
    place = content.rindex(b"movies.dat")
    (tmp_path / "renamed.zip").write_bytes(content[:place] + b"m0vies.dat" + content[place + 10:])
    with pytest.raises(TslrecError, match="can't be read as a zip archive: .* differ"):
        prepared(tmp_path / "renamed.zip", tmp_path / "f", missing_titles="blank")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("x.txt", b"x")
    with pytest.raises(TslrecError, match="no archive of MovieLens"):
        prepared(tmp_path / "other.zip", tmp_path / "d")


def test_damaged_compression_is_named(tmp_path: Path) -> None:
    file = amazon_2023(tmp_path / "raw")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(TslrecError, match="All_Beauty.jsonl.gz can't be decompressed"):
        prepared(file, tmp_path / "a")
    file.write_bytes(b"plain")
    with pytest.raises(TslrecError, match="All_Beauty.jsonl.gz can't be decompressed"):
        prepared(file, tmp_path / "b")


def test_wrong_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_bytes("user_id,item_id,timestamp\nu,é,1\n".encode("latin-1"))
    with pytest.raises(TslrecError, match="--encoding"):
        read(tmp_path / "r.csv")
    raw, _ = read(tmp_path / "r.csv", PrepareConfig(encoding="latin-1"))
    assert pairs(raw) == [("u", "é")]
    (tmp_path / "r.csv").write_bytes("user_id,item_id,timestamp\nu,é,1\n".encode("utf-16-le"))
    with pytest.raises(TslrecError, match="is not utf-16 text .*name its encoding"):  # it has no byte order mark
        read(tmp_path / "r.csv", PrepareConfig(encoding="utf-16"))
    with pytest.raises(TslrecError, match="unknown --encoding"):
        read(write_movielens(tmp_path), PrepareConfig(encoding="klingon", format="movielens"))


@pytest.mark.parametrize("encoding", ["", "utf-8", "UTF8", "utf-8-sig"])
@pytest.mark.parametrize("text", ["user_id,item_id,timestamp\r\nu,é,1\r\n",
                                  '{"user_id": "u", "item_id": "é", "timestamp": 1}\n'])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, encoding: str, text: str) -> None:
    file = tmp_path / ("r.csv" if text.startswith("user") else "r.jsonl")
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert pairs(read(file, PrepareConfig(encoding=encoding))[0]) == [("u", "é")]


def test_compressed_or_not_is_the_same_data(tmp_path: Path) -> None:
    plain, packed = (prepare(write_plain(tmp_path / f"raw{kind}", kind), tmp_path / f"d{kind}", PrepareConfig())
                     for kind in (False, True))
    assert plain == packed and plain["interactions"] == 200
