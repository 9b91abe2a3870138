"""The page: a common summary, then the sections of every run; template.html and style.css give it its form."""

from __future__ import annotations

from collections.abc import Sequence
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

MAX_BYTES = 5_000_000
"""Larger pages are refused: they are slow to open and too large to send. About 15 runs of MovieLens-100K fit."""
_PAGE_DOTS, _MAP_DOTS = 24_000, 3000
"""Maximum number of dots of all maps of a page, and of one map; a dot takes about 30 bytes."""


def page(runs: Sequence[Run]) -> str:
    """Return the page on runs, at least one: the same bytes for the same artifacts."""
    dots = min(_MAP_DOTS, _PAGE_DOTS // max(1, sum(len(run.spreads) for run in runs)))
    parts = [{"anchor": f"run-{number}", "name": run.name, "facts": facts(run),
              "sections": _sections(run, f"run-{number}", dots)} for number, run in enumerate(runs, 1)]
    html, css = ((files("tslrec_min") / "report" / name).read_text("utf-8") for name in ("template.html", "style.css"))
    return template(html).render(
        version=__version__, style=Markup(css), names=", ".join(run.name for run in runs), runs=parts,
        summary=summary(runs))


def template(text: str) -> Template:
    """Return a template whose values are escaped unless they are markup already."""
    return Environment(autoescape=True, finalize=printable, undefined=StrictUndefined, trim_blocks=True,
                       lstrip_blocks=True, keep_trailing_newline=True).from_string(text)


def _sections(run: Run, name: str, dots: int) -> list[dict[str, Any]]:
    """Return the sections that the run has artifacts for; all ids in them begin with `name`."""
    every = (("accuracy", "Accuracy", accuracy(run, name)), ("data", "Data set", dataset(run, name)),
             ("training", "Training", training(run, name)),
             ("fine-tuning", "Fine-tuning of the language model", fine_tuning(run, name)),
             ("categories", "Latent categories", categories(run, name)),
             ("embeddings", "Item embeddings", maps(run, name, dots)),
             ("parity", "Quantisation and parity", parity(run)),
             ("provenance", "How it was made", provenance(run)))
    return [{"key": key, "anchor": f"{name}-{key}", "title": title, "values": values}
            for key, title, values in every if values is not None]
