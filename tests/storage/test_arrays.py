from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tslrec_min.errors import TslrecError
from tslrec_min.storage.arrays import load_array, load_arrays


def test_arrays_are_read_within_bounds_and_without_pickle(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(40_000_000))
    np.savez(tmp_path / "objects.npz", a=np.array([None]))
    with zipfile.ZipFile(tmp_path / "header.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00\x0a\x00{'descr':(\n")
    for name, message in (("bomb", "expands to 320,000"), ("objects", "never unpickled"), ("header", "damaged")):
        with pytest.raises(TslrecError, match=message):
            load_arrays(tmp_path / f"{name}.npz", ("a",))
    with zipfile.ZipFile(tmp_path / "bytes.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPI")
    with pytest.raises(TslrecError, match="can't be read as arrays .*magic"):
        load_arrays(tmp_path / "bytes.npz", ("a",))
    np.savez(tmp_path / "sound.npz", a=np.arange(6.0), b=np.zeros((0, 3)), c=np.float32(3))
    assert {name: array.tolist() for name, array in load_arrays(tmp_path / "sound.npz", ("a",)).items()} == {
        "a": [0, 1, 2, 3, 4, 5], "b": [], "c": 3}
    sound = (tmp_path / "sound.npz").read_bytes()
    (tmp_path / "sound.npz").write_bytes(sound.replace(np.float64(4).tobytes(), np.float64(5).tobytes(), 1))
    with pytest.raises(TslrecError, match="CRC"):
        load_arrays(tmp_path / "sound.npz", ("a",))
    os.rename(tmp_path / "objects.npz", tmp_path / "a.npy")
    with pytest.raises(TslrecError, match="archive of arrays"):
        load_array(tmp_path / "a.npy")


@pytest.mark.parametrize("further", [-1, 8, 200, 1_000_000])
def test_an_array_is_not_read_past_its_checksum(tmp_path: Path, further: int) -> None:
    """A member that claims to be longer: the checksum at its end would not be reached."""
    np.savez(tmp_path / "a.npz", a=np.arange(6.0))
    data = bytearray((tmp_path / "a.npz").read_bytes().replace(np.float64(4).tobytes(), np.float64(5).tobytes(), 1))
    sizes = data.index(b"PK\x01\x02") + 20  # in the directory: compressed, uncompressed
    for place in (sizes, sizes + 4):
        value = int.from_bytes(data[place:place + 4], "little") + further
        data[place:place + 4] = value.to_bytes(4, "little")
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(TslrecError, match="can't be read as arrays"):
        load_arrays(tmp_path / "a.npz", ("a",))
