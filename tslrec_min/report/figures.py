"""The pictures of a report, each for one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from .drawing import DASHES, INK, MUTED, SERIES, draw, style
from .statistics import ArmFigure, bins, smoothed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STEPS = 400
"""Points of a curve of training losses: more can't be seen."""


def curves(name: str, title: str, lines: Sequence[tuple[int, Sequence[float]]], xlabel: str, ylabel: str, *,
           logarithmic: bool = False) -> Markup:
    """Draw lines, (group, values for x = 1, 2, ...) each; lines of one group, such as an arm's seeds, look alike."""
    from matplotlib.ticker import MaxNLocator

    def paint(axes: Axes) -> None:
        for group, values in lines:
            marker = "o" if len(values) == 1 else None  # a line of one point can't be seen
            axes.plot(range(1, len(values) + 1), values, marker=marker, markersize=3, **style(group))
        axes.set(xlabel=xlabel, ylabel=ylabel)
        if logarithmic:
            axes.set_xscale("log")
            plain_numbers(axes)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return draw(paint, name, title)


def weights(name: str, title: str, lines: Sequence[tuple[int, Mapping[str, float]]]) -> Markup:
    """Draw the weights of the parts of a sum, (group, weight by training interactions of an item) each."""
    def paint(axes: Axes) -> None:
        for group, of_part in lines:
            axes.plot([int(frequency) for frequency in of_part], list(of_part.values()), marker="o", markersize=3,
                      **style(group))
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set(xlabel="training interactions of the item", ylabel="weight", xscale="log")
        plain_numbers(axes)

    return draw(paint, name, title)


def histogram(name: str, title: str, values: np.ndarray, xlabel: str, ylabel: str) -> Markup:
    """Draw a histogram of values, int64 [n]; the x axis is logarithmic if they differ more than tenfold."""
    counts, edges = bins(values)

    def paint(axes: Axes) -> None:
        axes.stairs(counts, edges, fill=True, color=SERIES[0], alpha=0.75)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.grid(False, axis="x")
        if edges[-1] - 1 > 10 * edges[0]:
            axes.set_xscale("log")
            plain_numbers(axes)
        axes.set_xlim(edges[0], edges[-1])

    return draw(paint, name, title)


def plain_numbers(axes: Axes) -> None:
    """Label a logarithmic x axis with 1, 2, 5, 10, ... instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())


def held_out_losses(name: str, title: str, checks: Sequence[Mapping[str, float]], baseline: float, known: str,
                    ylabel: str) -> Markup:
    """Draw the held-out loss of every check, and that of the baseline as a line with its name."""
    def paint(axes: Axes) -> None:
        steps = [check["step"] for check in checks]
        axes.plot(steps, [check["loss"] for check in checks], marker="o", markersize=3.5, color=SERIES[0])
        axes.axhline(baseline, color=SERIES[1], linestyle=DASHES[1])
        axes.annotate(known, (1, baseline), (0, 3), ha="right", xycoords=("axes fraction", "data"),
                      textcoords="offset points", color=INK)
        axes.set(xlabel="step", ylabel=ylabel, xlim=(0, max(steps) * 1.04))
        axes.margins(y=0.12)

    return draw(paint, name, title)


def training_losses(name: str, title: str, losses: list[float], ylabel: str) -> Markup:
    """Draw the loss of every training step, pale, and its running mean."""
    steps = np.unique(np.linspace(0, len(losses) - 1, min(len(losses), _STEPS)).astype(int))
    means = smoothed(losses, max(1, len(losses) // 20))

    def paint(axes: Axes) -> None:
        axes.plot(steps + 1, np.asarray(losses)[steps], color=MUTED, linewidth=0.8, alpha=0.55)
        axes.plot(steps + 1, means[steps], color=SERIES[0])
        axes.set(xlabel="step", ylabel=ylabel)

    return draw(paint, name, title)


def category_sizes(name: str, title: str, sizes: np.ndarray, colors: Sequence[str]) -> Markup:
    """Draw the number of items of every category, int64 [K], largest first."""
    order = np.argsort(-sizes, kind="stable")

    def paint(axes: Axes) -> None:
        axes.bar(range(len(sizes)), sizes[order], color=[colors[place] for place in order], width=0.8)
        if len(sizes) <= 40:
            axes.set_xticks(range(len(sizes)), [str(place) for place in order], fontsize=6)
        axes.set(xlabel="latent category, largest first", ylabel="items")
        axes.grid(False, axis="x")

    return draw(paint, name, title, size=(9, 2.4))


def item_map(name: str, title: str, points: np.ndarray, labels: np.ndarray, colors: Sequence[str]) -> Markup:
    """Draw items as dots in the colours of their categories.

    The dots of a category are one path of lines of length 0 with round ends: a tenth of the size of as many circles.

    Args:
        name, title: see `draw`.
        points: float64 [n, 2].
        labels: int64 [n], the categories.
        colors: of each category.
    """
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    def paint(axes: Axes) -> None:
        for category in np.unique(labels):
            at = np.repeat(points[labels == category], 2, axis=0)
            path = Path(at, np.tile([Path.MOVETO, Path.LINETO], len(at) // 2).astype(np.uint8))
            path.should_simplify = False  # type: ignore[misc]
            axes.add_patch(PathPatch(path, fill=False, edgecolor=colors[category], linewidth=3.2, alpha=0.8,
                                     capstyle="round", clip_on=False))
        low, high = points.min(axis=0), points.max(axis=0)
        margin = 0.04 * np.maximum(high - low, 1e-9)
        axes.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]),
                 xlabel="first component", ylabel="second component", xticks=[], yticks=[])

    return draw(paint, name, title, size=(4.4, 3.9))


def intervals(name: str, title: str, figures: Sequence[ArmFigure], *, lift: bool, xlabel: str) -> Markup:
    """Draw means, or differences from the first arm, with their 95% intervals: a row an arm, by groups of users."""
    shown = [figure for figure in figures if not lift or figure.lift]
    groups = list(dict.fromkeys(figure.group for figure in shown))
    arms = list(dict.fromkeys(figure.arm for figure in figures))
    per_group = len(arms) - lift + 0.8

    def paint(axes: Axes) -> None:
        for figure in shown:
            test, arm = figure.lift if lift and figure.lift else figure.own, arms.index(figure.arm)
            place = groups.index(figure.group) * per_group + arm - lift
            axes.plot([test.low, test.high], [place, place], **(style(arm) | {"linestyle": "-"}))
            axes.plot([test.mean_difference], [place], marker="osD^vPX*"[arm % 8], markersize=4.5, **style(arm))
        axes.set_yticks([number * per_group + (len(arms) - lift - 1) / 2 for number in range(len(groups))], groups)
        axes.set_ylim(len(groups) * per_group - 0.9, -0.9)
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        if lift:
            axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_xlabel(xlabel)

    return draw(paint, name, title, size=(4.4, 0.8 + 0.15 * per_group * len(groups)))


def category_colors(count: int) -> list[str]:
    """Return `count` colours that stand out from white and black: hues a golden angle apart, in two lightnesses.

    In OKLCH, "A perceptual color space for image processing", B. Ottosson, 2020.
    """
    return [_srgb(0.57 if number % 2 else 0.7, 0.14, number * 2.39996) for number in range(count)]


def _srgb(lightness: float, chroma: float, hue: float) -> str:
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    l_, m_, s_ = (value**3 for value in (lightness + 0.3963377774 * a + 0.2158037573 * b,
                                         lightness - 0.1055613458 * a - 0.0638541728 * b,
                                         lightness - 0.0894841775 * a - 1.2914855480 * b))
    linear = np.array([4.0767416621 * l_ - 3.3077115913 * m_ + 0.2309699292 * s_,
                       -1.2684380046 * l_ + 2.6097574011 * m_ - 0.3413193965 * s_,
                       -0.0041960863 * l_ - 0.7034186147 * m_ + 1.7076147010 * s_]).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return "#" + "".join(f"{round(float(value) * 255):02x}" for value in encoded)
