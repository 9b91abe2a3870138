"""Pictures as SVG inside the page: drawn by matplotlib, coloured by the page's style, so that they fit light and dark.

Figures are drawn with stand-ins for colours, which are replaced by variables of the style sheet. Texts stay
texts. The elements get ids that no other figure of the page has, and everything that names another document goes.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from .text import printable, quoted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID = "#010101", "#010102", "#010103"
SERIES = tuple(f"#01020{number}" for number in range(8))
"""Stand-ins for the colours of lines, such as those of arms."""
DASHES: tuple[tuple[int, tuple[float, ...]], ...] = ((0, ()), (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
"""Line styles, so that lines differ in more than colour."""
_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)"} | {
    color: f"var(--series-{number})" for number, color in enumerate(SERIES)}
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "tslrec", "text.parse_math": False, "font.size": 8, "axes.titlesize": 8,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.6,
    "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "lines.linewidth": 1.4, "lines.solid_capstyle": "round"}


def draw(paint: Callable[[Axes], None], name: str, title: str, *, size: tuple[float, float] = (4.4, 2.7)) -> Markup:
    """Draw one picture.

    Args:
        paint: draws into the axes, with colours of this module.
        name: unique on the page; a prefix of all ids in the picture.
        title: what it shows, for readers who can't see it.
        size: width and height in inches; only their ratio and the size relative to texts matter.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    stream = io.StringIO()
    with style.context(["default", _SETTINGS]), warnings.catch_warnings():  # not as the user's matplotlibrc has it
        warnings.filterwarnings("ignore", message="Glyph")  # the reader's browser has fonts of its own
        figure = Figure(figsize=size, layout="constrained")
        paint(figure.add_subplot())
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return _inline(stream.getvalue(), name, title)


def _inline(document: str, name: str, title: str) -> Markup:
    """Return the picture of an SVG document as an element of the page."""
    svg = re.search(r'viewBox="([^"]+)"[^>]*>(.*)</svg>', document, re.DOTALL)
    assert svg, "matplotlib writes one svg element with a viewBox"
    inner = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", "", svg[2],
                   flags=re.DOTALL)
    inner = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", inner.replace("xlink:href", "href"))
    inner = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda part: re.sub(r"(\.\d\d)\d+", r"\1", part[0]), inner)
    inner = re.sub(r"font: ([^;\"]*?px) [^;\"]*", r"font-size: \1", inner)
    inner = re.sub("|".join(_VARIABLES), lambda color: _VARIABLES[color[0]], inner)
    inner = re.sub(r"\s*\n\s*", "\n", inner)
    return Markup('<svg viewBox="{0}" role="img" aria-labelledby="{1}-title"><title id="{1}-title">{2}</title>{3}</svg>'
                  ).format(svg[1], name, printable(title), Markup(inner))


def style(group: int) -> dict[str, Any]:
    """Return the colour and dashes of a group of lines, different for the first 32 groups."""
    return {"color": SERIES[group % len(SERIES)], "linestyle": DASHES[(group + group // len(SERIES)) % len(DASHES)]}


def legend(labels: Sequence[str]) -> Markup:
    """Return a legend of lines that are drawn in the order of `style`."""
    entries = []
    for group, label in enumerate(labels):
        color, (_, dashes) = style(group).values()
        pattern = f' stroke-dasharray="{" ".join(map(str, dashes))}"' if dashes else ""
        entries.append(Markup(
            '<li><svg class="swatch" viewBox="0 0 22 8" aria-hidden="true"><path d="M1 4H21" fill="none" '
            f'style="stroke: {_VARIABLES[color]}"{pattern}/></svg>{{}}</li>').format(quoted(label)))
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(entries))


def dot(color: str) -> Markup:
    """Return a dot in a colour, for tables that are legends."""
    return Markup(f'<svg class="dot" viewBox="0 0 8 8" aria-hidden="true"><circle cx="4" cy="4" r="3.5" '
                f'style="fill: {_VARIABLES.get(color, color)}"/></svg>')
