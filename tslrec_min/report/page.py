"""The page: sections of every run below a common summary, with a table of contents and a style sheet of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from .. import __version__
from .accuracy import accuracy
from .collect import Run
from .content import content
from .items import categories, maps
from .learning import fine_tuning, parity, training
from .markup import Content, Html, bullets, element, paragraph
from .provenance import provenance
from .summary import facts, summary

MOST_BYTES = 5_000_000
"""Larger pages are refused: they are slow to open and too large to send. Some 15 runs of MovieLens-100K fit."""
_DOTS, _MOST_DOTS = 24_000, 3000
"""Dots of all maps of a page, and of one map at most; a dot takes some 30 bytes."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may load for the page: nothing from elsewhere, and no script at all."""


@dataclass(frozen=True)
class Section:
    """A part of the page that the table of contents leads to."""

    anchor: str
    title: str
    content: Html


def page(runs: Sequence[Run]) -> str:
    """Return the page on runs, at least one: the same bytes for the same artifacts."""
    names = ", ".join(run.name for run in runs)
    several = len(runs) > 1
    top = Section("summary", "Summary", summary(runs))
    dots = min(_MOST_DOTS, _DOTS // (2 * len(runs)))
    of_runs = [list(_sections(run, f"run-{number}", 3 if several else 2, dots)) for number, run in enumerate(runs, 1)]
    body = [_section(top, 2)]
    links: list[Content] = [_link(top)]
    for number, (run, sections) in enumerate(zip(runs, of_runs, strict=True), 1):
        if several:
            inner = Html(facts(run) + "".join(_section(part, 3) for part in sections))
            within = Section(f"run-{number}", run.name, inner)
            body.append(_section(within, 2))
            links.append([_link(within), bullets(map(_link, sections))])
        else:
            body += [_section(part, 2) for part in sections]
            links += map(_link, sections)
    style = Html((files("tslrec_min") / "report" / "style.css").read_text(encoding="utf-8"))
    head = element("head", element("meta", charset="utf-8"),
                   element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
                   element("meta", name="viewport", content="width=device-width, initial-scale=1"),
                   element("meta", name="color-scheme", content="light dark"),
                   element("meta", name="generator", content=f"tslrec-min {__version__}"),
                   element("title", f"tslrec report: {names}"), element("style", style))
    shown = element("body", element("a", "To the summary", class_="skip", href="#summary"), element(
        "header", element("h1", f"tslrec report: {names}")), element("nav", bullets(links), aria_label="Contents"),
        element("main", *body), element("footer", paragraph(f"Made by tslrec-min {__version__}.")))
    return f"<!DOCTYPE html>\n{element('html', head, shown, lang='en')}\n"


def _sections(run: Run, name: str, level: int, dots: int) -> Iterator[Section]:
    """Give the sections that the run has artifacts for; `name` begins all ids in them."""
    found = (("accuracy", "Accuracy", accuracy(run, name)), ("data", "Data set", content(run, name)),
             ("training", "Training", training(run, name)),
             ("fine-tuning", "Fine-tuning of the language model", fine_tuning(run, name)),
             ("categories", "Latent categories", categories(run, name)),
             ("embeddings", "Item embeddings", maps(run, name, dots)),
             ("parity", "Quantisation and parity", parity(run)),
             ("provenance", "How it was made", provenance(run, level + 1)))
    return (Section(f"{name}-{key}", title, inner) for key, title, inner in found if inner is not None)


def _section(part: Section, level: int) -> Html:
    return element("section", element(f"h{level}", part.title, id=part.anchor), part.content,
                   aria_labelledby=part.anchor)


def _link(part: Section) -> Html:
    return element("a", part.title, href=f"#{part.anchor}")
