"""What the report finds behind the means, by plain counting: spread of scores, and questions as examples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from embedtune.comparison.report.findings import (
    PASSAGE_CHARACTERS,
    QUESTION_CHARACTERS,
    RELEVANT_SHOWN,
    Collection,
    System,
    best_passages,
    example,
    score_histograms,
)
from embedtune.evaluation.per_query import first_documents, most_changed
from tests.golden.mining import World, best_sentence, numpy_ranking, numpy_scores


def document_scores(world: World, query: int) -> np.ndarray:
    scores = numpy_scores(world, query)
    owner = world.pool.passages.document
    return np.array([scores[owner == document].max() for document in range(len(world.ids))])


def test_histograms_are_of_relevant_documents_the_best_others_and_some_at_random(
    world: World, system: System, collection: Collection
) -> None:
    found = score_histograms([system], collection, seed=1)["base"]
    relevant, best_others = [], []
    for number, query in enumerate(world.pool.queries):
        scores = document_scores(world, number)
        own = [world.pool.number_of[document] for document in query.relevant()]
        relevant += scores[own].tolist()
        best_others.append(next(scores[d] for d in numpy_ranking(world, number) if d not in own))
    for kind, values in (("relevant", relevant), ("best other", best_others)):
        edges, shares = found[kind]
        width = edges[1] - edges[0]
        counts = np.histogram(values, [*edges, edges[-1] + width])[0]
        np.testing.assert_allclose(shares, counts / len(values), atol=1e-9)
        assert sum(shares) == pytest.approx(1)
    edges, shares = found["random other"]
    mean = float(np.dot(np.array(edges) + (edges[1] - edges[0]) / 2, shares))
    every = np.concatenate([document_scores(world, number) for number in range(len(world.pool.queries))])
    assert mean == pytest.approx(every.mean(), abs=0.05)


def test_histograms_of_two_systems_have_the_same_bars(system: System, collection: Collection) -> None:
    other = System("tuned", system.query_vectors, np.asarray(system.passage_vectors) * np.float16(0.5), system.run)
    found = score_histograms([system, other], collection, seed=1)
    assert found["base"]["relevant"][0] == found["tuned"]["best other"][0]


def test_an_example_shows_what_was_first_and_where_the_relevant_ones_are(
    world: World, system: System, collection: Collection
) -> None:
    """Two systems that put the same document first share a line; the third, without vectors, put its last one first.

    The passage shown of that one is another system's choice, which is said.
    """
    ranked = first_documents(system.run)
    reverse = {query: documents[::-1] for query, documents in ranked.items()}
    runs = {"base": ranked, "twin": ranked, "bm25": reverse}
    flat = [text for document in world.sentences for text in document]
    for number, query in enumerate(world.pool.queries[:5]):
        shown = example(number, runs, {"base": system}, collection)
        ranking = numpy_ranking(world, number)
        first, last = shown["first"]
        assert ([s["name"] for s in first["systems"]], [s["name"] for s in last["systems"]]) == (
            ["base", "twin"],
            ["bm25"],
        )
        assert (first["document"], last["document"]) == (world.ids[ranking[0]], world.ids[ranking[-1]])
        assert first["relevant"] == (first["document"] in query.relevant())
        assert (first["reader"], last["reader"]) == ("", "base")
        assert first["text"] == flat[best_sentence(world, number, ranking[0])]
        assert last["text"] == flat[best_sentence(world, number, ranking[-1])]
        assert first["systems"][0]["score"] == pytest.approx(document_scores(world, number)[ranking[0]], abs=1e-5)
        told = {answer["document"]: answer["places"] for answer in shown["relevant"]}
        assert len(told) == min(RELEVANT_SHOWN, len(query.relevant()))
        assert shown["more_relevant"] == len(query.relevant()) - len(told)
        known = {shown_first["text"] for shown_first in shown["first"]}
        for answer in shown["relevant"]:
            text = flat[best_sentence(world, number, world.pool.number_of[answer["document"]])]
            assert answer["text"] == ("" if text in known else text)
        for document, places in told.items():
            rank = ranking.index(world.pool.number_of[document]) + 1
            assert [place["rank"] for place in places] == [rank, rank, len(ranking) + 1 - rank]


def test_long_questions_and_passages_are_cut(world: World, system: System, collection: Collection) -> None:
    long = [type(q)(q.id, q.text * 200, q.judgments) for q in collection.queries]
    cut = example(0, {"base": {}}, {"base": system}, Collection(long, *list(vars(collection).values())[1:]))
    assert len(cut["query"]) == QUESTION_CHARACTERS + 1 and cut["query"].endswith("…")
    assert all(len(answer["text"]) <= PASSAGE_CHARACTERS + 1 for answer in cut["relevant"])
    assert cut["first"] == []
    assert all(place == {"system": "base", "rank": None, "depth": 0} for a in cut["relevant"] for place in a["places"])


def test_best_passages_are_those_of_plain_arithmetic(world: World, system: System) -> None:
    pairs = [(query, document) for query in range(4) for document in range(len(world.ids))]
    numbers, scores = best_passages(system, pairs, world.pool.passages)
    assert numbers.tolist() == [best_sentence(world, query, document) for query, document in pairs]
    expected = [document_scores(world, query)[document] for query, document in pairs]
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_questions_that_changed_most_come_first_ties_in_order_and_equal_ones_not_at_all() -> None:
    index = ["a", "b", "c", "d", "e", "f", "g"]
    base = pd.Series([0.5] * 7, index=index)
    tuned = pd.Series([0.6, 0.1, 0.5, 1.0, 0.4, 1.0, 0.1], index=index)
    assert most_changed(base, tuned, 3) == (["d", "f", "a"], ["b", "g", "e"])
    assert most_changed(base, tuned, 1) == (["d"], ["b"])
