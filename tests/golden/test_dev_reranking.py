"""A cross-encoder on dev: measured as trec_eval measures every pair scored by itself, by the weights it has then."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pytrec_eval
from numpy.typing import NDArray

from embedtune.evaluation.dev_reranking import RerankingSet
from embedtune.models.cross_encoder import CrossEncoder, load_cross_encoder
from embedtune.retrieval.rankings import Rankings
from embedtune.retrieval.rerank import (
    judged_documents,
)
from tests.golden.mining import World
from tests.golden.reranking import CPU, FOUND, READ, brute_force, read_of, reader_of, sentence


def dev_of(world: World, model: CrossEncoder, documents: NDArray[np.int32], per_document: int = 1) -> RerankingSet:
    pairs = reader_of(world, per_document).pairs(model, world.pool.queries, documents)
    return RerankingSet(world.pool.queries, pairs, world.ids, model, READ)


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
        min(READ, 3 + len(small.pool.queries[query].text) + len(sentence(small, passage)))
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
    small: World, found: Rankings, far_apart: Path
) -> None:
    model = load_cross_encoder(far_apart, CPU)
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
