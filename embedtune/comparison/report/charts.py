"""Charts as inline SVG: matplotlib draws them, and the page's CSS sets the colours, for light and for dark mode."""

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

WIDTH, HEIGHT = 5.2, 3.1  # inches; the page scales the charts
PALE = 0.35  # opacity of pale bars
INK, GRID = "#010101", "#020202"  # placeholders, as those of SERIES: `_svg` replaces them by the page's colours
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
class SeriesStyle:
    """The colour of a series (a number from 0; colours repeat after eight) and its dash (an index into `DASHES`)."""

    colour: int
    dash: int = 0


SeriesStyles = Mapping[str, SeriesStyle]


def series_styles(models: Sequence[str], beside: Sequence[str]) -> dict[str, SeriesStyle]:
    """The style of each system in every chart: solid lines for `models`, dashed lines for the systems `beside` them.

    Lines of models after the first eight are dashed too, since their colours repeat.
    """
    found = {name: SeriesStyle(number, number // len(SERIES)) for number, name in enumerate(models)}
    return found | {
        name: SeriesStyle(len(models) + number, 1 + number % (len(DASHES) - 1)) for number, name in enumerate(beside)
    }


def lines(
    title: str,
    series: Mapping[str, Points],
    styles: SeriesStyles | None = None,
    *,
    x: str,
    y: str,
    logarithmic: bool = False,
    diagonal: bool = False,
    markers: bool = True,
    marked: float | None = None,
) -> str:
    """A line chart, one line per series of (x, y); `diagonal` adds a dotted y = x, `marked` a dotted line at that x."""
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": title}):
        figure, axes = _figure(x, y)
        if diagonal:
            axes.plot([0, 1], [0, 1], linestyle=":", color=GRID, linewidth=1)
        if marked is not None:
            axes.axvline(marked, linestyle=":", color=INK, linewidth=1)
        for (name, (places, values)), style in zip(series.items(), _of(series, styles), strict=True):
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


def histograms(title: str, series: Mapping[str, Points], *, width: float, x: str, y: str) -> str:
    """Histograms as outlines: each series is (left edges of its bins, heights), with bins `width` wide."""
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
    styles: SeriesStyles,
    *,
    y: str,
    pale: Sequence[bool],
) -> str:
    """A grouped bar chart: one bar per series in each group. The bars of `pale` groups, which say little, are faded."""
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": title}):
        figure, axes = _figure("", y)
        width = 0.8 / len(series)
        for number, ((name, values), style) in enumerate(zip(series.items(), _of(series, styles), strict=True)):
            places = [place + (number - (len(series) - 1) / 2) * width for place in range(len(groups))]
            drawn = axes.bar(places, list(values), width=width * 0.92, color=_colour(style))
            for bar, is_pale in zip(drawn, pale, strict=True):
                bar.set_alpha(PALE if is_pale else 1)
            axes.bar(places[:1], [0], width=0, label=name, color=_colour(style))  # gives the legend its full colour
        axes.set_xticks(range(len(groups)), list(groups), fontsize=8 if len(groups) > 4 else 10)
        _legend(axes, len(series))
        return _svg(figure, title)


def intervals(
    title: str,
    series: Mapping[str, tuple[float, float, float]],
    styles: SeriesStyles,
    *,
    x: str,
    marked: float,
) -> str:
    """One row per series with a point at its mean and a bar from low to high; `marked` adds a dotted line at that x."""
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": title}):
        figure, axes = _figure(x, "", height=0.9 + 0.32 * len(series))
        axes.grid(visible=False, axis="y")
        axes.grid(axis="x", linewidth=0.5, alpha=0.4)
        axes.axvline(marked, linestyle=":", color=INK, linewidth=1)
        for row, ((mean, low, high), style) in enumerate(zip(series.values(), _of(series, styles), strict=True)):
            axes.plot([low, high], [row, row], color=_colour(style), linewidth=2)
            axes.plot([mean], [row], marker="o", markersize=6, color=_colour(style))
        axes.set_yticks(range(len(series)), list(series))
        axes.set_ylim(len(series) - 0.5, -0.5)
        return _svg(figure, title)


def _of(series: Mapping[str, object], styles: SeriesStyles | None) -> list[SeriesStyle]:
    return [styles[name] if styles else SeriesStyle(number) for number, name in enumerate(series)]


def _colour(style: SeriesStyle) -> str:
    return SERIES[style.colour % len(SERIES)]


def _figure(x: str, y: str, height: float = HEIGHT) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
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
    """The figure as inline SVG: as wide as its container, labelled for screen readers, in the page's colours and font.

    Its ids begin with the title, so that no other chart on the page has the same.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)  # its rules would apply to the whole page
    text = re.sub(r"font-family:[^;\"]*;? ?", "", text)
    name = re.sub(r"\W+", "-", title).strip("-").lower()
    text = re.sub(r'( id="| xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    colours = {INK: "currentColor", GRID: "var(--grid)"}
    colours |= {colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)}
    for colour, named in colours.items():
        text = text.replace(colour, named)
    return text
