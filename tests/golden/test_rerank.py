"""Results in a cross-encoder's order, against every pair scored by itself; what is read; measures; a model tried."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytrec_eval
from numpy.typing import NDArray

from embedtune.core.errors import EmbedTuneError
from embedtune.data.corpus import Query
from embedtune.evaluation.dev_reranking import RerankingSet
from embedtune.models.cross_encoder import CrossEncoder, load_cross_encoder
from embedtune.models.trial import try_cross_encoder
from embedtune.retrieval.rankings import Rankings
from embedtune.retrieval.rerank import (
    PairsToScore,
    PassageReader,
    RerankedSearcher,
    WithPassages,
    by_score,
    in_order_of,
    judged_documents,
    reordered,
    with_passages,
)
from embedtune.retrieval.searcher import StoredSearcher, vectors_by_id
from tests.golden.mining import World, best_sentence, document_id, make_world, numpy_scores, random_sentence, unit
from tests.golden.reranking import CPU, far_apart

MAX_LEN = 40  # tokens: of a passage's 30 the last ones are cut
FOUND = 9  # documents of each question that the candidates' system finds, at most


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, sample_model: Path) -> Path:
    return far_apart(sample_model, tmp_path_factory.mktemp("reranker"))


@pytest.fixture(scope="module")
def model(directory: Path) -> CrossEncoder:
    return load_cross_encoder(directory, CPU)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, sample_model: Path) -> World:
    """24 documents of 1 to 4 passages, and six questions of 4 to 14 characters with two judged documents each."""
    rng = np.random.default_rng(4)
    sentences = [[random_sentence(rng) for _ in range(1 + number % 4)] for number in range(24)]
    queries = [
        Query(f"q{i}", random_sentence(rng)[: 4 + 2 * i], {document_id(i): 1, document_id(3 * i + 2): 2})
        for i in range(6)
    ]
    vectors = np.stack([unit(rng.standard_normal(16)) for _ in queries])
    return make_world(tmp_path_factory.mktemp("small"), sample_model, sentences, queries, vectors)


@pytest.fixture(scope="module")
def found(small: World) -> Rankings:
    """Nine documents of each question at random; of the fifth question three are found, of the last one none."""
    rng = np.random.default_rng(5)
    documents = np.stack([rng.permutation(24)[:FOUND] for _ in small.pool.queries]).astype(np.int32)
    scores = np.tile(np.linspace(0.9, 0.1, FOUND, dtype=np.float32), (6, 1))
    for row, kept in ((4, 3), (5, 0)):
        documents[row, kept:], scores[row, kept:] = -1, -np.inf
    return Rankings(documents, np.full(documents.shape, -1, dtype=np.int64), scores)


def reader_of(world: World, per_document: int) -> PassageReader:
    vectors_of = vectors_by_id(world.pool.queries, world.pool.query_vectors)
    return PassageReader(world.pool.passages, world.corpus, vectors_of, world.pool.passage_vectors, per_document)


def stored(world: World, found: Rankings) -> StoredSearcher:
    return StoredSearcher({"test": found}, {"test": world.pool.queries}, world.ids)


def read_of(world: World, query: int, document: int, per_document: int) -> list[int]:
    """The document's passages with the highest inner products, in their order in the document."""
    numbers = np.flatnonzero(world.pool.passages.document == document).tolist()
    scores = numpy_scores(world, query).astype(np.float32)
    return sorted(sorted(numbers, key=lambda number: (-scores[number], number))[:per_document])


def sentence(world: World, passage: int) -> str:
    document = int(world.pool.passages.document[passage])
    return world.sentences[document][passage - int(world.pool.passages.first_passage[document])]


Scored = list[tuple[int, int, float]]  # document, its best passage, score


def brute_force(world: World, model: CrossEncoder, query: int, documents: list[int], per_document: int) -> Scored:
    """The documents best first, ties by id descending: each pair is scored alone."""
    scored = []
    for document in documents:
        passages = read_of(world, query, document, per_document)
        texts = [sentence(world, passage) for passage in passages]
        scores = [
            float(model.scores_of_texts(world.pool.queries[query].text, [text], max_len=MAX_LEN)[0]) for text in texts
        ]
        scored.append((document, passages[scores.index(max(scores))], max(scores)))
    scored.sort(key=lambda row: world.ids[row[0]], reverse=True)
    return sorted(scored, key=lambda row: -row[2])


@pytest.mark.parametrize("batch_tokens", [1, 2048])
@pytest.mark.parametrize("per_document", [1, 2, 4])
def test_documents_are_ordered_as_by_every_pair_scored_by_itself(
    small: World, found: Rankings, model: CrossEncoder, per_document: int, batch_tokens: int
) -> None:
    """The first six of nine, so that three keep their order below them; asked for fewer, as many and more."""
    searcher = RerankedSearcher(
        stored(small, found), reader_of(small, per_document), model, 6, max_len=MAX_LEN, batch_tokens=batch_tokens
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
        RerankedSearcher(stored(small, found), reader_of(small, n), model, 6, MAX_LEN, 2048).read(
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
        min(MAX_LEN, 3 + len(queries[query]) + len(tokens))
        for query, tokens in zip(pairs.queries.tolist(), texts, strict=True)
    ]
    assert pairs.lengths(model, MAX_LEN).tolist() == lengths


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
    searcher = RerankedSearcher(stored(small, found), reader_of(small, 1), model, 6, MAX_LEN, 2048)
    whole = searcher.read(small.pool.queries, found.documents)
    some = searcher.read(small.pool.queries[2:4], found.documents[2:4])
    np.testing.assert_array_equal(some.passages, whole.passages[2:4])
    np.testing.assert_allclose(some.scores, whole.scores[2:4], atol=1e-4)


def test_where_nothing_is_found_nothing_is_scored(small: World, model: CrossEncoder) -> None:
    nothing = Rankings(
        np.full((6, 3), -1, dtype=np.int32), np.full((6, 3), -1), np.full((6, 3), -np.inf, dtype=np.float32)
    )
    ranked = RerankedSearcher(stored(small, nothing), reader_of(small, 1), model, 2, MAX_LEN, 2048).rank(
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
    vectors_of = vectors_by_id(pool.queries, pool.query_vectors)
    searcher = WithPassages(stored(small, found), vectors_of, pool.passage_vectors, pool.passages)
    plain = with_passages(found, pool.query_vectors, pool.passage_vectors, pool.passages)
    np.testing.assert_array_equal(searcher.rank(pool.queries, 4).passages, plain.passages[:, :4])
    assert searcher.document_ids == small.ids


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


def dev_of(world: World, model: CrossEncoder, documents: NDArray[np.int32], per_document: int = 1) -> RerankingSet:
    pairs = reader_of(world, per_document).pairs(model, world.pool.queries, documents)
    return RerankingSet(world.pool.queries, pairs, world.ids, model, MAX_LEN)


def by_trec_eval(world: World, found: list[dict[int, float]], kind: str) -> list[float]:
    """Each question's measure, such as ndcg_cut_3; 0 where nothing is found."""
    judged = {
        query.id: {document: int(grade) for document, grade in query.judgments.items()} for query in world.pool.queries
    }
    run = {
        query.id: {world.ids[document]: score for document, score in own.items()}
        for query, own in zip(world.pool.queries, found, strict=True)
    }
    name = kind.replace("cut_", "cut.").replace("recall_", "recall.")
    values = pytrec_eval.RelevanceEvaluator(judged, {name}).evaluate(run)
    return [values.get(query.id, {kind: 0.0})[kind] for query in world.pool.queries]


def judged_first(small: World, found: Rankings) -> NDArray[np.int32]:
    """The found documents with each question's judged ones among them, the last one at the end."""
    documents = found.documents.copy()
    for row, own in enumerate(judged_documents(small.pool.queries, small.ids).tolist()):
        others = [document for document in documents[row].tolist() if document not in own]
        documents[row, :4] = [*others[:2], own[0], others[2]] if row < 4 else [own[1], -1, -1, -1]
        documents[row, 4:] = [*others[3:7], own[1]] if row < 4 else -1
    return documents


@pytest.mark.parametrize("per_document", [1, 2])
def test_dev_is_measured_as_trec_eval_measures_every_pair_scored_by_itself(
    small: World, found: Rankings, model: CrossEncoder, per_document: int
) -> None:
    documents = judged_first(small, found)
    dev = dev_of(small, model, documents, per_document)
    table = dev.score(model, batch_tokens=500, cutoffs=[3])
    scored = [
        {
            document: score
            for document, _, score in brute_force(small, model, query, [d for d in row if d >= 0], per_document)
        }
        for query, row in enumerate(documents.tolist())
    ]
    assert table["ndcg@3"].tolist() == pytest.approx(by_trec_eval(small, scored, "ndcg_cut_3"), abs=1e-6)
    assert table["recall@3"].tolist() == pytest.approx(by_trec_eval(small, scored, "recall_3"), abs=1e-6)
    assert len({*table["ndcg@3"].round(3)}) > 2
    lengths = [
        min(MAX_LEN, 3 + len(small.pool.queries[query].text) + len(sentence(small, passage)))
        for query, row in enumerate(documents.tolist())
        for document in row
        if document >= 0
        for passage in read_of(small, query, document, per_document)
    ]
    assert dev.tokens() == sum(lengths)


def test_the_means_as_found_are_of_the_order_in_which_documents_were_found(
    small: World, found: Rankings, model: CrossEncoder
) -> None:
    documents = judged_first(small, found)
    means = dev_of(small, model, documents).means_as_found([3, 9])
    falling = [
        {document: -float(rank) for rank, document in enumerate(row) if document >= 0} for row in documents.tolist()
    ]
    for ours, theirs in (("ndcg@3", "ndcg_cut_3"), ("recall@3", "recall_3"), ("ndcg@9", "ndcg_cut_9")):
        assert means[ours] == pytest.approx(np.mean(by_trec_eval(small, falling, theirs)), abs=1e-6)
    assert 0 < means["ndcg@3"] < means["ndcg@9"] < 1


@pytest.mark.parametrize("top", [1, 3, 8, 9, 50])
def test_a_smaller_dev_set_has_the_first_documents_of_each_question(
    small: World, found: Rankings, model: CrossEncoder, top: int
) -> None:
    documents = judged_first(small, found)
    dev = dev_of(small, model, documents, per_document=2)
    assert dev.top == FOUND
    cut, expected = dev.of_top(top), dev_of(small, model, documents[:, :top], per_document=2)
    assert cut.top == min(top, FOUND)
    assert cut.tokens() == expected.tokens()
    assert cut.means_as_found([3]) == expected.means_as_found([3])
    ours, theirs = (part.score(model, batch_tokens=500, cutoffs=[3]) for part in (cut, expected))
    assert ours.to_dict() == theirs.to_dict()
    assert dev.top == FOUND, "the whole set stays"


def test_dev_is_scored_without_dropout_by_the_weights_that_the_model_has_then(
    small: World, found: Rankings, directory: Path
) -> None:
    model = load_cross_encoder(directory, CPU)
    dev = dev_of(small, model, judged_first(small, found))
    before = dev.score(model, batch_tokens=500, cutoffs=[3])
    for module in model.model.modules():
        if type(module).__name__ == "Dropout":
            module.p = 0.5
    model.model.train()
    assert dev.score(model, batch_tokens=500, cutoffs=[3]).to_dict() == before.to_dict()
    assert model.model.training, "dropout is on again"
    model.model.classifier.weight.data.neg_()
    turned = dev.score(model, batch_tokens=500, cutoffs=[3])
    assert turned.to_dict() != before.to_dict()


def edited(directory: Path, target: Path, file: str, **values: Any) -> Path:
    """A copy of a model with some values of a JSON file changed."""
    target.mkdir()
    for source in directory.iterdir():
        (target / source.name).write_bytes(source.read_bytes())
    content = json.loads((target / file).read_text(encoding="utf-8"))
    (target / file).write_text(json.dumps(content | values), encoding="utf-8")
    return target


def test_a_good_cross_encoder_passes_its_trial(directory: Path) -> None:
    assert try_cross_encoder(directory, CPU) < 1e-5


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("tokenizer_config.json", {"padding_side": "left"}, "gives other scores than embedtune: they differ by .* of"),
        ("tokenizer_config.json", {"model_max_length": 16}, "gives other scores than embedtune: they differ by .* of"),
        ("tokenizer_config.json", {"pad_token": None}, "cannot use the cross-encoder: .*padding token"),
        ("config.json", {"max_position_embeddings": 400}, "cannot be loaded as a cross-encoder"),
    ],
    ids=["padding", "length", "no-padding", "positions"],
)
def test_a_cross_encoder_that_others_would_read_otherwise_is_refused(
    directory: Path, tmp_path: Path, file: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(EmbedTuneError, match=message):
        try_cross_encoder(edited(directory, tmp_path / "edited", file, **values), CPU)
