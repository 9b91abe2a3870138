"""Ways to damage a file: its bytes, its text, the values of JSON, the arrays of .npy, .npz and safetensors files, GGUF.

Each takes the contents and a NumPy generator, and nothing else decides the outcome: a seed names a case.
"""

from __future__ import annotations

import io
import json
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Random = np.random.Generator
Damage = Callable[[bytes, Random], bytes]

TOKENS = [b"", b"nan", b"inf", b"-1", b"0", b"1e999", b"2147483648", b"18446744073709551616", b"9" * 400, b"9" * 5000,
          b"1" + b"0" * 400 + b".5", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b'"', b"'",
          b"\t", b"\r", b"\n", b"\r\n", b",", b";", b"::", b"|", b"{", b"}", b"[]", b"{}", b"null", b"true", b"NaN",
          b'"' + b"x" * 140000 + b'"', b"[" * 900 + b"]" * 900, b"[" * 100000, b"{'a':" * 300, b"-" * 3000 + b"1",
          "\u2028".encode(), "七人".encode(), b"=", b"0x" + b"f" * 6000, b"1979-05-27", b"../../etc/passwd", b" " * 50]
"""What texts trip over."""
VALUES: list[Any] = [None, True, -1, 0, 1, 2**31, 2**64, 10**400, -0.5, 1e308, float("nan"), float("inf"), "", "x",
                     "\ud800", "\x00", "../..", [], {}, [[]], [None], {"a": 1}, [1, 2, 3], "9" * 5000]
"""What parsers of JSON don't expect in a place."""


def _flip(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for place in random.integers(0, len(data), random.integers(1, 9)):
        changed[place] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _stretch(data: bytes, random: Random) -> slice:
    """Draw a stretch of at most half of the data, a short one as likely as a long one."""
    length = int(2 ** random.uniform(0, np.log2(max(2, len(data) / 2))))
    start = int(random.integers(0, len(data) - length + 1))
    return slice(start, start + length)


def _truncate(data: bytes, random: Random) -> bytes:
    return data[:int(random.integers(0, len(data)))]


def _cut_out(data: bytes, random: Random) -> bytes:
    gone = _stretch(data, random)
    return data[:gone.start] + data[gone.stop:]


def _duplicate(data: bytes, random: Random) -> bytes:
    twice = _stretch(data, random)
    return data[:twice.stop] + data[twice.start:]


def _swap(data: bytes, random: Random) -> bytes:
    first, second = _stretch(data, random), _stretch(data, random)
    changed = bytearray(data)
    changed[second.start:second.start + first.stop - first.start] = data[first]
    changed[first] = data[second.start:second.start + first.stop - first.start]
    return bytes(changed)


def _overwrite(data: bytes, random: Random) -> bytes:
    place = _stretch(data, random)
    filling = bytes(place.stop - place.start) if random.integers(2) else random.bytes(place.stop - place.start)
    return data[:place.start] + filling + data[place.stop:]


def _enlarge(data: bytes, random: Random) -> bytes:
    """Write a large whole number, where lengths and counts often are."""
    size, kind = ((2, "<H"), (4, "<I"), (8, "<Q"))[int(random.integers(3))]
    number = [2**(8 * size) - 1, 2**(8 * size - 1), 2**(4 * size), len(data) + 1][int(random.integers(4))]
    most = min(len(data), 512) if random.integers(2) else len(data)
    place = int(random.integers(0, max(1, most - size)))
    return data[:place] + struct.pack(kind, number % 2**(8 * size)) + data[place + size:]


def _append(data: bytes, random: Random) -> bytes:
    return data + random.bytes(int(random.integers(1, 64)))


_OF_BYTES: list[Damage] = [_flip, _flip, _truncate, _cut_out, _duplicate, _swap, _overwrite, _enlarge, _append]


def damage_bytes(data: bytes, random: Random) -> bytes:
    """Damage any file, once or twice."""
    for _ in range(int(random.integers(1, 3))):
        if data:
            data = _OF_BYTES[int(random.integers(len(_OF_BYTES)))](data, random)
    return data


def damage_text(data: bytes, random: Random) -> bytes:
    """Put what texts trip over into a text, in place of a word or between two characters; or lose or repeat lines."""
    token = TOKENS[int(random.integers(len(TOKENS)))]
    lines = data.split(b"\n")
    row = int(random.integers(len(lines)))
    match int(random.integers(4)):
        case 0:
            place = int(random.integers(len(data) + 1))
            return data[:place] + token + data[place:]
        case 1:
            del lines[row]
        case 2:
            lines.insert(int(random.integers(len(lines))), lines[row])
        case _:
            words = [word for word in (lines[row].replace(b"\t", b" ").replace(b",", b" ").split())]
            if words:
                lines[row] = lines[row].replace(words[int(random.integers(len(words)))], token, 1)
    return b"\n".join(lines)


def damage_value(value: Any, random: Random) -> Any:
    """Damage a parsed JSON value in one place: another value, another type, a key or an entry gone or renamed."""
    places = list(_places(value))
    if not places:
        return VALUES[int(random.integers(len(VALUES)))]
    inside, key = places[int(random.integers(len(places)))]
    other = VALUES[int(random.integers(len(VALUES)))]
    match int(random.integers(4)):
        case 0:
            del inside[key]
        case 1 if isinstance(inside, dict):
            inside[f"{key}_"] = inside.pop(key)
        case 2 if type(inside[key]) in (int, float):
            inside[key] = inside[key] * 1000 + 1
        case _:
            inside[key] = other
    return value


def _places(value: Any) -> Any:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield value, key
        yield from _places(inner)


def damage_json(data: bytes, random: Random) -> bytes:
    """Damage a JSON file in one value; of JSON lines, one line."""
    lines = data.splitlines(keepends=True)
    if len(lines) > 1 and lines[0].rstrip().endswith(b"}"):
        row = int(random.integers(len(lines)))
        if not lines[row].startswith(b'{"'):  # a Python dictionary
            return damage_text(data, random)
        return b"".join([*lines[:row], json.dumps(damage_value(json.loads(lines[row]), random)).encode(), b"\n",
                         *lines[row + 1:]])
    return json.dumps(damage_value(json.loads(data), random)).encode()


def damage_array(array: np.ndarray, random: Random) -> np.ndarray:
    """Change an array's numbers, dtype or shape."""
    changed = array.copy()
    match int(random.integers(9)):
        case 0 | 1 if array.size:
            number = [np.nan, np.inf, -1, 2**31, 2**62, 0][int(random.integers(6))]
            if array.dtype.kind == "f" or np.isfinite(number):
                with np.errstate(all="ignore"):
                    changed.reshape(-1)[random.integers(array.size)] = np.array(number).astype(array.dtype)
        case 2:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                changed = _as_other(array, random)
        case 3:
            changed = array[:-1] if array.ndim else array.reshape(1)
        case 4:
            changed = array.T if array.ndim > 1 else array.reshape(-1, 1)
        case 5:
            changed = array.reshape(-1)
        case 6:
            changed = np.array(array.reshape(-1)[0] if array.size else 0)
        case 7:
            changed = array.astype(object)
        case _:
            changed = np.concatenate([array, array]) if array.ndim else array
    return changed


def _as_other(array: np.ndarray, random: Random) -> np.ndarray:
    kind = ["<f8", "<f4", "<f2", "<i8", "<i4", "<u8", "<U8", "?", ">f8", "<c8"][int(random.integers(10))]
    try:
        return array.astype(kind)
    except (ValueError, TypeError):  # texts that are no numbers
        return array.astype("S8")


def damage_npy(data: bytes, random: Random) -> bytes:
    """Damage an .npy file's array."""
    stream = io.BytesIO()
    np.save(stream, damage_array(np.load(io.BytesIO(data)), random))
    return stream.getvalue()


def damage_npz(data: bytes, random: Random) -> bytes:
    """Damage one array of an .npz file, or its name."""
    with np.load(io.BytesIO(data)) as archive:
        arrays = {name: archive[name] for name in archive.files}
    name = list(arrays)[int(random.integers(len(arrays)))]
    match int(random.integers(5)):
        case 0:
            del arrays[name]
        case 1:
            arrays[f"{name}_"] = arrays.pop(name)
        case _:
            arrays[name] = damage_array(arrays[name], random)
    stream = io.BytesIO()
    (np.savez_compressed if random.integers(4) == 0 else np.savez)(stream, **arrays)
    return stream.getvalue()


def damage_safetensors(data: bytes, random: Random) -> bytes:
    """Damage the header of a safetensors file in one value; or write a number that is not finite."""
    length = struct.unpack("<Q", data[:8])[0]
    header, body = data[8:8 + length], data[8 + length:]
    if random.integers(3) == 0 and len(body) >= 8:
        place = 4 * int(random.integers(len(body) // 4))
        return data[:8 + length] + body[:place] + struct.pack("<f", float("nan")) + body[place + 4:]
    header = damage_json(header, random)
    return struct.pack("<Q", len(header)) + header + body


def damage_gguf(data: bytes, random: Random) -> bytes:
    """Write another number over a value, a length or a type in the part before the weights."""
    head = data[:max(64, data.find(b"tokenizer.ggml.tokens") + 200 if random.integers(2) else len(data) // 3)]
    size, kind = ((1, "<B"), (4, "<I"), (8, "<Q"))[int(random.integers(3))]
    number = [0, 1, 2, 7, 255, 2**31, 2**32 - 1, 2**63, 2**40][int(random.integers(9))]
    place = int(random.integers(0, len(head) - size))
    return data[:place] + struct.pack(kind, number % 2**(8 * size)) + data[place + size:]


_BY_SUFFIX: dict[str, Damage] = {".json": damage_json, ".jsonl": damage_json, ".npy": damage_npy, ".npz": damage_npz,
                                 ".gguf": damage_gguf, ".safetensors": damage_safetensors}
_BINARY = (".gz", ".zip", ".parquet", ".npy", ".npz", ".gguf", ".safetensors")


def damaged(path: Path, random: Random, *, only_bytes: bool = False) -> bytes:
    """Return the contents of a file after damage that fits its kind, or any kind; or of its bytes alone."""
    data, kinds = path.read_bytes(), [damage_bytes]
    if only_bytes:
        return damage_bytes(data, random)
    if path.suffix in _BY_SUFFIX:
        kinds += [_BY_SUFFIX[path.suffix]] * 2
    if path.suffix not in _BINARY:
        kinds += [damage_text] * 2
    return kinds[int(random.integers(len(kinds)))](data, random)
