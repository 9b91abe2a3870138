"""The page: sections of every run below a common summary, rendered by template.html with a style sheet of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from .. import __version__
from .collect import Run
from .sections.accuracy import accuracy
from .sections.dataset import dataset
from .sections.items import categories, maps
from .sections.learning import fine_tuning, parity, training
from .sections.provenance import provenance
from .sections.summary import facts, summary
from .text import printable

MOST_BYTES = 5_000_000
"""Larger pages are refused: they are slow to open and too large to send. Some 15 runs of MovieLens-100K fit."""
_DOTS, _MOST_DOTS = 24_000, 3000
"""Dots of all maps of a page, and of one map at most; a dot takes some 30 bytes."""


@dataclass(frozen=True)
class Section:
    """A part of the page that the table of contents leads to."""

    key: str
    """Of the template's macro that shows it."""
    anchor: str
    title: str
    values: dict[str, Any]
    """What the macro shows."""


def page(runs: Sequence[Run]) -> str:
    """Return the page on runs, at least one: the same bytes for the same artifacts."""
    dots = min(_MOST_DOTS, _DOTS // (2 * len(runs)))
    parts = [{"anchor": f"run-{number}", "name": run.name, "facts": facts(run),
              "sections": list(_sections(run, f"run-{number}", dots))} for number, run in enumerate(runs, 1)]
    return template(_file("template.html")).render(
        version=__version__, style=Markup(_file("style.css")), names=", ".join(run.name for run in runs), runs=parts,
        summary=summary(runs))


def template(text: str) -> Template:
    """Return a template whose values are escaped unless they are markup already."""
    return Environment(autoescape=True, finalize=printable, undefined=StrictUndefined, trim_blocks=True,
                       lstrip_blocks=True, keep_trailing_newline=True).from_string(text)


def _file(name: str) -> str:
    return (files("tslrec_min") / "report" / name).read_text(encoding="utf-8")


def _sections(run: Run, name: str, dots: int) -> Iterator[Section]:
    """Give the sections that the run has artifacts for; `name` begins all ids in them."""
    found = (("accuracy", "Accuracy", accuracy(run, name)), ("data", "Data set", dataset(run, name)),
             ("training", "Training", training(run, name)),
             ("fine-tuning", "Fine-tuning of the language model", fine_tuning(run, name)),
             ("categories", "Latent categories", categories(run, name)),
             ("embeddings", "Item embeddings", maps(run, name, dots)),
             ("parity", "Quantisation and parity", parity(run)),
             ("provenance", "How it was made", provenance(run)))
    return (Section(key, f"{name}-{key}", title, values) for key, title, values in found if values is not None)
