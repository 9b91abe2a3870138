"""Raw files as text: plain, gzip, or a member of a zip archive; read in blocks of whole lines.

Nothing is unpacked to the disk, so names inside an archive can do no harm. The expanded size of a file and the length
of a line are limited, so memory does not depend on the contents.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from ...errors import TslrecError
from ...storage.expansion import MAX_EXPANSION, max_expanded
from .ascii_columns import count_lines

BLOCK_CHARACTERS = 1 << 20
"""Of a block, which is then read to the end of its last line."""
BLOCK_BYTES = 1 << 21
"""Of a block that is not decoded: a thread has work for milliseconds."""
_BUFFER = 1 << 17
_ASCII_AND_MORE = ("utf-8", "latin-1")
"""Encodings in which bytes below 128 are ASCII and nothing else."""
LONGEST_LINE = 16 << 20
"""Characters; the longest line of published review data has far fewer than one million."""


@dataclass(frozen=True)
class RawFile:
    """A file of raw data, or a member of a zip archive."""

    path: Path
    member: str = ""
    """Name inside the zip archive `path`; empty: the file itself."""

    def __str__(self) -> str:
        """Return its name in messages."""
        return f"{self.path}:{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """File name, without the .gz of a compressed file."""
        return PurePosixPath(self.member).name if self.member else self.path.name.removesuffix(".gz")

    @property
    def suffix(self) -> str:
        """Suffix of `name`, such as ``.csv``."""
        return PurePosixPath(self.name).suffix

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open for reading, decompressed.

        Raises:
            TslrecError: it can't be read or decompressed, or expands to more than `max_expanded`.
        """
        with contextlib.ExitStack() as opened:
            if self.member:
                with _decompressing(self):
                    archive = opened.enter_context(zipfile.ZipFile(self.path))
                    member = opened.enter_context(archive.open(self.member))
                yield io.BufferedReader(_Bounded(member, archive.getinfo(self.member).compress_size, self), _BUFFER)
            elif self.path.suffix == ".gz":
                stream = opened.enter_context(gzip.open(self.path))
                yield io.BufferedReader(_Bounded(stream, self.path.stat().st_size, self), _BUFFER)
            else:
                yield opened.enter_context(open(self.path, "rb"))


@contextlib.contextmanager
def _decompressing(file: RawFile) -> Iterator[None]:
    """Turn the errors of damaged archives, which share no base class, into TslrecError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        raise TslrecError(f"{file} can't be decompressed: {error or type(error).__name__}; it is damaged, encrypted, "
                          "or not what its name says. Fetch it again, or unpack it yourself") from None


class _Bounded(io.RawIOBase):
    """A decompressed stream that raises TslrecError when it expands to more than `max_expanded`."""

    def __init__(self, stream: Any, compressed_size: int, file: RawFile) -> None:
        self.stream, self.left, self.file = stream, max_expanded(compressed_size), file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with _decompressing(self.file):
            count: int = self.stream.readinto(buffer)
        self.left -= count
        if self.left < 0:
            raise TslrecError(f"{self.file} expands to more than {MAX_EXPANSION} times its size, which is not usual "
                              "for data; if that is correct, decompress it yourself and give the plain file")
        return count


def members(path: Path) -> list[RawFile]:
    """Return the files of a zip archive.

    Raises:
        TslrecError: it is no zip archive.
    """
    with open(path, "rb") as stream:
        try:
            archive = zipfile.ZipFile(stream)
            files = [info for info in archive.infolist() if not info.is_dir()]
            for info in files:  # a name is stored twice, without checksum; opening compares the two
                with contextlib.suppress(RuntimeError):  # encrypted: an error only if it is read
                    archive.open(info).close()
            return [RawFile(path, info.filename) for info in files]
        except Exception as error:  # zipfile's errors share no base class
            raise TslrecError(f"{path} can't be read as a zip archive: {error}; fetch it again") from None


@dataclass(frozen=True)
class Block:
    """Some whole lines of a file."""

    first_line: int
    """Number of the first one, from 1."""
    text: str
    """The lines, each with a line feed except perhaps the last line of the file."""


@dataclass(frozen=True)
class ByteBlock:
    """Some whole lines of a file, not decoded."""

    first_line: int
    """Number of the first one, from 1."""
    data: bytes
    r"""The lines in UTF-8, each with \n or \r\n except perhaps the last line of the file; there is no other \r."""

    @property
    def text(self) -> str:
        """The lines, each with a line feed."""
        return self.data.decode().replace("\r\n", "\n")


def byte_blocks(file: RawFile, encoding: str) -> Iterator[Block | ByteBlock]:
    """Read a file as `text_blocks` does, but decode only where bytes do not do.

    Raises:
        TslrecError: see `text_blocks`.
    """
    if encoding.lower() not in _ASCII_AND_MORE:
        yield from text_blocks(file, encoding)
        return
    line, is_utf8 = 1, encoding.lower() == "utf-8"
    with file.open() as stream:
        while data := stream.read(BLOCK_BYTES):
            rest = stream.readline(LONGEST_LINE)
            if len(rest) == LONGEST_LINE:  # the line may be shorter in characters, or end with \r
                break
            data += rest
            data = data.removeprefix(codecs.BOM_UTF8) if line == 1 and is_utf8 else data
            if b"\r" in data and data.count(b"\r") != data.count(b"\r\n"):
                data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            if not data.isascii():
                try:
                    text = data.decode(encoding)
                except UnicodeDecodeError:
                    break
                yield ByteBlock(line, data) if is_utf8 else Block(line, text.replace("\r\n", "\n"))
            else:
                yield ByteBlock(line, data)
            line += count_lines(data)
        else:
            return
    for block in text_blocks(file, encoding):  # raises what there is to say, or gives the rest
        end = block.first_line + block.text.count("\n")
        if end > line or not block.text.endswith("\n"):
            yield Block(max(line, block.first_line), block.text.split("\n", max(0, line - block.first_line))[-1])


def text_blocks(file: RawFile, encoding: str) -> Iterator[Block]:
    """Read a file in blocks of about `BLOCK_CHARACTERS`, without the byte order mark of UTF-8.

    Raises:
        TslrecError: it can't be read or is not text of this encoding, or a line is longer than `LONGEST_LINE`.
    """
    line = 1
    with file.open() as stream:
        try:
            marked = codecs.lookup(encoding).name == "utf-8"
            text = io.TextIOWrapper(stream, encoding="utf-8-sig" if marked else encoding)  # any line end becomes \n
        except LookupError:
            raise TslrecError(f"unknown --encoding {encoding!r}; try utf-8 or latin-1") from None
        try:
            while block := text.read(BLOCK_CHARACTERS):
                rest = text.readline(LONGEST_LINE)
                if len(rest) == LONGEST_LINE:
                    raise TslrecError(f"{file}: a line after line {line + block.count(chr(10))} is longer than "
                                      f"{LONGEST_LINE:,} characters, so it is no text of interactions or titles; check "
                                      "the file")
                yield Block(line, block + rest)
                line += (block + rest).count("\n")
        except UnicodeError as error:  # UTF-16 without byte order mark: not a UnicodeDecodeError
            reason = error.reason if isinstance(error, UnicodeDecodeError) else error
            raise TslrecError(f"{file} is not {encoding} text ({reason}, after line {line}); name "
                              "its encoding with --encoding") from None


def text_lines(file: RawFile, encoding: str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text without line end) of the lines that are not blank.

    Raises:
        TslrecError: see `text_blocks`.
    """
    for block in text_blocks(file, encoding):
        for number, text in enumerate(block.text.split("\n"), block.first_line):
            if text and not text.isspace():
                yield number, text


def is_utf8(file: RawFile) -> bool:
    """Return whether all of a file is UTF-8."""
    try:
        for _ in text_blocks(file, "utf-8"):
            pass
    except TslrecError:
        return False
    return True
