"""The content of the report, as plain values for its templates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from embedtune.comparison.next_steps import next_steps
from embedtune.comparison.report import charts
from embedtune.comparison.report.charts import SeriesStyles
from embedtune.comparison.report.findings import Histogram
from embedtune.comparison.words import caveat, explained, headline, rival_sentences, rivals, with_signs
from embedtune.evaluation.per_query import shown_measure
from embedtune.evaluation.results import BY_CUTOFF, BY_SLICE

SLICES = {
    "document_length": "document length (characters)",
    "query_length": "query length (characters)",
    "answer_position": "the answer's place (characters before it)",
}
FEW = 10  # a group with fewer questions has pale bars
GAP_WIDTH = 0.05  # width of a bar in the histogram of score gaps, if it has only one


@dataclass(frozen=True)
class Plots:
    """The tables behind the charts.

    `by_cutoff` and `slices` are by system, `training` and `mining` by round, `mixing` by mixture; `reliability` and
    `rejection` are those of the tuned model's calibration.
    """

    by_cutoff: Mapping[str, pd.DataFrame]
    training: Mapping[str, pd.DataFrame]
    mixing: Mapping[str, pd.DataFrame]
    mining: Mapping[str, pd.DataFrame]
    slices: Mapping[str, pd.DataFrame]
    reliability: pd.DataFrame
    rejection: pd.DataFrame


def read_plots(
    folder: Path,
    *,
    systems: Sequence[str],
    rounds: Sequence[str],
    mixtures: Sequence[str],
    sliced: Sequence[str],
    reliability: Path,
    rejection: Path,
) -> Plots:
    """Read the tables from the folder of plots: `<system>/by_cutoff.csv`, `training/<round>.csv` and so on.

    `sliced` names the systems whose slices are drawn.
    """

    def tables(kind: str, names: Sequence[str]) -> dict[str, pd.DataFrame]:
        return {name: pd.read_csv(folder / kind / f"{name}.csv") for name in names}

    return Plots(
        by_cutoff={name: pd.read_csv(folder / name / BY_CUTOFF) for name in systems},
        training=tables("training", rounds),
        mixing=tables("mixing", mixtures),
        mining=tables("mining", rounds),
        slices={name: pd.read_csv(folder / name / BY_SLICE) for name in sliced},
        reliability=pd.read_csv(reliability),
        rejection=pd.read_csv(rejection),
    )


def summary_content(
    comparison: Mapping[str, Any], confidence: float, verdict: Mapping[str, Any], failures: list[str]
) -> dict[str, Any]:
    """The content that both report files share: choice, headline, rivals, next steps, gate, systems, and the gains.

    `comparison` is that of comparison.py, and `verdict` that of gate.py, which names the system and its baseline.
    `failures` are sentences on the rules that were not met.
    """
    system, baseline = verdict["system"], verdict["baseline"]
    gains = with_signs(comparison["pairs"][f"{system}_over_{baseline}"], confidence)
    found = rivals(comparison, system, baseline, verdict["chosen"], confidence)
    return {
        "title": "embedtune report",
        "choice": verdict["choice"],
        "headline": headline(comparison, system, baseline, gains),
        "rivals": rival_sentences(found, verdict["chosen"]),
        "caveat": caveat(verdict["split"]),
        "next_steps": next_steps(verdict, gains, found),
        "gate": {**verdict, "failures": failures},
        "confidence": f"{100 * confidence:g} %",
        "measures": [row["measure"] for row in gains],
        "shown": shown_measure([row["measure"] for row in gains]),
        "shown_explained": explained(shown_measure([row["measure"] for row in gains])),
        "systems": systems_table(comparison),
        "system": system,
        "baseline": baseline,
        "gains": gains,
        "others": others_table(comparison, system, baseline, confidence),
    }


def others_table(comparison: Mapping[str, Any], system: str, baseline: str, confidence: float) -> list[dict[str, Any]]:
    """[{name, rows}]: how `system` compares with each system other than its baseline; rows as those of `with_signs`."""
    names = [name for name in comparison["intervals"] if name not in (system, baseline)]
    return [{"name": n, "rows": with_signs(comparison["pairs"][f"{system}_over_{n}"], confidence)} for n in names]


def trained_documents(counts: Mapping[str, Any], split: str) -> str:
    """A sentence on how many of the split's questions ask for a document that was trained on; "" if none does."""
    share: float = counts[f"{split}_share_with_trained_documents"]
    return f"{share:.0%} of the {split} questions ask for a document that training questions ask for too." * (share > 0)


def systems_table(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """[{name, cells: [{mean, low, high} of each measure]}], one per system of a comparison (see comparison.py)."""
    return [
        {"name": name, "cells": [{"mean": comparison[measure][name], **own} for measure, own in measures.items()]}
        for name, measures in comparison["intervals"].items()
    ]


def contents_of(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The page's sections as (id, heading)."""
    system, baseline = content["system"], content["baseline"]
    sections = {
        "systems": "Systems",
        "gain": f"{system} over {baseline}",
        "others": f"{system} over the others" if content["others"] else "",
        "forgetting": "What was forgotten" if content["forgetting"]["change"] else "",
        "scores": "What a score means",
        "curves": "Curves",
        "gained": "Questions that gained most",
        "lost": "Questions that lost most",
        "run": "What was run",
        "terms": "Terms",
    }
    return [(section, heading) for section, heading in sections.items() if heading]


def systems_chart(content: Mapping[str, Any], styles: SeriesStyles) -> dict[str, str]:
    """{title, svg}: the systems of `summary_content` with intervals of their means, in the measure shown."""
    place = content["measures"].index(content["shown"])
    means = {row["name"]: row["cells"][place] for row in content["systems"]}
    title = f"{content['shown']} of each system"
    svg = charts.intervals(
        title,
        {name: (cell["mean"], cell["low"], cell["high"]) for name, cell in means.items()},
        styles,
        x=content["shown"],
        marked=means[content["baseline"]]["mean"],
    )
    return {"title": title, "svg": svg}


def charts_of(
    plots: Plots,
    histograms: Mapping[str, Mapping[str, Histogram]],
    mixtures: Mapping[str, Mapping[str, Any]],
    styles: SeriesStyles,
    measure: str,
) -> Iterator[dict[str, str]]:
    """Yield {title, svg} of each chart.

    `histograms` are those of findings.py. `mixtures` is name -> {weight, measure}: the chosen weight of the round's
    model, and the measure that was used to choose it. `measure` is the one of the bars by slice.
    """
    for title, svg in _charts(plots, histograms, mixtures, styles, measure):
        yield {"title": title, "svg": svg}


def _charts(
    plots: Plots,
    histograms: Mapping[str, Mapping[str, Histogram]],
    mixtures: Mapping[str, Mapping[str, Any]],
    styles: SeriesStyles,
    measure: str,
) -> Iterator[tuple[str, str]]:
    title = "Recall by cutoff"
    recall = {name: (list(table["cutoff"]), list(table["recall"])) for name, table in plots.by_cutoff.items()}
    yield title, charts.lines(title, recall, styles, x="documents", y="recall", logarithmic=True)
    title = "Training loss"
    losses = {name: (list(table["step"]), list(table["loss"])) for name, table in plots.training.items()}
    yield title, charts.lines(title, losses, styles, x="step", y="loss", markers=False)
    for name, table in plots.mixing.items():
        title = f"Mixture {name}" + (": in-domain against general" if "general" in table else "")
        measured = [str(column) for column in table.columns if column != "weight"]
        series = {kind.replace("_", " "): (list(table["weight"]), list(table[kind])) for kind in measured}
        x, y = "weight of the round's model", mixtures[name]["measure"]
        yield title, charts.lines(title, series, x=x, y=y, marked=mixtures[name]["weight"])
    for name, kinds in histograms.items():
        title = f"Scores of documents, by {name}"
        edges = next(iter(kinds.values()))[0]
        yield title, charts.histograms(title, kinds, width=edges[1] - edges[0], x="score", y="share of documents")
    for name, table in plots.mining.items():
        title = f"Mined negatives, {name}: how far below the positive"
        width = table["gap"].iloc[1] - table["gap"].iloc[0] if len(table) > 1 else GAP_WIDTH
        edges = [middle - width / 2 for middle in table["gap"]]
        kinds = {str(kind): (edges, list(table[kind])) for kind in table if kind != "gap" and table[kind].any()}
        if kinds:
            yield title, charts.histograms(title, kinds, width=width, x="score gap", y="share of negatives")
    for column, words in SLICES.items():
        chosen = {name: table[table["slice"].str.startswith(f"{column}=")] for name, table in plots.slices.items()}
        first = next(iter(chosen.values()))
        if len(first) > 1:
            title = f"{measure} by {words}"
            named = [f"{label(s)}\n({n})" for s, n in zip(first["slice"], first["questions"], strict=True)]
            values = {name: list(table[measure]) for name, table in chosen.items()}
            yield title, charts.bars(title, named, values, styles, y=measure, pale=list(first["questions"] < FEW))
    if len(plots.reliability):
        title = "Reliability of calibrated scores"
        groups = {"first documents": (list(plots.reliability["predicted"]), list(plots.reliability["right"]))}
        yield title, charts.lines(title, groups, x="predicted to be right", y="share that is right", diagonal=True)
        title = "Answering only above a score"
        curve = {"precision": (list(plots.rejection["answered"]), list(plots.rejection["precision"]))}
        yield title, charts.lines(title, curve, x="share of questions answered", y="share that is right", markers=False)


def label(slice_name: str) -> str:
    """A slice's bounds, abbreviated: document_length=1000-2000 is 1–2k, document_length=over_16000 is >16k."""
    group = slice_name.partition("=")[2]
    if group.startswith("over_"):
        return ">" + _short(group.removeprefix("over_"))
    lower, dash, upper = group.partition("-")
    if not dash:
        return group
    short = [_short(bound) for bound in (lower, upper)]
    if all(bound.endswith("k") for bound in short):
        short[0] = short[0][:-1]
    return "–".join(short)


def _short(bound: str) -> str:
    return f"{int(bound) / 1000:g}k" if bound.isdigit() and int(bound) >= 1000 else bound
