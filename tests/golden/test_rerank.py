"""Results in a cross-encoder's order, against every pair scored by itself; what is read; measures; a model tried."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from embedtune.data.corpus import Query
from embedtune.models.cross_encoder import CrossEncoder
from embedtune.retrieval.rankings import Rankings
from embedtune.retrieval.rerank import (
    PairsToScore,
    RerankedSearcher,
    by_score,
    in_order_of,
    judged_documents,
    reordered,
    with_passages,
)
from embedtune.retrieval.searcher import StoredSearcher
from tests.golden.mining import World, best_sentence
from tests.golden.reranking import FOUND, READ, brute_force, read_of, reader_of, sentence


def stored(world: World, found: Rankings) -> StoredSearcher:
    return StoredSearcher({"test": found}, {"test": world.pool.queries}, world.ids)


@pytest.mark.parametrize("batch_tokens", [1, 2048])
@pytest.mark.parametrize("per_document", [1, 2, 4])
def test_documents_are_ordered_as_by_every_pair_scored_by_itself(
    small: World, found: Rankings, model: CrossEncoder, per_document: int, batch_tokens: int
) -> None:
    """The first six of nine, so that three keep their order below them; asked for fewer, as many and more."""
    searcher = RerankedSearcher(
        stored(small, found), reader_of(small, per_document), model, 6, max_len=READ, batch_tokens=batch_tokens
    )
    whole = searcher.rank(small.pool.queries, 20)
    assert whole.documents.shape == (6, FOUND)
    for query in range(6):
        own = [document for document in found.documents[query].tolist() if document >= 0]
        expected = brute_force(small, model, query, own[:6], per_document)
        scores = [score for _, _, score in expected]
        assert min(-np.diff([*scores, -np.inf]), default=1) > 1e-4, "no two scores are near enough to change places"
        rest, lowest = own[6:], min(scores, default=0.0)
        scores += [lowest - 1 - place for place in range(len(rest))]
        count = len(own)
        assert whole.documents[query].tolist() == [document for document, _, _ in expected] + rest + [-1] * (9 - count)
        passages = [passage for _, passage, _ in expected] + [-1] * (9 - len(expected))
        assert whole.passages[query].tolist() == passages
        assert whole.scores[query, :count].tolist() == pytest.approx(scores, abs=1e-4)
        assert np.isneginf(whole.scores[query, count:]).all()
    assert not np.array_equal(whole.documents[:, :6], found.documents[:, :6])
    for depth in (1, 4, 6, 8):
        cut = searcher.rank(small.pool.queries, depth)
        for part in ("documents", "passages", "scores"):
            np.testing.assert_array_equal(getattr(cut, part), getattr(whole, part)[:, :depth])
    assert searcher.document_ids == small.ids


def test_more_passages_change_the_scores_of_documents_that_have_them(
    small: World, found: Rankings, model: CrossEncoder
) -> None:
    """A document scores as its best passage: no lower with two than with one, and higher for some."""
    one, two = (
        RerankedSearcher(stored(small, found), reader_of(small, n), model, 6, READ, 2048).read(
            small.pool.queries, found.documents
        )
        for n in (1, 2)
    )
    present = found.documents >= 0
    np.testing.assert_array_equal(one.documents, found.documents)
    assert (two.scores[present] >= one.scores[present] - 1e-4).all()
    assert (two.scores[present] > one.scores[present] + 0.01).sum() > 5
    single = np.isin(found.documents, np.arange(0, 24, 4)) & present
    np.testing.assert_allclose(two.scores[single], one.scores[single], atol=1e-4)


@pytest.mark.parametrize("per_document", [1, 2, 4])
def test_the_pairs_to_score_are_of_the_passages_with_the_highest_inner_products(
    small: World, found: Rankings, model: CrossEncoder, per_document: int
) -> None:
    pairs = reader_of(small, per_document).pairs(model, small.pool.queries, found.documents)
    expected = [
        (query, column, passage)
        for query, row in enumerate(found.documents.tolist())
        for column, document in enumerate(row)
        if document >= 0
        for passage in read_of(small, query, document, per_document)
    ]
    rows = zip(pairs.queries.tolist(), pairs.columns.tolist(), pairs.passages.tolist(), strict=True)
    assert sorted(rows) == expected
    assert len(pairs) == len(expected)
    texts = model.tokenize([sentence(small, passage) for passage in pairs.passages.tolist()])
    for place, tokens in zip(pairs.places.tolist(), texts, strict=True):
        assert pairs.texts[place].tolist() == tokens.tolist()
    assert len(pairs.texts) == len(set(pairs.passages.tolist())), "each passage is tokenised once"
    queries = model.tokenize([query.text for query in small.pool.queries])
    assert [own.tolist() for own in pairs.query_tokens] == [own.tolist() for own in queries]
    lengths = [
        min(READ, 3 + len(queries[query]) + len(tokens))
        for query, tokens in zip(pairs.queries.tolist(), texts, strict=True)
    ]
    assert pairs.lengths(model, READ).tolist() == lengths


def test_of_passages_with_equal_inner_products_the_first_ones_are_read(
    small: World, found: Rankings, model: CrossEncoder
) -> None:
    alike = replace(reader_of(small, 2), passage_vectors=np.ones_like(small.pool.passage_vectors))
    pairs = alike.pairs(model, small.pool.queries, found.documents)
    read = pairs.passages - small.pool.passages.first_passage[found.documents[pairs.queries, pairs.columns]]
    assert set(read.tolist()) == {0, 1}
    single = (found.documents % 4 == 0) & (found.documents >= 0)
    assert len(pairs) == 2 * (found.documents >= 0).sum() - single.sum()


def test_some_questions_alone_are_read_as_among_all(small: World, found: Rankings, model: CrossEncoder) -> None:
    """The vectors that choose passages are those of the questions that are asked."""
    searcher = RerankedSearcher(stored(small, found), reader_of(small, 1), model, 6, READ, 2048)
    whole = searcher.read(small.pool.queries, found.documents)
    some = searcher.read(small.pool.queries[2:4], found.documents[2:4])
    np.testing.assert_array_equal(some.passages, whole.passages[2:4])
    np.testing.assert_allclose(some.scores, whole.scores[2:4], atol=1e-4)


def test_where_nothing_is_found_nothing_is_scored(small: World, model: CrossEncoder) -> None:
    nothing = Rankings(
        np.full((6, 3), -1, dtype=np.int32), np.full((6, 3), -1), np.full((6, 3), -np.inf, dtype=np.float32)
    )
    ranked = RerankedSearcher(stored(small, nothing), reader_of(small, 1), model, 2, READ, 2048).rank(
        small.pool.queries, 3
    )
    for part in ("documents", "passages", "scores"):
        np.testing.assert_array_equal(getattr(ranked, part), getattr(nothing, part))


def rankings(documents: list[list[int]], scores: list[list[float]]) -> Rankings:
    """Of documents whose passages are a hundred times their numbers."""
    numbers = np.array(documents, dtype=np.int32)
    return Rankings(
        numbers, np.where(numbers < 0, -1, 100 * numbers).astype(np.int64), np.array(scores, dtype=np.float32)
    )


IDS = ["d5", "a", "d40", "z", "d39"]


def test_equal_scores_are_ordered_by_id_descending() -> None:
    """As texts: d5 stands after d40. What is not there comes last."""
    infinite = float("inf")
    ranked = by_score(
        rankings([[0, 1, 2, 3, 4], [2, -1, 0, -1, 4]], [[1, 1, 1, 1, 2], [3, -infinite, 3, -infinite, 3]]), IDS
    )
    assert ranked.documents.tolist() == [[4, 3, 0, 2, 1], [0, 2, 4, -1, -1]]
    assert ranked.passages.tolist() == [[400, 300, 0, 200, 100], [0, 200, 400, -1, -1]]
    assert ranked.scores.tolist() == [[2, 1, 1, 1, 1], [3, 3, 3, -infinite, -infinite]]


def test_what_was_not_read_follows_in_its_order_each_one_below() -> None:
    infinite = float("inf")
    whole = rankings([[3, 1, 4, 0, 2], [2, 0, 1, -1, -1]], [[9, 8, 7, 6, 5], [9, 8, 7, -infinite, -infinite]])
    read = rankings([[3, 1], [2, 0]], [[-2.5, 4], [0.5, 0.25]])
    ranked = reordered(whole, read, IDS)
    assert ranked.documents.tolist() == [[1, 3, 4, 0, 2], [2, 0, 1, -1, -1]]
    assert ranked.passages.tolist() == [[100, 300, 400, 0, 200], [200, 0, 100, -1, -1]]
    assert ranked.scores.tolist() == [[4, -2.5, -3.5, -4.5, -5.5], [0.5, 0.25, -0.75, -infinite, -infinite]]


def pairs_by_hand(documents: list[list[int]], rows: list[tuple[int, int, int]]) -> PairsToScore:
    queries, columns, passages = (np.array(part, dtype=np.int64) for part in zip(*rows, strict=True))
    return PairsToScore(np.array(documents, dtype=np.int32), queries, columns, passages, passages, [], [])


def test_a_document_has_the_score_of_its_best_passage() -> None:
    pairs = pairs_by_hand([[7, 3], [3, -1]], [(0, 0, 70), (0, 0, 71), (0, 0, 72), (0, 1, 30), (1, 0, 31), (1, 0, 30)])
    best = pairs.best(np.array([-3, -1, -2, -5, 0.5, 1.5], dtype=np.float32))
    assert best.documents.tolist() == [[7, 3], [3, -1]]
    assert best.passages.tolist() == [[71, 30], [30, -1]]
    assert best.scores.tolist() == [[-1, -5], [1.5, -np.inf]]
    some = pairs.some(np.array([0, 2, 4]))
    assert len(some) == 3
    assert some.best(np.array([1, 2, 3], dtype=np.float32)).passages.tolist() == [[72, -1], [31, -1]]


def test_of_passages_that_score_alike_the_first_one_is_named() -> None:
    """As in every other search: a text that a document has twice is shown where it stands first."""
    pairs = pairs_by_hand([[7]], [(0, 0, 70), (0, 0, 71), (0, 0, 72)])
    assert pairs.best(np.array([1, 2, 2], dtype=np.float32)).passages.tolist() == [[71]]


def test_unknown_passages_become_the_best_ones_and_known_ones_stay(small: World, found: Rankings) -> None:
    pool = small.pool
    known = found.passages.copy()
    known[0, 2] = pool.passages.first_passage[found.documents[0, 2]]
    given = Rankings(found.documents, known, found.scores)
    named = with_passages(given, pool.query_vectors, pool.passage_vectors, pool.passages)
    for query, column in np.argwhere(found.documents >= 0).tolist():
        expected = best_sentence(small, query, int(found.documents[query, column]))
        assert named.passages[query, column] == (known[0, 2] if (query, column) == (0, 2) else expected)
    assert (named.passages[found.documents < 0] == -1).all()
    assert (known[found.documents >= 0] == -1).sum() == (found.documents >= 0).sum() - 1, (
        "what was given is not changed"
    )
    np.testing.assert_array_equal(named.documents, found.documents)
    np.testing.assert_array_equal(named.scores, found.scores)


def test_documents_in_the_order_in_which_they_are_found() -> None:
    """Those that are not found come last, in their order; what is not there after all."""
    ranked = np.array([[5, 3, 9, 1], [2, 4, 7, -1]], dtype=np.int32)
    documents = np.array([[1, 7, 5, 8, -1], [4, -1, 2, 6, -1]], dtype=np.int32)
    ordered = in_order_of(ranked, documents)
    assert ordered.tolist() == [[5, 1, 7, 8, -1], [2, 4, 6, -1, -1]]
    assert ordered.dtype == np.int32
    assert in_order_of(ranked, np.empty((2, 0), dtype=np.int32)).shape == (2, 0)


def test_judged_documents_are_those_of_any_grade() -> None:
    queries = [Query("a", "", {"z": 0.0, "d5": 1.0, "d39": 0.5}), Query("b", ""), Query("c", "", {"a": 0.25})]
    assert judged_documents(queries, IDS).tolist() == [[3, 0, 4], [-1, -1, -1], [1, -1, -1]]
    assert judged_documents(queries[1:2], IDS).shape == (1, 0)
