"""Measures against pytrec_eval called directly and against hand arithmetic; the comparison against SciPy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pandas as pd
import pytest
import pytrec_eval
import scipy.stats

from embedtune.comparison.comparison import Comparison, compare
from embedtune.comparison.significance import Resampling
from embedtune.core.errors import EmbedTuneError
from embedtune.data.corpus import Query
from embedtune.evaluation import measures
from embedtune.evaluation.evaluate import figures
from embedtune.evaluation.measures import per_query_scores, write_run
from embedtune.evaluation.per_query import read_scores
from embedtune.retrieval.rankings import Rankings

CUTOFFS = [1, 3, 5, 10]
DOCUMENT_IDS = [f"d{(number * 37) % 60}" for number in range(60)]  # as text in another order than by number

Case = tuple[list[Query], Rankings]


def rankings_of(rows: list[list[tuple[int, float]]]) -> Rankings:
    """(document, score) of each query, in any order, ranked as `rank_documents` does: ties by id, descending."""
    depth = max(len(row) for row in rows)
    documents = np.full((len(rows), depth), -1, dtype=np.int32)
    scores = np.full((len(rows), depth), -np.inf, dtype=np.float32)
    for i, row in enumerate(rows):
        by_id = sorted(row, key=lambda hit: DOCUMENT_IDS[hit[0]], reverse=True)
        for j, (document, score) in enumerate(sorted(by_id, key=lambda hit: -np.float32(hit[1]))):
            documents[i, j], scores[i, j] = document, score
    return Rankings(documents, documents.astype(np.int64), scores)


def random_case(seed: int, judgments_each: int, highest_grade: int, distinct_scores: int | None) -> Case:
    """Twenty-five queries over sixty documents: rankings of 0, 1, … 24 documents, judgments from 0 up."""
    rng = np.random.default_rng(seed)
    queries, rows = [], []
    for i in range(25):
        judged = rng.choice(60, judgments_each, replace=False)
        grades = rng.integers(0, highest_grade + 1, judgments_each)
        grades[0] = highest_grade
        judgments = {DOCUMENT_IDS[d]: int(grade) for d, grade in zip(judged, grades, strict=True)}
        queries.append(Query(f"q{i}", "", judgments))
        scores = rng.standard_normal(i) if distinct_scores is None else rng.integers(0, distinct_scores, i) / 7
        rows.append(list(zip(rng.choice(60, i, replace=False).tolist(), scores.tolist(), strict=True)))
    return queries, rankings_of(rows)


CASES = {
    "one relevant document": random_case(1, 1, 1, None),
    "several relevant documents": random_case(2, 12, 1, None),
    "graded judgments": random_case(3, 15, 4, None),
    "equal scores": random_case(4, 12, 3, 3),
    "all scores equal": random_case(5, 8, 1, 1),
}


def pytrec_scores(queries: list[Query], rankings: Rankings) -> pd.DataFrame:
    """Recall, NDCG and reciprocal rank at the cutoffs by pytrec_eval alone; reciprocal rank from a run cut at k."""
    qrels = {query.id: query.judgments for query in queries}
    run = {
        query.id: {DOCUMENT_IDS[d]: float(score) for d, score in zip(documents, scores, strict=True) if d >= 0}
        for query, documents, scores in zip(queries, rankings.documents, rankings.scores, strict=True)
    }
    cuts = ",".join(str(k) for k in CUTOFFS)
    whole = pytrec_eval.RelevanceEvaluator(qrels, {f"recall.{cuts}", f"ndcg_cut.{cuts}"}).evaluate(run)
    rows = {query.id: {} for query in queries}
    for k in CUTOFFS:
        cut = {query: dict(list(hits.items())[:k]) for query, hits in run.items()}
        reciprocal = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(cut)
        for query in rows:
            rows[query] |= {
                f"recall@{k}": whole.get(query, {}).get(f"recall_{k}", 0.0),
                f"ndcg@{k}": whole.get(query, {}).get(f"ndcg_cut_{k}", 0.0),
                f"mrr@{k}": reciprocal.get(query, {}).get("recip_rank", 0.0),
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("query_id")


@pytest.mark.parametrize("name", CASES)
def test_scores_equal_pytrec_eval(name: str) -> None:
    queries, rankings = CASES[name]
    scores = per_query_scores(queries, rankings, DOCUMENT_IDS, CUTOFFS)
    assert scores.to_numpy().any()
    pd.testing.assert_frame_equal(scores, pytrec_scores(queries, rankings), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_scores_are_those_of_the_ranks_taken_literally(name: str) -> None:
    """Whatever the scores say about ties, the place in the ranking is the rank that every measure counts."""
    queries, rankings = CASES[name]
    by_rank = np.where(rankings.documents >= 0, -np.arange(rankings.documents.shape[1], dtype=np.float32), -np.inf)
    literal = Rankings(rankings.documents, rankings.passages, by_rank.astype(np.float32))
    pd.testing.assert_frame_equal(
        per_query_scores(queries, rankings, DOCUMENT_IDS, CUTOFFS),
        per_query_scores(queries, literal, DOCUMENT_IDS, CUTOFFS),
    )


def test_an_example_by_hand() -> None:
    """Ranking d37, d14, d51, d28, d5 (documents 1 to 5); grades: second 1, fourth 3, and an unfound document 2."""
    judgments = {DOCUMENT_IDS[2]: 1, DOCUMENT_IDS[4]: 3, DOCUMENT_IDS[50]: 2, DOCUMENT_IDS[1]: 0}
    rankings = rankings_of([[(1, 0.9), (2, 0.8), (3, 0.7), (4, 0.6), (5, 0.5)]])
    scores = per_query_scores([Query("q", "", judgments)], rankings, DOCUMENT_IDS, [1, 3, 5]).loc["q"]
    ideal = 3 + 2 / math.log2(3)
    expected = {
        "recall@1": 0,
        "recall@3": 1 / 3,
        "recall@5": 2 / 3,
        "mrr@1": 0,
        "mrr@3": 1 / 2,
        "mrr@5": 1 / 2,
        "ndcg@1": 0,
        "ndcg@3": (1 / math.log2(3)) / (ideal + 1 / 2),
        "ndcg@5": (1 / math.log2(3) + 3 / math.log2(5)) / (ideal + 1 / 2),
    }
    assert scores.to_dict() == pytest.approx(expected)


def test_a_query_that_retrieves_nothing_counts_as_zero() -> None:
    queries = [Query("found", "", {DOCUMENT_IDS[0]: 1}), Query("nothing", "", {DOCUMENT_IDS[1]: 1})]
    scores = per_query_scores(queries, rankings_of([[(0, 1.0)], []]), DOCUMENT_IDS, [5])
    assert scores.loc["nothing"].tolist() == [0, 0, 0]
    assert scores.mean().tolist() == [0.5, 0.5, 0.5]


def test_a_query_that_retrieves_no_relevant_document_counts_as_zero() -> None:
    queries = [Query("q0", "", {DOCUMENT_IDS[0]: 1}), Query("q1", "", {DOCUMENT_IDS[1]: 2})]
    scores = per_query_scores(queries, rankings_of([[(0, 1.0)], [(7, 1.0), (8, 0.5)]]), DOCUMENT_IDS, [5])
    assert scores.loc["q1"].tolist() == [0, 0, 0]
    assert len(scores) == 2


@pytest.mark.parametrize("judgments", [{}, {DOCUMENT_IDS[0]: 0}, {DOCUMENT_IDS[0]: -1}])
def test_a_query_without_a_relevant_document_counts_as_zero(judgments: dict[str, int]) -> None:
    queries = [Query("q0", "", {DOCUMENT_IDS[0]: 1}), Query("q1", "", judgments)]
    scores = per_query_scores(queries, rankings_of([[(0, 1.0)], [(0, 1.0)]]), DOCUMENT_IDS, [5])
    assert scores.loc["q1"].tolist() == [0, 0, 0]


def test_rows_keep_the_order_of_the_split_and_columns_that_of_the_cutoffs() -> None:
    queries, rankings = CASES["graded judgments"]
    scores = per_query_scores(queries, rankings, DOCUMENT_IDS, [1, 3])
    assert scores.index.tolist() == [query.id for query in queries]
    assert scores.columns.tolist() == ["recall@1", "ndcg@1", "mrr@1", "recall@3", "ndcg@3", "mrr@3"]


def test_a_split_without_questions_is_refused() -> None:
    empty = Rankings(np.empty((0, 5), np.int32), np.empty((0, 5), np.int64), np.empty((0, 5), np.float32))
    with pytest.raises(EmbedTuneError, match="no question"):
        per_query_scores([], empty, DOCUMENT_IDS, [5])


@pytest.mark.parametrize("name", CASES)
def test_a_run_file_read_back_by_others_gives_equal_measures(tmp_path: Path, name: str) -> None:
    queries, rankings = CASES[name]
    path = tmp_path / "run.trec"
    write_run(path, queries, rankings, DOCUMENT_IDS, "base")
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    assert [row[1] for row in rows] == ["Q0"] * len(rows)
    assert {row[5] for row in rows} == {"base"}
    ours = per_query_scores(queries, rankings, DOCUMENT_IDS, CUTOFFS)
    qrels = {query.id: query.judgments for query in queries}
    with path.open(encoding="utf-8") as file:
        run = pytrec_eval.parse_run(file)
    cuts = ",".join(str(k) for k in CUTOFFS)
    measured = pytrec_eval.RelevanceEvaluator(qrels, {f"recall.{cuts}", f"ndcg_cut.{cuts}"}).evaluate(run)
    for query, values in measured.items():
        for k in CUTOFFS:
            assert values[f"recall_{k}"] == ours.loc[query, f"recall@{k}"]
            assert values[f"ndcg_cut_{k}"] == ours.loc[query, f"ndcg@{k}"]
    read = list(ir_measures.read_trec_run(str(path)))
    by_ir_measures = ir_measures.calc_aggregate([ir_measures.nDCG @ 10, ir_measures.R @ 5], qrels, read)
    assert by_ir_measures[ir_measures.nDCG @ 10] == pytest.approx(ours["ndcg@10"].mean(), abs=1e-12)
    assert by_ir_measures[ir_measures.R @ 5] == pytest.approx(ours["recall@5"].mean(), abs=1e-12)


def test_a_run_file_keeps_every_score_and_counts_ranks_from_one(tmp_path: Path) -> None:
    queries, rankings = CASES["several relevant documents"]
    write_run(tmp_path / "run.trec", queries, rankings, DOCUMENT_IDS, "base")
    rows = [line.split() for line in (tmp_path / "run.trec").read_text(encoding="utf-8").splitlines()]
    kept = rankings.scores[rankings.documents >= 0]
    assert [np.float32(row[4]) for row in rows] == kept.tolist()
    for query in queries:
        ranks = [int(row[3]) for row in rows if row[0] == query.id]
        assert ranks == list(range(1, len(ranks) + 1))


def table_of(values: np.ndarray, queries: list[str] | None = None) -> pd.DataFrame:
    index = pd.Index(queries or [f"q{i}" for i in range(len(values))], name="query_id")
    return pd.DataFrame(values, index=index, columns=["recall@10", "ndcg@10"])


def compare_two(base: pd.DataFrame, finetuned: pd.DataFrame) -> Comparison:
    return compare({"base": base, "finetuned": finetuned}, "base", "finetuned", Resampling(0.95, 200, seed=0))


def test_means_gain_and_standard_error_equal_scipys() -> None:
    rng = np.random.default_rng(0)
    base = rng.random((50, 2))
    finetuned = np.clip(base + 0.1 * rng.standard_normal((50, 2)) + 0.05, 0, 1)
    comparison = compare_two(table_of(base), table_of(finetuned))
    for column, measure in enumerate(["recall@10", "ndcg@10"]):
        gains = finetuned[:, column] - base[:, column]
        expected = {
            "base": base[:, column].mean(),
            "finetuned": finetuned[:, column].mean(),
            "gain": gains.mean(),
            "gain_standard_error": scipy.stats.sem(gains),
        }
        assert comparison[measure] == pytest.approx(expected, abs=1e-15)
        t = scipy.stats.ttest_rel(finetuned[:, column], base[:, column]).statistic
        assert comparison[measure]["gain"] / comparison[measure]["gain_standard_error"] == pytest.approx(t)


def test_intervals_and_pairs_are_of_the_measures_asked_for_and_means_of_all() -> None:
    rng = np.random.default_rng(6)
    scores = {name: table_of(rng.random((20, 2))) for name in ("base", "finetuned")}
    whole = compare_two(scores["base"], scores["finetuned"])
    asked = compare(scores, "base", "finetuned", Resampling(0.95, 200, seed=0), ["ndcg@10"])
    assert {measure: asked[measure] for measure in ("recall@10", "ndcg@10")} == {
        measure: whole[measure] for measure in ("recall@10", "ndcg@10")
    }
    assert {name: set(own) for name, own in asked["intervals"].items()} == {
        "base": {"ndcg@10"},
        "finetuned": {"ndcg@10"},
    }
    assert set(asked["pairs"]["finetuned_over_base"]) == {"ndcg@10"}
    assert set(whole["pairs"]["finetuned_over_base"]) == {"recall@10", "ndcg@10"}


def test_a_single_question_has_a_standard_error_of_zero() -> None:
    comparison = compare_two(table_of(np.array([[0.0, 0.5]])), table_of(np.array([[1.0, 0.5]])))
    assert comparison["recall@10"] == {"base": 0, "finetuned": 1, "gain": 1, "gain_standard_error": 0}


@pytest.mark.parametrize(
    "other",
    [
        table_of(np.zeros((3, 2))),
        table_of(np.zeros((2, 2)), ["q1", "q0"]),
        table_of(np.zeros((2, 2)), ["q0", "q2"]),
        table_of(np.zeros((2, 2))).rename(columns={"ndcg@10": "ndcg@20"}),
    ],
    ids=["more questions", "another order", "another question", "another measure"],
)
def test_scores_of_different_questions_or_measures_are_not_compared(other: pd.DataFrame) -> None:
    with pytest.raises(EmbedTuneError, match="different questions or cutoffs"):
        compare_two(table_of(np.zeros((2, 2))), other)


def test_per_query_scores_come_back_from_their_file_as_they_were(tmp_path: Path) -> None:
    """Ids that look like numbers, dates or missing values stay the text they are."""
    ids = ["007", "NA", "nan", "1e5", "", "2024-01-01", "问题"]
    scores = table_of(np.random.default_rng(1).random((7, 2)), ids)
    scores.to_csv(tmp_path / "scores.csv")
    pd.testing.assert_frame_equal(read_scores(tmp_path / "scores.csv"), scores)


def test_what_was_measured_is_told_in_a_line() -> None:
    means = {"recall@10": 0.5, "ndcg@10": 0.25, "mrr@10": 0.2, "dev_ndcg@10": 0.3, "index_recall@10": 0.9}
    assert figures(means, 40, "test") == "ndcg@10 0.2500, recall@10 0.5000 on 40 test questions; on dev ndcg@10 0.3000"
    assert figures(means, 40, "dev") == "ndcg@10 0.2500, recall@10 0.5000 on 40 dev questions"
    assert figures({"recall@5": 1.0}, 2, "test") == "recall@5 1.0000 on 2 test questions"


def test_no_more_documents_are_measured_than_the_last_cutoff_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ranking is kept as deep as a fusion reads it, ten times as deep as it is measured."""
    given = []
    calc = ir_measures.iter_calc

    def counting(wanted: Any, qrels: Any, run: Any) -> Any:
        given.append(len(run))
        return calc(wanted, qrels, run)

    monkeypatch.setattr(ir_measures, "iter_calc", counting)
    documents = np.arange(100, dtype=np.int32)[None]
    rankings = Rankings(documents, documents.astype(np.int64), -documents.astype(np.float32))
    measures.per_query_scores([Query("q", "?", {"d3": 1})], rankings, [f"d{i}" for i in range(100)], [1, 10])
    assert given == [10]
