from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tslrec_min.report.page import template
from tslrec_min.report.text import quoted

from ..factories import tslrec
from .factories import parsed

pytest.importorskip("matplotlib")
SCRIPT = "<script>alert('title')</script> & \"co\""
BASELINE, OTHER, TUNED = "ids <b>only</b>", "un$tuned_{x}$ & co", "tslrec \u4e03\u4eba"


def test_page_is_well_formed_and_its_references_lead_somewhere(page: str) -> None:
    root = parsed(page)
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    named = {node.get("aria-labelledby") for node in root.iter()} - {None}
    local = set(re.findall(r'(?:href="|url\()#([^")]+)', page))
    assert named | local <= set(ids) and local
    for picture in (node for node in root.iter("svg") if node.get("role") == "img"):
        assert picture.find("title").text and picture.get("viewBox")  # type: ignore[union-attr]
    assert len(list(root.iter("figure"))) >= 11
    for found in root.iter("table"):
        assert found.find("caption").text  # type: ignore[union-attr]
        widths = {len(row) for row in found.iter("tr")}
        assert len(widths) == 1
    levels = [int(node.tag[1]) for node in root.iter() if re.fullmatch("h[1-6]", str(node.tag))]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))


def test_page_needs_nothing_else_and_is_small(page: str) -> None:
    assert len(page.encode()) < 1_000_000
    assert "://" not in page and "@import" not in page and "src=" not in page
    assert set(re.findall(r"url\((.)", page)) <= {"#"}
    nodes = list(parsed(page).iter())
    assert not {"script", "link", "iframe", "object", "img", "base", "form"} & {str(node.tag) for node in nodes}
    assert not any(name.startswith("on") for node in nodes for name in node.attrib)
    assert "default-src &#x27;none&#x27;" in page


def test_what_data_says_stays_text(page: str) -> None:
    root = parsed(page)
    texts = "".join(root.itertext())
    assert SCRIPT in texts and BASELINE in texts and OTHER in texts and TUNED in texts
    assert not any(node.tag in ("script", "b") for node in root.iter())


def test_pages_too_large_are_refused(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tslrec_min.report.page.MAX_BYTES", 10_000)
    result = tslrec("report", whole / "evaluate", "-o", tmp_path / "r.html")
    assert result.exit_code == 1 and "fewer runs" in result.stderr and not list(tmp_path.iterdir())


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_survives_as_text(content: str, attribute: str) -> None:
    shown = template('<p title="{{ attribute }}">{{ content }}</p>').render(content=content, attribute=attribute)
    root = ET.fromstring(shown)
    clean = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", content)
    assert "".join(root.itertext()) == re.sub("\r\n?", "\n", clean) and not list(root)
    assert len(quoted(content, 10)) <= 10
