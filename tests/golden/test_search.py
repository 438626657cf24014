"""Search against brute force in NumPy, its ties against trec_eval's, approximate indexes against the exact one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytrec_eval
from numpy.typing import NDArray

from embedtune.core.errors import EmbedTuneError
from embedtune.retrieval import dense
from embedtune.retrieval.dense import rank_documents
from embedtune.retrieval.indexes import build_index, index_recall, open_index
from embedtune.retrieval.rankings import Rankings

Case = dict[str, Any]


def unit_vectors(rng: np.random.Generator, rows: int, dimension: int) -> NDArray[np.float16]:
    vectors = rng.standard_normal((rows, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def brute_force(
    queries: NDArray[np.float16],
    passages: NDArray[np.float16],
    document: NDArray[np.int32],
    document_ids: list[str],
    depth: int,
) -> list[list[tuple[int, int, np.float32]]]:
    """(document, its first best passage, score) of each query, by score and then document id, both descending."""
    scores = (queries.astype(np.float64) @ passages.astype(np.float64).T).astype(np.float32)
    rankings = []
    for row in scores:
        best: dict[int, int] = {}
        for passage, owner in enumerate(document.tolist()):
            if owner not in best or row[passage] > row[best[owner]]:
                best[owner] = passage
        found = [(owner, passage, row[passage]) for owner, passage in best.items()]
        found.sort(key=lambda hit: document_ids[hit[0]], reverse=True)
        found.sort(key=lambda hit: hit[2], reverse=True)
        rankings.append(found[:depth])
    return rankings


def as_lists(rankings: Rankings) -> list[list[tuple[int, int, np.float32]]]:
    return [
        [
            (int(document), int(passage), score)
            for document, passage, score in zip(documents, passages, scores, strict=True)
            if document >= 0
        ]
        for documents, passages, scores in zip(rankings.documents, rankings.passages, rankings.scores, strict=True)
    ]


def shuffled_ids(rng: np.random.Generator, count: int) -> list[str]:
    """Ids whose order as text is neither that of the documents nor that of their numbers."""
    return [f"d{number}" for number in rng.permutation(count)]


def one_passage_each(rng: np.random.Generator) -> Case:
    return {"passages": unit_vectors(rng, 300, 16), "document": np.arange(300)}


def several_passages_each(rng: np.random.Generator) -> Case:
    return {"passages": unit_vectors(rng, 500, 24), "document": np.sort(rng.integers(0, 90, 500))}


def one_long_document(rng: np.random.Generator) -> Case:
    """A document whose passages outnumber any first guess at how many are needed, and score best."""
    passages = unit_vectors(rng, 400, 8)
    passages[:300] = passages[0]
    return {
        "passages": passages,
        "document": np.r_[np.zeros(300, int), np.arange(1, 101)],
        "queries": passages[[0, 350]],
    }


def many_duplicates(rng: np.random.Generator) -> Case:
    """Twelve vectors for 600 passages: blocks of some fifty equal scores, across every border of depth."""
    return {
        "passages": unit_vectors(rng, 12, 8)[rng.integers(0, 12, 600)],
        "document": np.sort(rng.integers(0, 250, 600)),
    }


def one_vector_for_all(rng: np.random.Generator) -> Case:
    return {"passages": np.repeat(unit_vectors(rng, 1, 8), 200, axis=0), "document": np.arange(200)}


def nearly_equal_scores(rng: np.random.Generator) -> Case:
    """Vectors one float16 step apart in one place: scores that differ by less than float32's error in a sum."""
    passages = np.repeat(unit_vectors(rng, 1, 64), 400, axis=0)
    passages[np.arange(400), rng.integers(0, 64, 400)] += rng.choice(np.float16([-1e-6, 0, 1e-6]), 400)
    return {"passages": passages, "document": np.arange(400) // 2, "queries": passages[:5]}


def fewer_documents_than_depth(rng: np.random.Generator) -> Case:
    return {"passages": unit_vectors(rng, 9, 8), "document": np.array([0, 0, 0, 1, 2, 2, 3, 4, 4])}


CASES: list[Callable[[np.random.Generator], Case]] = [
    one_passage_each,
    several_passages_each,
    one_long_document,
    many_duplicates,
    one_vector_for_all,
    nearly_equal_scores,
    fewer_documents_than_depth,
]


def build(case: Callable[[np.random.Generator], Case]) -> Case:
    rng = np.random.default_rng(7)
    built = case(rng)
    built["document"] = np.asarray(built["document"], dtype=np.int32)
    _, built["document"] = np.unique(built["document"], return_inverse=True)
    built["document"] = built["document"].astype(np.int32)
    built["document_ids"] = shuffled_ids(rng, built["document"].max() + 1)
    built.setdefault("queries", unit_vectors(rng, 20, built["passages"].shape[1]))
    return built


@pytest.mark.parametrize("block_rows", [65_536, 64, 7])
@pytest.mark.parametrize("depth", [1, 10, 60])
@pytest.mark.parametrize("case", CASES)
def test_documents_passages_and_scores_equal_brute_force(
    monkeypatch: pytest.MonkeyPatch, case: Callable[[np.random.Generator], Case], depth: int, block_rows: int
) -> None:
    monkeypatch.setattr(dense, "BLOCK_ROWS", block_rows)
    built = build(case)
    assert as_lists(rank_documents(**built, depth=depth)) == brute_force(**built, depth=depth)


@pytest.mark.parametrize("best_of", [2, 3, 50])
@pytest.mark.parametrize("depth", [1, 10, 60])
@pytest.mark.parametrize("case", CASES)
def test_means_of_the_best_passages_equal_brute_force(
    case: Callable[[np.random.Generator], Case], depth: int, best_of: int
) -> None:
    built = build(case)
    scores = (built["queries"].astype(np.float64) @ built["passages"].astype(np.float64).T).astype(np.float32)
    ours = as_lists(rank_documents(**built, depth=depth, best_of=best_of))
    for row, ranked in zip(scores, ours, strict=True):
        means = {}
        for document in range(len(built["document_ids"])):
            own = np.sort(row[built["document"] == document])[-best_of:]
            means[document] = np.float32(own.mean(dtype=np.float64))
        order = sorted(means, key=lambda d: built["document_ids"][d], reverse=True)
        expected = sorted(order, key=lambda d: means[d], reverse=True)[:depth]
        assert [document for document, _, _ in ranked] == expected
        for document, passage, score in ranked:
            assert score == means[document]
            assert row[passage] == row[built["document"] == document].max()


def test_the_cases_have_ties_across_the_border_of_the_depth() -> None:
    built = build(many_duplicates)
    ranked = brute_force(**built, depth=11)
    assert sum(row[9][2] == row[10][2] for row in ranked) > 10


def test_rescoring_in_small_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    built = build(several_passages_each)
    whole = as_lists(rank_documents(**built, depth=10))
    monkeypatch.setattr(dense, "RESCORE_BYTES", 1)
    assert as_lists(rank_documents(**built, depth=10)) == whole


@pytest.mark.parametrize("case", [several_passages_each, many_duplicates, nearly_equal_scores])
@pytest.mark.parametrize("batch", [1, 3, 7])
def test_a_query_ranks_the_same_in_any_batch(case: Callable[[np.random.Generator], Case], batch: int) -> None:
    built = build(case)
    queries = built.pop("queries")
    together = rank_documents(queries, **built, depth=10)
    parts = [rank_documents(queries[i : i + batch], **built, depth=10) for i in range(0, len(queries), batch)]
    for name in ("documents", "passages", "scores"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(together, name))


def test_no_queries_give_no_rankings() -> None:
    built = build(one_passage_each) | {"queries": np.empty((0, 16), dtype=np.float16)}
    assert rank_documents(**built, depth=5).documents.shape == (0, 5)


def test_places_beyond_the_last_document_are_marked_empty() -> None:
    built = build(fewer_documents_than_depth)
    rankings = rank_documents(**built, depth=60)
    assert rankings.documents.shape[1] <= 60
    assert all(sorted(documents[documents >= 0]) == [0, 1, 2, 3, 4] for documents in rankings.documents)


@pytest.mark.parametrize("depth", [1, 5, 20])
@pytest.mark.parametrize("norm", [1, 30])
def test_scores_that_float32_sums_cannot_tell_apart_rank_as_brute_force(norm: int, depth: int) -> None:
    """Equal values in another order, which sum to the same but for rounding, and a last place that tells them apart.

    A norm of 30 is what a model without normalisation may give (`model.normalize: false`): its errors are 900 times
    as large.
    """
    for seed in range(8):
        rng = np.random.default_rng(seed)
        values = np.abs(rng.standard_normal(255))
        values *= norm / np.linalg.norm(values)
        passages = np.stack([np.append(rng.permutation(values), 0) for _ in range(3000)]).astype(np.float16)
        passages[:, -1] = rng.permutation(3000) * (norm * 5e-8)
        case = {
            "queries": np.full((1, 256), norm / 16, dtype=np.float16),
            "passages": passages,
            "document": np.arange(3000, dtype=np.int32),
            "document_ids": shuffled_ids(rng, 3000),
        }
        assert as_lists(rank_documents(**case, depth=depth)) == brute_force(**case, depth=depth)


def test_ties_stand_in_trec_evals_order() -> None:
    """Each document in turn is the only relevant one: trec_eval's reciprocal rank then is one over our rank."""
    built = build(many_duplicates)
    built["queries"] = built["queries"][:1]
    ids = built["document_ids"]
    ranking = [ids[document] for document, _, _ in as_lists(rank_documents(**built, depth=40))[0]]
    scores = rank_documents(**built, depth=40).scores[0].tolist()
    assert len(set(scores)) < 5
    qrels = {f"q{rank}": {document: 1} for rank, document in enumerate(ranking, start=1)}
    run = {query: dict(zip(ranking, scores, strict=True)) for query in qrels}
    measured = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(run)
    for rank in range(1, 41):
        assert measured[f"q{rank}"]["recip_rank"] == pytest.approx(1 / rank)


def test_measures_of_a_ranking_with_ties_equal_those_of_its_ranks_taken_literally() -> None:
    built = build(many_duplicates)
    rng = np.random.default_rng(3)
    ids = built["document_ids"]
    rankings = as_lists(rank_documents(**built, depth=50))
    qrels = {f"q{i}": {str(d): int(rng.integers(1, 4)) for d in rng.choice(ids, 30, replace=False)} for i in range(20)}
    by_score = {f"q{i}": {ids[d]: float(score) for d, _, score in row} for i, row in enumerate(rankings)}
    by_rank = {f"q{i}": {ids[d]: 1000.0 - rank for rank, (d, _, _) in enumerate(row)} for i, row in enumerate(rankings)}
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.3,10", "recall.3,10", "recip_rank", "map"})
    assert evaluator.evaluate(by_score) == evaluator.evaluate(by_rank)


@pytest.mark.parametrize("shard_rows", [10_000, 500])
@pytest.mark.parametrize(
    ("factory", "search"), [("HNSW32", ""), ("HNSW32", "efSearch=64"), ("IVF8,Flat", ""), ("IVF8,PQ16x4", "nprobe=4")]
)
def test_an_approximate_index_finds_most_of_what_brute_force_finds(
    tmp_path: Path, factory: str, search: str, shard_rows: int
) -> None:
    rng = np.random.default_rng(2)
    centers = unit_vectors(rng, 8, 16).astype(np.float64)
    passages = centers[rng.integers(0, 8, 1200)] + 0.05 * rng.standard_normal((1200, 16))
    passages = (passages / np.linalg.norm(passages, axis=1, keepdims=True)).astype(np.float16)
    case = {
        "queries": passages[:40],
        "passages": passages,
        "document": np.repeat(np.arange(400, dtype=np.int32), 3),
        "document_ids": shuffled_ids(rng, 400),
    }
    build_index(passages, tmp_path, factory=factory, shard_rows=shard_rows, train_rows=1_000, seed=1)
    ranked = rank_documents(**case, depth=10, index=open_index(tmp_path, search))
    found, true = as_lists(ranked), brute_force(**case, depth=10)
    overlap = [len({hit[0] for hit in row} & {hit[0] for hit in best}) for row, best in zip(found, true, strict=True)]
    assert np.mean(overlap) > 8
    exact = rank_documents(**case, depth=10)
    assert index_recall(ranked, exact, [10])["index_recall@10"] == pytest.approx(np.mean(overlap) / 10)
    scores = {(query, hit[1]): hit[2] for query, row in enumerate(true) for hit in row}
    shared = [(query, hit) for query, row in enumerate(found) for hit in row if (query, hit[1]) in scores]
    assert shared
    assert all(hit[2] == scores[query, hit[1]] for query, hit in shared)
    assert all(row == sorted(row, key=lambda hit: -hit[2]) for row in found)


@pytest.mark.parametrize(
    ("factory", "search", "key"),
    [
        ("Nonsense", "", "factory"),
        ("flat", "", "factory"),
        ("IVF4096,Flat", "", "factory"),
        ("PQ7", "", "factory"),
        ("", "", "factory"),
        ("IVF4,Flat", "efSearch=3", "index_search"),
        ("IVF4,Flat", "nprobe", "index_search"),
    ],
)
def test_what_faiss_refuses_is_named(tmp_path: Path, factory: str, search: str, key: str) -> None:
    vectors = build(one_passage_each)["passages"]

    def build_and_open() -> None:
        build_index(vectors, tmp_path, factory=factory, shard_rows=100, train_rows=1_000, seed=1)
        open_index(tmp_path, search)

    with pytest.raises(EmbedTuneError, match=f"{key}: FAISS refuses"):
        build_and_open()


def test_the_exact_index_is_the_vectors_themselves(tmp_path: Path) -> None:
    vectors = build(one_passage_each)["passages"]
    build_index(vectors, tmp_path, factory="Flat", shard_rows=100, train_rows=1_000, seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["meta.json"]
    assert open_index(tmp_path) is None


def test_an_index_that_names_few_candidates_gives_what_it_has_without_asking_for_all(tmp_path: Path) -> None:
    """One list of 64 is searched: fewer documents than the depth, and no search for more than that list holds."""
    rng = np.random.default_rng(3)
    passages = unit_vectors(rng, 2_000, 8)
    build_index(passages, tmp_path, factory="IVF64,Flat", shard_rows=10_000, train_rows=2_000, seed=1)
    index, asked = open_index(tmp_path), []
    assert index is not None

    def noting(queries: NDArray[np.float16], count: int) -> Any:
        asked.append(count)
        return index(queries, count)

    document, ids = np.arange(2_000, dtype=np.int32), shuffled_ids(rng, 2_000)
    ranked = rank_documents(passages[:20], passages, document, ids, 500, noting)
    counts = (ranked.documents >= 0).sum(axis=1)
    assert asked == [1016]
    assert ((counts > 0) & (counts < 500)).all()
