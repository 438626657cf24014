"""The passage of a relevant document to learn: the first, the base model's best, BM25's, and whether it is right."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from embedtune.data.corpus import Query
from embedtune.mining.mine import mine
from embedtune.mining.mining_counts import mining_counts
from embedtune.mining.positives import choose_positives, passage_scorer
from tests.golden.mining import (
    CHARACTERS,
    SEARCH,
    SENTENCE,
    World,
    best_sentence,
    document_id,
    first,
    make_world,
    numbers_of,
    positive,
    random_sentence,
    score_by,
    unit,
)


def test_first_is_the_first_passage(world: World) -> None:
    for document in range(150):
        assert positive(world, first(world), 0, document) == int(
            np.flatnonzero(world.pool.passages.document == document)[0]
        )


def test_the_best_passage_is_the_base_models_with_ties_to_the_earlier(tmp_path: Path, sample_model: Path) -> None:
    rng = np.random.default_rng(6)
    sentences = [[random_sentence(rng) for _ in range(6)] for _ in range(25)]
    for document in sentences:
        document[4], document[5] = document[1], document[2]  # equal texts, equal scores
    queries = [Query(f"q{i}", "", {document_id(i): 1}) for i in range(25)]
    vectors = np.stack([unit(rng.standard_normal(16)) for _ in range(25)])
    world = make_world(tmp_path, sample_model, sentences, queries, vectors)
    score = score_by("best", world)
    chosen = [positive(world, score, query, document) for query in range(25) for document in range(25)]
    assert chosen == [best_sentence(world, query, document) for query in range(25) for document in range(25)]
    assert Counter(number % 6 for number in chosen).keys() == {0, 1, 2, 3}


def textbook_bm25(query: list[str], texts: list[list[str]], k1: float = 1.5, b: float = 0.75) -> NDArray[np.float64]:
    """Lucene's BM25: idf = ln(1 + (N - df + 1/2) / (df + 1/2)), tf / (tf + k1 (1 - b + b length / mean length))."""
    counts = [Counter(text) for text in texts]
    mean = np.mean([len(text) for text in texts])
    scores = np.zeros(len(texts))
    for term in query:
        having = sum(term in count for count in counts)
        idf = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
        for i, count in enumerate(counts):
            scores[i] += idf * count[term] / (count[term] + k1 * (1 - b + b * len(texts[i]) / mean))
    return scores


def own_terms(text: str) -> list[str]:
    """Bigrams of Han characters, words of letters and digits."""
    terms = []
    for run in re.findall(r"[\u4e00-\u9fff]+|[a-z0-9]+", text.lower()):
        single = len(run) == 1 or run.isascii()
        terms += [run] if single else [run[i : i + 2] for i in range(len(run) - 1)]
    return terms


def mixed_sentence(rng: np.random.Generator) -> str:
    """Thirty tokens: Han characters with letters, digits and commas, that the tokenizer takes one by one."""
    return "".join(rng.choice([*CHARACTERS[:12], "，", "。"], SENTENCE - 2)) + "".join(rng.choice([*"（）《》"], 2))


@pytest.mark.parametrize("make", [random_sentence, mixed_sentence])
def test_the_bm25_passage_is_a_textbook_bm25s(
    tmp_path: Path, sample_model: Path, make: Callable[[np.random.Generator], str]
) -> None:
    """Over the passages of the documents that are relevant to some question, ties to the earlier passage."""
    rng = np.random.default_rng(12)
    sentences = [[make(rng) for _ in range(rng.integers(1, 7))] for _ in range(60)]
    for document in sentences[:30:3]:
        document.append(document[0])
    queries = []
    for i in range(40):
        relevant = rng.choice(30, 2, replace=False)
        text = make(rng)[:12] + sentences[relevant[0]][-1][:4] * 2 + "Ａ unknown词 " + sentences[relevant[1]][0][5:8]
        queries.append(Query(f"q{i}", text, {document_id(d): 1 for d in relevant} | {document_id(50): 0}))
    vectors = np.stack([unit(rng.standard_normal(16)) for _ in range(40)])
    world = make_world(tmp_path, sample_model, sentences, queries, vectors)
    pool = world.pool
    relevant_documents = sorted({d for query in queries for d in numbers_of(world, query.relevant())})
    numbers = [int(p) for d in relevant_documents for p in pool.passages.of_document(d)]
    flat = [text for document in sentences for text in document]
    texts = [own_terms(flat[passage]) for passage in numbers]
    score = score_by("bm25", world)
    places = set()
    for i, query in enumerate(queries):
        known = {term for text in texts for term in text}
        scores = textbook_bm25([term for term in own_terms(query.text) if term in known], texts)
        for document in numbers_of(world, query.relevant()):
            own = [j for j, passage in enumerate(numbers) if pool.passages.document[passage] == document]
            best = max(scores[j] for j in own)
            expected = next(j for j in own if scores[j] > best - 1e-5)
            assert positive(world, score, i, document) == numbers[expected]
            places.add(expected - own[0])
    assert len(places) > 3


def test_bm25_has_the_terms_of_the_tokenizer(tmp_path: Path, sample_model: Path) -> None:
    """Bigrams of the question reach across its words and match the second passage, which shares no word with it."""
    cut, across = "合同" + "，" * (SENTENCE - 2), "效合" * 9 + "同有" + "，" * (SENTENCE - 20)
    query = Query("q", "有效合同", {document_id(0): 1})
    queries = [query]
    world = make_world(tmp_path, sample_model, [[cut, across]], queries, unit(np.ones(16))[None])
    pool = world.pool
    given = (
        *(pool.queries, pool.query_vectors, pool.passage_vectors, pool.background),
        pool.passages,
        world.corpus,
        None,
    )
    chosen = {name: positive(world, passage_scorer("bm25", *given, name), 0, 0) for name in ("bigrams", "jieba")}
    assert chosen == {"bigrams": 1, "jieba": 0}


def test_a_question_without_a_known_term_takes_the_first_passage(world: World) -> None:
    queries = [replace(query, text="zzz ？") for query in world.pool.queries]
    unknown = replace(world, pool=replace(world.pool, queries=queries))
    document = numbers_of(world, queries[0].relevant())[0]
    assert positive(world, score_by("bm25", unknown), 0, document) == world.pool.passages.first_passage[document]
    mined = list(mine(unknown.pool, score_by("bm25", unknown), SEARCH))
    several = sum(
        len(unknown.pool.passages.of_document(number)) > 1
        for query in queries
        for number in numbers_of(world, query.relevant())
    )
    assert mining_counts(unknown.pool, mined, SEARCH)["positives_without_a_match"] == several > 0
    known = mining_counts(world.pool, list(mine(world.pool, score_by("best", world), SEARCH)), SEARCH)
    assert known["positives_without_a_match"] == 0


def test_the_fused_choice_adds_the_shares_of_both_scores(world: World) -> None:
    dense, lexical, fused = (score_by(how, world) for how in ("best", "bm25", "fused"))
    disagreements = 0
    for query, asked in enumerate(world.pool.queries):
        for document in numbers_of(world, asked.relevant()):
            expected = np.zeros(len(world.sentences[document]))
            for scores in (dense(query, document), lexical(query, document)):
                if scores.max() > scores.min():
                    expected += (scores - scores.min()) / (scores.max() - scores.min())
            np.testing.assert_allclose(fused(query, document), expected, atol=1e-6)
            disagreements += dense(query, document).argmax() != lexical(query, document).argmax()
    assert disagreements > 5


@pytest.mark.parametrize(
    ("scores", "most", "close", "places", "margins"),
    [
        ([1.0, 4.0, 3.9, 2.0], 1, 0.05, [1], [0.025]),
        ([1.0, 4.0, 3.9, 2.0], 2, 0.05, [1, 2], [0.5, 0.475]),
        ([1.0, 4.0, 3.9, 2.0], 4, 0.05, [1, 2], [0.5, 0.475]),
        ([1.0, 4.0, 3.9, 2.0], 4, 1.0, [1, 2, 3, 0], [None] * 4),
        ([2.0, 2.0], 1, 0.0, [0], [0.0]),
        ([2.0, 2.0], 2, 0.0, [0, 1], [None, None]),
        ([-2.0, -1.0], 2, 0.5, [1], [1.0]),
        ([0.7], 3, 0.5, [0], [None]),
        ([0.0, 0.0, 0.0], 3, 0.5, [0], [None]),
    ],
)
def test_passages_close_to_the_best_are_positives_too(
    scores: list[float], most: int, close: float, places: list[int], margins: list[float | None]
) -> None:
    chosen = choose_positives(np.array(scores), 100, most, close)
    assert [positive.passage - 100 for positive in chosen] == places
    assert [positive.margin for positive in chosen] == pytest.approx(margins)


@pytest.mark.parametrize(
    ("start", "end", "right"),
    [(30, 60, True), (40, 45, True), (45, 75, True), (46, 76, False), (0, 60, True), (0, 89, False), (60, 90, False)],
)
def test_a_positive_is_right_if_it_holds_half_of_the_answer(
    tmp_path: Path, sample_model: Path, start: int, end: int, right: bool
) -> None:
    """The positive is the second passage, characters 30 to 60; answers of another document do not count."""
    rng = np.random.default_rng(2)
    sentences = [[random_sentence(rng) for _ in range(3)] for _ in range(12)]
    answers = [{"docid": document_id(4), "start": start, "end": end}, {"docid": document_id(5), "start": 30, "end": 60}]
    queries = [Query("q", "", {document_id(4): 1}, answers)]
    world = make_world(tmp_path, sample_model, sentences, queries, unit(rng.standard_normal(16))[None])
    mined = list(mine(world.pool, lambda query, document: np.array([0.1, 0.5, 0.2]), SEARCH))
    assert mining_counts(world.pool, mined, SEARCH)["positive_right_share"] == right


def test_the_teachers_choice_is_its_own(world: World) -> None:
    """It likes texts by their last character; no other way of choosing has that order."""

    def likes(question: str, texts: list[str]) -> NDArray[np.float64]:
        return np.array([float(ord(text[-1]) % 97) - 40 for text in texts])

    pool = world.pool
    vectors = (pool.query_vectors, pool.passage_vectors, pool.background)
    score = passage_scorer("teacher", pool.queries, *vectors, pool.passages, world.corpus, likes)
    for document in range(len(world.sentences)):
        logits = likes("", world.sentences[document])
        np.testing.assert_allclose(score(0, document), 1 / (1 + np.exp(-logits)), rtol=1e-6)
    with pytest.raises(ValueError, match="no way of choosing positives is called reranker"):
        passage_scorer("reranker", pool.queries, *vectors, pool.passages, world.corpus)
