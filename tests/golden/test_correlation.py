"""Graded judgments: NDCG against trec_eval and scikit-learn, correlations against SciPy, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval
from scipy.stats import pearsonr, spearmanr

from embedtune.data.corpus import Query
from embedtune.evaluation.correlation import agreement, fitted_line, is_graded, judged_ndcg, judged_scores
from embedtune.evaluation.measures import graded_ndcg, per_query_scores
from embedtune.retrieval.rankings import Rankings, rankings_of

IDS = [f"d{i}" for i in range(30)]


def ranked(count: int, depth: int, seed: int = 0) -> Rankings:
    rng = np.random.default_rng(seed)
    rows = [
        (rng.permutation(len(IDS))[:depth], np.sort(rng.random(depth))[::-1].astype(np.float32)) for _ in range(count)
    ]
    return rankings_of(rows, depth)


def judged(count: int, grades: list[float], seed: int = 1) -> list[Query]:
    rng = np.random.default_rng(seed)
    return [
        Query(f"q{i}", "?", {IDS[d]: float(rng.choice(grades)) for d in rng.choice(len(IDS), 8, replace=False)})
        for i in range(count)
    ]


@pytest.mark.parametrize("cutoff", [1, 5, 10])
def test_graded_ndcg_is_trec_evals_where_that_reads_the_grades(cutoff: int) -> None:
    queries, rankings = judged(20, [0, 1, 2, 3]), ranked(20, 12)
    qrels = {q.id: {d: int(g) for d, g in q.judgments.items()} for q in queries}
    run = {
        q.id: {IDS[d]: float(s) for d, s in zip(documents, scores, strict=True)}
        for q, documents, scores in zip(queries, rankings.documents, rankings.scores, strict=True)
    }
    found = pytrec_eval.RelevanceEvaluator(qrels, {f"ndcg_cut.{cutoff}"}).evaluate(run)
    expected = [found[q.id][f"ndcg_cut_{cutoff}"] for q in queries]
    assert graded_ndcg(queries, rankings, IDS, cutoff) == pytest.approx(expected)
    tenths = [Query(q.id, q.text, {d: g / 10 for d, g in q.judgments.items()}) for q in queries]
    assert graded_ndcg(tenths, rankings, IDS, cutoff) == pytest.approx(expected), "the scale of grades does not matter"


def test_what_counts_as_found_is_a_grade_from_somewhere_on() -> None:
    queries = [Query("q", "?", {"d0": 0.9, "d1": 0.4}, relevant_from=0.5)]
    rankings = rankings_of([(np.array([1, 0]), np.array([2.0, 1.0], np.float32))], 2)
    scores = per_query_scores(queries, rankings, IDS, [1, 2]).loc["q"]
    assert (scores["recall@1"], scores["recall@2"], scores["mrr@2"]) == (0.0, 1.0, 0.5)
    ideal = 0.9 + 0.4 / np.log2(3)
    assert scores["ndcg@2"] == pytest.approx((0.4 + 0.9 / np.log2(3)) / ideal)


def test_a_question_with_nothing_to_find_scores_zero() -> None:
    queries = [Query("q", "?", {"d0": 0.25}, relevant_from=0.5), Query("r", "?", {"d0": 0.0})]
    scores = per_query_scores(queries, ranked(2, 30), IDS, [10])
    assert scores["recall@10"].tolist() == [0.0, 0.0] and scores["mrr@10"].tolist() == [0.0, 0.0]
    assert scores["ndcg@10"].iloc[1] == 0.0


def test_agreement_is_scipys() -> None:
    queries, rankings = judged(20, [0, 0.25, 0.5, 1]), ranked(20, 30)
    queries[0].weights = {next(iter(queries[0].judgments)): 3.0}
    pairs = judged_scores(queries, rankings, IDS)
    assert len(pairs) == 160
    line = fitted_line(pairs)
    found = agreement(pairs, line)
    assert found["pearson"] == pytest.approx(pearsonr(pairs["score"], pairs["rel"]).statistic)
    assert found["spearman"] == pytest.approx(spearmanr(pairs["score"], pairs["rel"]).statistic)
    errors = (pairs["score"] - pairs["rel"]) ** 2
    assert found["mse"] == pytest.approx(errors.mean())
    assert found["weighted_mse"] == pytest.approx((errors.sum() + 2 * errors.iloc[0]) / 162)
    slope = np.polyfit(pairs["score"], pairs["rel"], 1, w=np.sqrt(pairs["weight"]))
    assert line == pytest.approx(tuple(slope))
    assert found["fitted_weighted_mse"] < found["weighted_mse"]
    shifted = pairs.assign(score=7 * pairs["score"] - 3)
    same = agreement(shifted, fitted_line(shifted))
    assert same["fitted_mse"] == pytest.approx(found["fitted_mse"]), "a system's own scale does not matter"
    equal = pairs.assign(score=1.0)
    assert "pearson" not in agreement(equal, fitted_line(equal)), "equal scores agree with nothing"


def test_documents_that_are_not_ranked() -> None:
    """A ranking that is cut gives them its lowest score, one that ended (by words) 0."""
    queries = [Query("q", "?", {"d0": 1.0, "d9": 0.5})]
    cut = rankings_of([(np.array([0, 1]), np.array([3.0, 2.0], np.float32))], 2)
    ended = rankings_of([(np.array([0, 1]), np.array([3.0, 2.0], np.float32))], 3)
    assert judged_scores(queries, cut, IDS)["score"].tolist() == [3.0, 2.0]
    assert judged_scores(queries, ended, IDS)["score"].tolist() == [3.0, 0.0]
    below = rankings_of([(np.array([0, 1]), np.array([3.0, -2.0], np.float32))], 3)
    assert judged_scores(queries, below, IDS)["score"].tolist() == [3.0, -2.0], "of an index that found no more"


def test_judged_ndcg_leaves_other_documents_out() -> None:
    queries = [Query("q", "?", {"d0": 0.2, "d1": 1.0, "d2": 0.6})]
    rankings = rankings_of([(np.array([7, 0, 8, 1]), np.array([9, 8, 7, 6], np.float32))], 4)
    gains = [0.2, 1.0, 0.6]  # d2 is not ranked, and comes last
    discounts = 1 / np.log2([2, 3, 4])
    found = judged_ndcg(queries, rankings, IDS, [2, 10])
    assert found["judged_ndcg@10"] == [pytest.approx((gains * discounts).sum() / ([1.0, 0.6, 0.2] * discounts).sum())]
    assert found["judged_ndcg@2"] == [pytest.approx((gains * discounts)[:2].sum() / ([1.0, 0.6] * discounts[:2]).sum())]
    assert is_graded([Query("q", "?", {"d0": 1.0}, relevant_from=0.0)])
    assert not is_graded([Query("q", "?", {"d0": 2.0, "d1": 0.0})])
