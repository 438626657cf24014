"""What the report shows: the first sentence, tables, charts, and both files, the page looked at in a browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from embedtune.comparison.comparison import compare
from embedtune.comparison.report import charts
from embedtune.comparison.report.content import Plots, charts_of, contents_of, label, summary_content, systems_chart
from embedtune.comparison.report.findings import (
    Collection,
    System,
    example,
    score_histograms,
)
from embedtune.comparison.report.render import page, summary
from embedtune.comparison.significance import Resampling
from embedtune.comparison.words import findings, headline, rivals, with_signs
from embedtune.evaluation.per_query import first_documents
from tests.browser import contrast, look_at, needs_chromium
from tests.golden.mining import World

UNSURE = "it is not sure that tuned is better than base"
BESIDE = ("bm25", "hybrid_ranks", "hybrid_scores")  # systems that are no embedding models


def comparison(gain: float, measures: tuple[str, ...] = ("recall@10", "ndcg@10")) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    index = pd.Index([f"q{i}" for i in range(100)], name="query_id")
    base = rng.random((100, len(measures)))
    values = {"base": base, "tuned": base + gain + 0.1 * rng.standard_normal(base.shape), "bm25": base * 0.5}
    tables = {name: pd.DataFrame(value, index=index, columns=list(measures)) for name, value in values.items()}
    return compare(tables, "base", "tuned", Resampling(0.95, 1000, seed=4))


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (0.1, "tuned is better than base"),
        (-0.1, "tuned is worse than base"),
        (0.0, "no difference between tuned and base can be told"),
    ],
)
def test_the_first_sentence_says_no_more_than_the_interval(gain: float, words: str) -> None:
    found = comparison(gain)
    said = sentence(found)
    assert said.startswith(words)
    assert f"ndcg@10 {found['ndcg@10']['base']:.4f} → {found['ndcg@10']['tuned']:.4f}" in said
    assert "ndcg@5 " in sentence(comparison(gain, ("recall@5", "ndcg@5")))
    assert "recall@1 " in sentence(comparison(gain, ("recall@1",)))


@pytest.mark.parametrize("count", [1, 3, 5])
def test_a_few_questions_that_agree_are_no_proof(count: int) -> None:
    """Their resamples are all better, but so would one in 2 ** (count - 1) be by chance."""
    index = pd.Index([f"q{i}" for i in range(count)], name="query_id")
    rises = pd.DataFrame({"ndcg@10": np.linspace(0.1, 0.3, count)}, index=index)
    found = compare({"base": rises * 0, "tuned": rises}, "base", "tuned", Resampling(0.95, 1000, seed=4))
    assert found["pairs"]["tuned_over_base"]["ndcg@10"]["low"] > 0
    assert sentence(found).startswith(UNSURE)


def test_of_many_comparisons_one_that_seems_sure_is_not_called_better() -> None:
    """A gain with p = .03 by itself: among twelve tests the words say that it is not sure."""
    rng = np.random.default_rng(1)
    index = pd.Index([f"q{i}" for i in range(60)], name="query_id")
    base = pd.DataFrame({"ndcg@10": rng.random(60)}, index=index)
    gains = rng.standard_normal(60)
    gains = 0.1 * (gains - gains.mean() + 0.29 * gains.std())
    scores = {"base": base, "tuned": base.add(gains, axis=0)}
    how = Resampling(0.95, 2000, seed=4)
    alone = compare(scores, "base", "tuned", how)
    assert sentence(alone).startswith("tuned is better than base")
    many = scores | {f"s{i}": base.add(0.1 * rng.standard_normal(60), axis=0) for i in range(6)}
    found = compare(many, "base", "tuned", how)
    assert len(found["pairs"]) == 13
    assert found["pairs"]["tuned_over_base"]["ndcg@10"]["low"] > 0
    assert sentence(found).startswith(UNSURE)


def test_what_got_worse_beside_the_measure_shown_is_said() -> None:
    index = pd.Index([f"q{i}" for i in range(50)], name="query_id")
    base = pd.DataFrame({"ndcg@10": np.full(50, 0.4), "recall@10": np.full(50, 0.8)}, index=index)
    spread = np.linspace(-0.1, 0.1, 50)
    tuned = base.assign(**{"ndcg@10": 0.6 + spread, "recall@10": 0.5 + spread})
    found = compare({"base": base, "tuned": tuned}, "base", "tuned", Resampling(0.95, 1000, seed=4))
    assert sentence(found).startswith("tuned is better than base") and sentence(found).endswith(
        "It is worse in recall@10."
    )


def sentence(found: dict[str, Any]) -> str:
    return headline(found, "tuned", "base", with_signs(found["pairs"]["tuned_over_base"], 0.95))


def content(gain: float, failures: list[str], rules: bool = True, split: str = "test") -> dict[str, Any]:
    verdict = {
        "passed": not failures,
        "choice": "tuned is released: it is better than base on dev.",
        "system": "tuned",
        "baseline": "base",
        "chosen": "tuned",
        "split": split,
        "rules": {"r": {}} if rules else {},
    }
    return summary_content(comparison(gain), 0.95, verdict, failures) | {
        "documents_trained": "62% of the test questions ask for a document that training questions ask for too.",
        "questions": "100",
        "split": split,
        "data_used": "local, 5 documents",
        "base_model": "sample",
    }


@pytest.mark.parametrize(
    "failures", [[], ["params.yaml:140: gate: ndcg@10: no gain", "params.yaml:141: gate: too few"]]
)
@pytest.mark.parametrize("rules", [True, False])
def test_the_summary_is_two_tables_whatever_the_gate_says(failures: list[str], rules: bool) -> None:
    text = summary(content(0.1, failures, rules))
    tokens = MarkdownIt().enable("table").parse(text)
    assert [token.type for token in tokens].count("table_open") == 2
    rows = [token.type for token in tokens].count("tr_open")
    assert rows == (1 + 3) + (1 + 2), "a head and three systems; a head and two measures"
    assert [token.type for token in tokens].count("list_item_open") == (len(failures) if rules else 0)
    assert ("Gate: **" in text) == rules
    assert text.startswith(
        "## embedtune report\n\ntuned is released: it is better than base on dev.\n\nOn 100 test questions, "
    )
    assert "95 % intervals, each of a single comparison; p is corrected for the number of comparisons (Holm)." in text
    assert text.endswith(
        "62% of the test questions ask for a document that training questions ask for too.\n\n"
        "Data: local, 5 documents. Base model: sample.\n"
    )


def plots(calibrated: bool) -> Plots:
    names = ["base", "finetuned", "round2", "mixed", *BESIDE]
    curve = pd.DataFrame({"cutoff": [1, 10, 100], "recall": [0.1, 0.2, 0.5], "ndcg": [0.1, 0.2, 0.3]})
    groups = ["0-1000", "1000-2000", "2000-4000", "4000-8000", "8000-16000", "over_16000"]
    slices = pd.DataFrame(
        {"slice": [f"document_length={g}" for g in groups], "questions": [60] * 5 + [9], "ndcg@10": 0.4}
    )
    rate = pd.DataFrame({"predicted": [0.2, 0.8], "right": [0.3, 0.7], "questions": [5, 5]})
    rejected = pd.DataFrame({"threshold": [0.9, 0.5], "answered": [0.5, 1.0], "precision": [1.0, 0.5]})
    return Plots(
        by_cutoff=dict.fromkeys(names, curve),
        training={name: pd.DataFrame({"step": [1, 2], "loss": [2.0, 1.0]}) for name in ("finetuned", "round2")},
        mixing={
            "mixed": pd.DataFrame({"weight": [0, 0.5, 1], "in_domain": [0.1, 0.4, 0.3], "general": [0.5, 0.4, 0.1]})
        },
        mining={
            "finetuned": pd.DataFrame(
                {"gap": [-0.025, 0.025], "hard": [0.4, 0.6], "random": [0.0, 1.0], "dataset": 0.0}
            ),
            "round2": pd.DataFrame({"gap": [], "hard": [], "random": [], "dataset": []}),
        },
        slices=dict.fromkeys(("base", "mixed", "bm25"), slices),
        reliability=rate if calibrated else rate.iloc[:0],
        rejection=rejected if calibrated else rejected.iloc[:0],
    )


def all_charts(calibrated: bool = True) -> list[dict[str, str]]:
    histogram = {"relevant": ([0.1, 0.2], [0.5, 0.5]), "best other": ([0.1, 0.2], [1.0, 0.0])}
    look = charts.series_styles(["base", "finetuned", "round2", "mixed"], BESIDE)
    mixtures = {"mixed": {"weight": 0.5, "measure": "ndcg@10"}}
    return list(charts_of(plots(calibrated), {"base": histogram, "mixed": histogram}, mixtures, look, "ndcg@10"))


def test_every_finding_has_its_chart_and_what_was_not_found_has_none() -> None:
    titles = [chart["title"] for chart in all_charts()]
    assert titles == [
        "Recall by cutoff",
        "Training loss",
        "Mixture mixed: in-domain against general",
        "Scores of documents, by base",
        "Scores of documents, by mixed",
        "Mined negatives, finetuned: how far below the positive",
        "ndcg@10 by document length (characters)",
        "Reliability of calibrated scores",
        "Answering only above a score",
    ]
    assert [chart["title"] for chart in all_charts(calibrated=False)] == titles[:-2]


def test_charts_are_in_the_pages_colours_and_the_same_every_time() -> None:
    first = all_charts()
    assert first == all_charts()
    ids: list[str] = []
    for chart in first:
        svg = chart["svg"]
        assert svg.startswith(f'<svg role="img" aria-label="{chart["title"]}"')
        assert re.search(r"var\(--series-\d\)", svg) and "currentColor" in svg
        assert not re.search(r"#0[123]0[0-9a-f]{3}", svg), "no placeholder is left"
        assert ' width="' not in svg[: svg.index(">")] and "<style" not in svg and "font-family" not in svg
        own = re.findall(r'\bid="([^"]+)"', svg)
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) <= set(own)
        ids += own
    assert len(ids) == len(set(ids)), "a page has every id once"


def test_a_system_looks_the_same_in_every_chart_and_like_no_other() -> None:
    models = ["base", *(f"round{i}" for i in range(9))]
    look = charts.series_styles(models, BESIDE)
    assert len({(style.colour % 8, style.dash) for style in look.values()}) == len(look)
    recall, loss = all_charts()[:2]
    assert "var(--series-2)" in loss["svg"] and "var(--series-1)" not in loss["svg"], "finetuned's colour, not base's"
    assert "stroke-dasharray" in recall["svg"]


def test_bars_of_few_questions_are_pale_and_legends_are_not() -> None:
    """Three systems, one group of nine questions."""
    svg = next(chart["svg"] for chart in all_charts() if chart["title"] == "ndcg@10 by document length (characters)")
    bars, legend = svg.split('id="ndcg-10-by-document-length-characters-legend_1"')
    assert len(re.findall(r"(?<![-\w])opacity: 0\.35", bars)) == 3
    assert "opacity: 0.35" not in legend


def test_bars_of_gaps_stand_where_the_gaps_are() -> None:
    """The table names a bar's middle; the chart's steps run from its left edge to its right one."""
    svg = next(chart["svg"] for chart in all_charts() if chart["title"].startswith("Mined negatives"))
    texts = re.findall(r'<text [^>]*?x="([\d.]+)" y="([\d.]+)"[^>]*>(−?[\d.]+)</text>', svg)
    lowest = max(float(y) for _, y, _ in texts)
    places = {float(value.replace("−", "-")): float(x) for x, y, value in texts if float(y) == lowest}
    path = re.search(r'<path d="M ([\d.]+) [^"]*"[^>]*style="fill: none; stroke: var\(--series-1\)', svg)
    left, right = min(places), max(places)
    scale = (places[right] - places[left]) / (right - left)
    assert path and float(path[1]) == pytest.approx(places[left] + (-0.05 - left) * scale, abs=0.5)


def test_slices_are_labelled_in_few_letters() -> None:
    assert [label(f"x={group}") for group in ("0-1000", "1000-2000", "over_16000", "10-20", "unknown")] == [
        "0–1k",
        "1–2k",
        ">16k",
        "10–20",
        "unknown",
    ]


def whole_page() -> str:
    """A page with all that one can hold: a gate that is shut, a mixture, general data, six slices, questions."""
    place = {"system": "base", "rank": None, "depth": 100}
    question = {
        "query": "<b>土地</b>承包期限是多久？" * 10,
        "id": "q1",
        "first": [
            {"systems": [{"name": "base", "score": 0.5}], "document": "d<1>", "relevant": False}
            | {"text": "文" * 400, "reader": ""},
            {"systems": [{"name": "bm25", "score": 9.5}], "document": "d2", "relevant": True}
            | {"text": "文", "reader": "finetuned"},
        ],
        "relevant": [{"document": "d2", "places": [place, place | {"rank": 3}], "text": "a" * 400}],
        "more_relevant": 7,
    }
    change = [{"measure": "ndcg@10", "sign": "worse", "difference": -0.1, "low": -0.2, "high": -0.05}]
    scores = {"expected_calibration_error": 0.1, "threshold": None, "dev_questions": 30, "questions": 9}
    return page_of(
        content(-0.1, ["params.yaml:140: gate: ndcg@10: " + "x" * 300], split="dev")
        | {"charts": all_charts(), "gained": [question], "lost": [], "params": "a: " + "b" * 300}
        | {"run": RUN | {"base model": "x" * 200}, "data": {"documents": 5}}
        | {"scores": scores | {"flat": "of 30 dev questions all had a right first document"}}
        | {"forgetting": {"baseline": {"ndcg@10": 0.5}, "system": {"ndcg@10": 0.4}, "change": change}}
    )


RUN = {"git revision": "abc", "base model": "sample", "data": "local", "report written": "2026-01-02 03:04 UTC"}


def page_of(found: dict[str, Any]) -> str:
    """The page of the content, completed as the stage completes it."""
    styles = charts.series_styles(["base", "tuned"], ["bm25"])
    found = found | {"few": 10, "kinds": {"base": "the base model", "tuned": "the model that was tuned"}}
    return page(found | {"contents": contents_of(found), "systems_chart": systems_chart(found, styles)})


def test_the_first_screen_says_what_was_found_of_what_and_what_to_do() -> None:
    html = whole_page()
    first = re.sub(r"<svg.*?</svg>", "", html[html.index("<h1>") : html.index("<nav")], flags=re.DOTALL)
    text = " ".join(re.sub(r"<[^>]+>", " ", first).split())
    for said in (
        "local: 5 documents, 100 dev questions.",
        "Revision: abc. Written: 2026-01-02 03:04 UTC.",
        "tuned is worse than base",
        "were chosen on these dev questions",
        "Gate : shut",
        "Write evaluate.split: test in params.yaml and run dvc repro",
        "Do not ship tuned",
        "ndcg@10 of each system",
        "ndcg@10 is 1 where the relevant documents of a question stand first",
    ):
        assert said in text, said
    assert "Every score means the same probability, since of 30 dev questions all had a right first document." in html
    ids = set(re.findall(r'\bid="([^"]+)"', html))
    assert set(re.findall(r'<a href="#([^"]+)"', html)) <= ids
    contents = re.findall(r'<a href="#([^"]+)"', html[html.index("<nav") : html.index("</nav>")])
    assert contents == re.findall(r'<h2 id="([^"]+)"', html), "the contents list every section, in order"


def test_an_interval_beside_zero_whose_test_is_not_sure_is_called_weak() -> None:
    index = pd.Index(["a", "b", "c"], name="query_id")
    rises = pd.DataFrame({"ndcg@10": [0.1, 0.2, 0.3]}, index=index)
    found = compare({"base": rises * 0, "tuned": rises}, "base", "tuned", Resampling(0.95, 1000, seed=4))
    assert sentence(found).startswith(f"{UNSURE} (the interval of this comparison alone leaves 0 out; p, corrected")
    found = compare({"base": rises, "tuned": rises * 0}, "base", "tuned", Resampling(0.95, 1000, seed=4))
    assert sentence(found).startswith(UNSURE.replace("better", "worse")) and "a loss of -0.2000" in sentence(found)


@pytest.mark.parametrize("released", ["tuned", "base"])
def test_a_system_beside_the_two_that_ranks_better_is_named(released: str) -> None:
    rng = np.random.default_rng(2)
    index = pd.Index([f"q{i}" for i in range(100)], name="query_id")
    base = rng.random(100) * 0.5
    values = {"base": base, "tuned": base - 0.1 - 0.01 * rng.random(100), "bm25": base + 0.3, "low": base - 0.3}
    values["chance"] = values[released] + np.where(np.arange(100) % 2, 0.101, -0.1)
    scores = {name: pd.DataFrame({"ndcg@10": value}, index=index) for name, value in values.items()}
    found = compare(scores, "base", "tuned", Resampling(0.95, 1000, seed=4))
    above = rivals(found, "tuned", "base", released, 0.95)
    assert [(row["name"], row["sign"]) for row in above] == [("bm25", "better"), ("chance", "")]
    gains = values["bm25"] - values[released]
    assert above[0]["difference"] == pytest.approx(gains.mean())
    assert above[0]["low"] <= above[0]["difference"] <= above[0]["high"]
    said = findings(found, "tuned", "base", released, "dev", 0.95)
    assert said[0].startswith("On these questions, tuned is worse than base")
    mean = found["ndcg@10"]["bm25"]
    assert said[1].startswith(f"bm25 is better than {released}, which is released: ndcg@10 {mean:.4f}")
    assert said[2].startswith(f"chance has a higher mean than {released}") and said[2].endswith("that may be chance.")
    assert len(said) == 4 and "dev" in said[3]


def test_texts_of_users_are_escaped_and_nothing_is_fetched() -> None:
    html = whole_page()
    assert "relevant</span>; its passage that finetuned likes best:" in html
    assert "&lt;b&gt;土地&lt;/b&gt;" in html and "d&lt;1&gt;" in html and "<b>" not in html
    assert not re.search(r"""(src|href)=["'](https?:)?//|url\(["']?https?:|@import""", html)


@needs_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_is_readable_on_a_phone_and_a_desk_by_day_and_by_night(tmp_path: Path, width: int, dark: bool) -> None:
    seen, picture = look_at(whole_page(), tmp_path, width, dark)
    assert (seen["window"], picture.width) == (width, width)
    assert seen["width"] <= width, "nothing is wider than the window"
    assert seen["overlaps"] == []
    assert len(seen["inks"]) == 6
    assert min(contrast(ink, seen["paper"]) for ink in seen["inks"]) >= 4.5
    paper = (15, 20, 25) if dark else (255, 255, 255)
    colours = {colour: count for count, colour in picture.getcolors(maxcolors=1 << 24) or []}
    assert max(colours, key=lambda colour: colours[colour]) == paper
    assert ((88, 166, 255) if dark else (9, 105, 218)) in colours, "the second series of a chart"


def test_ten_thousand_questions_make_a_page_of_less_than_three_megabytes(system: System, world: World) -> None:
    many = [type(q)(f"{q.id}-{i}", q.text, q.judgments) for i in range(334) for q in world.pool.queries]
    vectors = np.tile(np.asarray(system.query_vectors), (334, 1))
    ranked = first_documents(system.run)
    lines = [
        f"{query.id} Q0 {document} {rank} {score} x\n"
        for query in many
        for rank, (document, score) in enumerate(ranked[query.id.rsplit("-", 1)[0]][:100], start=1)
    ]
    run = system.run.with_name("many.trec")
    run.write_text("".join(lines))
    large = System("base", vectors, system.passage_vectors, run)
    found = Collection(many, world.pool.passages, world.corpus, world.pool.number_of)
    histograms = {name: score_histograms([large], found, seed=1)["base"] for name in ("base", "mixed")}
    asked = {query.id for query in many[:5]}
    examples = [example(i, {"base": first_documents(run, only=asked)}, {"base": large}, found) for i in range(5)]
    look = charts.series_styles(["base", "finetuned", "round2", "mixed"], BESIDE)
    mixtures = {"mixed": {"weight": 0.5, "measure": "ndcg@10"}}
    shown = list(charts_of(plots(calibrated=True), histograms, mixtures, look, "ndcg@10"))
    html = page_of(
        content(0.1, [])
        | {"charts": shown, "gained": examples, "lost": examples, "run": RUN, "data": {"documents": 5}, "params": ""}
        | {"scores": {"threshold": None, "dev_questions": 3, "questions": 9}, "forgetting": {"change": []}}
    )
    assert len(html.encode()) < 3_000_000
