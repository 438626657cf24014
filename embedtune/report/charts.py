"""Charts as SVG for a page: matplotlib draws, the page's CSS colours, so that one file is right by day and by night."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

matplotlib.use("svg")

WIDTH, HEIGHT = 5.2, 3.1  # inches; the page scales them
PALE = 0.35  # opacity
INK, GRID = "#010101", "#020202"
SERIES = [f"#0300a{number}" for number in range(8)]  # the page's --series-1 to --series-8
DASHES = ("-", "--", "-.", ":")
STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "lines.linewidth": 2,
}
Points = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Look:
    """A series' colour (0 and up; they come round after eight) and dash (of `DASHES`)."""

    colour: int
    dash: int = 0


Looks = Mapping[str, Look]


def looks(models: Sequence[str], beside: Sequence[str]) -> dict[str, Look]:
    """The look that each system has in every chart: models with whole lines, systems beside them with broken ones."""
    found = {name: Look(number, number // len(SERIES)) for number, name in enumerate(models)}
    return found | {
        name: Look(len(models) + number, 1 + number % (len(DASHES) - 1)) for number, name in enumerate(beside)
    }


def lines(
    title: str,
    series: Mapping[str, Points],
    look: Looks | None = None,
    *,
    x: str,
    y: str,
    logarithmic: bool = False,
    diagonal: bool = False,
    markers: bool = True,
    marked: float | None = None,
) -> str:
    """One line a series of (x, y); `diagonal` adds y = x, dotted, and `marked` a line at that x."""
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": title}):
        figure, axes = _figure(x, y)
        if diagonal:
            axes.plot([0, 1], [0, 1], linestyle=":", color=GRID, linewidth=1)
        if marked is not None:
            axes.axvline(marked, linestyle=":", color=INK, linewidth=1)
        for (name, (places, values)), style in zip(series.items(), _of(series, look), strict=True):
            axes.plot(
                places,
                values,
                marker="o" if markers else None,
                markersize=4,
                label=name,
                color=_colour(style),
                linestyle=DASHES[style.dash],
            )
        if logarithmic:
            axes.set_xscale("log")
            ticks = sorted({place for places, _ in series.values() for place in places})
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
            axes.minorticks_off()
        _legend(axes, len(series))
        return _svg(figure, title)


def steps(title: str, series: Mapping[str, Points], *, width: float, x: str, y: str) -> str:
    """Histograms: of each series the left edges of its bars, `width` wide, and their heights."""
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": title}):
        figure, axes = _figure(x, y)
        for (name, (edges, heights)), style in zip(series.items(), _of(series, None), strict=True):
            axes.stairs(list(heights), [*edges, edges[-1] + width], label=name, linewidth=2, color=_colour(style))
        _legend(axes, len(series))
        return _svg(figure, title)


def bars(
    title: str,
    groups: Sequence[str],
    series: Mapping[str, Sequence[float]],
    look: Looks,
    *,
    y: str,
    pale: Sequence[bool],
) -> str:
    """Bars side by side: of each group one a series; those of `pale` groups say little."""
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": title}):
        figure, axes = _figure("", y)
        width = 0.8 / len(series)
        for number, ((name, values), style) in enumerate(zip(series.items(), _of(series, look), strict=True)):
            places = [place + (number - (len(series) - 1) / 2) * width for place in range(len(groups))]
            drawn = axes.bar(places, list(values), width=width * 0.92, color=_colour(style))
            for bar, is_pale in zip(drawn, pale, strict=True):
                bar.set_alpha(PALE if is_pale else 1)
            axes.bar(places[:1], [0], width=0, label=name, color=_colour(style))  # for the legend, which is not pale
        axes.set_xticks(range(len(groups)), list(groups), fontsize=8 if len(groups) > 4 else 10)
        _legend(axes, len(series))
        return _svg(figure, title)


def _of(series: Mapping[str, object], look: Looks | None) -> list[Look]:
    return [look[name] if look else Look(number) for number, name in enumerate(series)]


def _colour(look: Look) -> str:
    return SERIES[look.colour % len(SERIES)]


def _figure(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y", linewidth=0.5, alpha=0.4)
    axes.set_axisbelow(True)
    return figure, axes


def _legend(axes: Axes, count: int) -> None:
    if count > 1:
        axes.legend(fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)


def _svg(figure: Figure, title: str) -> str:
    """The drawing as a part of a page: as wide as its place, named for screen readers, in the page's colours and font,
    with ids that no other chart has."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)  # it would hold for the whole page
    text = re.sub(r"font-family:[^;\"]*;? ?", "", text)
    name = re.sub(r"\W+", "-", title).strip("-").lower()
    text = re.sub(r'( id="| xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    colours = {INK: "currentColor", GRID: "var(--grid)"}
    colours |= {colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)}
    for colour, named in colours.items():
        text = text.replace(colour, named)
    return text
