from __future__ import annotations

from pathlib import Path

import pytest

from tslrec_min.errors import TslrecError
from tslrec_min.recommenders.fusion.parts import WORDS, Part, check_parts, part_of


def test_a_part_is_a_word_a_run_or_item_embeddings(trained: Path, tmp_path: Path) -> None:
    for word in WORDS:
        assert part_of(None, Path(word)) == Part(word, word) and not part_of("a", Path(word)).is_run
    assert part_of("text", trained / "embed") == Part("text", trained / "embed")
    assert not part_of(None, trained / "embed").is_run and part_of(None, trained / "none").is_run
    assert part_of(None, trained / "none") == Part("none", trained / "none")
    (tmp_path / "vectors.npy").write_bytes(b"")
    assert not part_of(None, tmp_path / "vectors.npy").is_run


def test_a_folder_goes_before_a_word(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "popularity").symlink_to(trained / "none")
    monkeypatch.chdir(tmp_path)
    assert part_of(None, Path("popularity")).is_run


@pytest.mark.parametrize(("given", "message"), [
    ("transition", "transition does not exist; give a folder that tslrec train or tslrec embed wrote, a file of "
     r"vectors, or popularity, itemknn or transitions \(did you mean transitions\?\)$"),
    ("runs/0", r"runs/0 does not exist; .* or transitions$"),
    ("content", "content compares item embeddings; give them as the part"),
    ("{tmp}", "has no config.json: it is not a train artifact"),
    ("{data}", "is a dataset artifact; expected a train artifact")])
def test_what_is_none_is_named(cold: Path, tmp_path: Path, given: str, message: str) -> None:
    with pytest.raises(TslrecError, match=message):
        part_of(None, Path(given.format(tmp=tmp_path, data=cold)))


def test_there_are_two_parts_of_different_names() -> None:
    check_parts([Part("a", "popularity"), Part("b", "popularity")])
    for parts, message in (([], "got the parts: none; a sum has at least two"),
                           ([Part("a", "popularity")], "got the parts: a; a sum has"),
                           ([Part("x", Path("1/x")), Part("x", Path("2/x"))], "two parts are called 'x'.*NAME=1/x")):
        with pytest.raises(TslrecError, match=message):
            check_parts(parts)
