"""Searchers: each ranks as the functions behind it do; stored ones answer for their own queries alone."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sentence_transformers import SentenceTransformer

from embedtune.core.errors import EmbedTuneError, ParameterError
from embedtune.core.json_files import read_json, write_json
from embedtune.data.corpus import Query
from embedtune.evaluation.evaluate import evaluate
from embedtune.evaluation.first_passages import first_passage_means
from embedtune.evaluation.measures import per_query_scores
from embedtune.models.encoder import load_encoder
from embedtune.models.vector_store import create_array, open_store, write_description
from embedtune.retrieval.bm25 import temporary_index
from embedtune.retrieval.dense import rank_documents
from embedtune.retrieval.fusion import reciprocal_rank_fusion
from embedtune.retrieval.rankings import read_rankings
from embedtune.retrieval.searcher import DenseSearcher, FusedSearcher, LexicalSearcher, StoredSearcher, stored_vectors
from tests.golden.mining import World

QUERIES = {split: [Query(f"{split}{i}", f"question {i}") for i in range(5)] for split in ("dev", "test")}


def fill_store(directory: Path, passages: np.ndarray, rng: np.random.Generator) -> None:
    arrays = {"passages": passages}
    for split, queries in QUERIES.items():
        vectors = rng.standard_normal((len(queries), passages.shape[1]))
        arrays[f"queries-{split}"] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for part, values in arrays.items():
        create_array(directory / f"{part}.npy", *values.shape)[:] = values.astype(np.float16)
    made_by = {"model": {"path": "models/x", "hash": "h"}, "query_max_len": 64}
    write_description(directory, passages.shape[1], arrays, made_by)


@pytest.fixture
def dense(world: World, tmp_path: Path) -> DenseSearcher:
    fill_store(tmp_path, np.asarray(world.pool.passage_vectors), np.random.default_rng(0))
    store = open_store(tmp_path)
    return DenseSearcher(stored_vectors(store, QUERIES), store.passages, world.pool.passages)


def test_a_dense_searcher_ranks_as_rank_documents_does(dense: DenseSearcher, tmp_path: Path) -> None:
    ranked = dense.rank(QUERIES["test"], 7)
    passages, vectors = dense.passages, open_store(tmp_path).queries("test")
    expected = rank_documents(vectors, dense.passage_vectors, passages.document, passages.document_ids, 7)
    np.testing.assert_array_equal(ranked.documents, expected.documents)
    np.testing.assert_array_equal(ranked.passages, expected.passages)
    assert dense.document_ids == passages.document_ids


def test_stored_vectors_are_those_of_the_split_that_asks_and_of_no_other_queries(dense: DenseSearcher) -> None:
    dev, test = (dense.rank(QUERIES[split], 7).scores for split in ("dev", "test"))
    assert not np.array_equal(dev, test)
    with pytest.raises(EmbedTuneError, match="these 2 queries are not those of dev, test, which alone are stored"):
        dense.rank(QUERIES["test"][:2], 7)


def test_a_fused_searcher_fuses_what_both_rank(dense: DenseSearcher) -> None:
    texts = [f"document {i} question {i % 5}" for i in range(len(dense.document_ids))]
    lexical = LexicalSearcher(temporary_index(texts), dense.document_ids)
    fuse = functools.partial(reciprocal_rank_fusion, k=60)
    fused = FusedSearcher(dense, lexical, fuse, candidates=10).rank(QUERIES["dev"], 4)
    both = (searcher.rank(QUERIES["dev"], 10) for searcher in (dense, lexical))
    np.testing.assert_array_equal(fused.documents, fuse(*both, dense.document_ids, 4).documents)
    stored = StoredSearcher(
        {split: lexical.rank(queries, 10) for split, queries in QUERIES.items()}, QUERIES, dense.document_ids
    )
    again = FusedSearcher(dense, stored, fuse, candidates=10).rank(QUERIES["dev"], 4)
    np.testing.assert_array_equal(again.documents, fused.documents)
    assert stored.rank(QUERIES["test"], 3).documents.shape == (5, 3)


def without(row: list[int], ignored: set[int], depth: int) -> list[int]:
    return ([document for document in row if document not in ignored] + [-1] * len(row))[:depth]


@pytest.mark.parametrize("depth", [1, 7, 150, 400])
def test_documents_that_a_query_ignores_are_left_out_and_the_next_ones_move_up(
    dense: DenseSearcher, depth: int
) -> None:
    """As from the whole ranking: of queries with two, one, no such document, and of one that ignores all but three."""
    texts = [f"document {i} question {i % 5}" for i in range(len(dense.document_ids))]
    every = len(texts)
    for searcher in (
        dense,
        replace(dense, best_of=2),
        LexicalSearcher(temporary_index(texts), dense.document_ids),
    ):
        whole = searcher.rank(QUERIES["dev"], every)
        firsts = [set(row[:count].tolist()) for row, count in zip(whole.documents, (2, 1, 0, 0, 0), strict=True)]
        firsts[3] = set(range(every)) - {4, 5, 6}
        queries = [
            replace(query, ignored=[*(dense.document_ids[d] for d in sorted(ignored)), "of no corpus"])
            for query, ignored in zip(QUERIES["dev"], firsts, strict=True)
        ]
        ranked = searcher.rank(queries, depth)
        expected = [
            without(row.tolist(), own, min(depth, every)) for row, own in zip(whole.documents, firsts, strict=True)
        ]
        assert ranked.documents.tolist() == expected
        for row, kept in enumerate(expected):
            places = [whole.documents[row].tolist().index(document) for document in kept if document >= 0]
            assert ranked.scores[row, : len(places)].tolist() == whole.scores[row, places].tolist()
            assert ranked.passages[row, : len(places)].tolist() == whole.passages[row, places].tolist()
            assert np.isneginf(ranked.scores[row, len(places) :]).all()
            assert (ranked.passages[row, len(places) :] == -1).all()


def test_first_passages_leave_out_what_a_query_ignores(dense: DenseSearcher) -> None:
    """A question whose own text is a document, ranked first: the answer is second, and first without it."""
    passages = dense.passages
    first = dense.passage_vectors[passages.first_passage[:-1]]
    ids = passages.document_ids
    rankings = rank_documents(first[[3]], first, np.arange(len(ids), dtype=np.int32), ids, len(ids))
    own, answer = (ids[document] for document in rankings.documents[0, :2])
    query = Query("q", "?", {answer: 1})
    for ignored, rank in (([], 2), ([own], 1)):
        asked = [replace(query, ignored=ignored)]
        means = first_passage_means(asked, first[[3]], dense.passage_vectors, passages, [10])
        assert means["mrr@10"] == 1 / rank


def test_both_splits_are_ranked_as_deep_as_asked_and_measured(dense: DenseSearcher, tmp_path: Path) -> None:
    """The TREC run is as deep as the last cutoff; stored rankings are as deep as asked, and at least that."""
    relevant = {dense.document_ids[0]: 1}
    asked = {split: [replace(query, judgments=relevant) for query in queries] for split, queries in QUERIES.items()}
    groups = pd.DataFrame({"query_length": ["0-10"] * 5}, index=[query.id for query in asked["test"]])
    run, plots = tmp_path / "run", tmp_path / "plots"
    for depth, expected in ((1, 4), (9, 9)):
        rankings, means = evaluate(
            "x", dense, asked, "test", [1, 4], groups, depth=depth, system={"kind": "dense"}, run=run, plots=plots
        )
        assert {split: ranked.documents.shape for split, ranked in rankings.items()} == dict.fromkeys(
            ("dev", "test"), (5, expected)
        )
        for split, ranked in rankings.items():
            stored = read_rankings(run, split)
            np.testing.assert_array_equal(stored.documents, ranked.documents)
            np.testing.assert_array_equal(stored.scores, ranked.scores)
        assert len((run / "run.trec").read_text().splitlines()) == 5 * 4
        assert read_json(run / "system.json") == {"kind": "dense"}
        measures = {f"{kind}@{k}" for kind in ("recall", "ndcg", "mrr") for k in (1, 4)}
        assert set(means) == measures | {f"dev_{measure}" for measure in measures}
        for split, prefix in (("dev", "dev_"), ("test", "")):
            own = per_query_scores(asked[split], rankings[split], dense.document_ids, [1, 4]).mean()
            assert {measure: means[prefix + measure] for measure in measures} == pytest.approx(own.to_dict())


def test_a_store_of_another_kind_or_of_several_shards_is_refused(tmp_path: Path) -> None:
    fill_store(tmp_path, np.eye(4), np.random.default_rng(0))
    meta = read_json(tmp_path / "store.json")
    assert (meta["kind"], meta["dimension"]) == ("dense", 4)
    write_json(tmp_path / "store.json", meta | {"shards": {"passages": ["a.npy", "b.npy"]}})
    with pytest.raises(EmbedTuneError, match="expected one shard of passages, found 2"):
        _ = open_store(tmp_path).passages
    write_json(tmp_path / "store.json", meta | {"kind": "sparse"})
    with pytest.raises(EmbedTuneError, match="expected a store of kind dense, got sparse"):
        open_store(tmp_path)


def test_an_encoder_embeds_texts_as_sentence_transformers_does(sample_model: Path) -> None:
    encoder, peer = load_encoder(sample_model), SentenceTransformer(str(sample_model))
    texts = ["合同自双方签字之日起生效", "a", "国家对耕地实行特殊保护" * 20, "1 + 1"]
    for ours, theirs in (
        (encoder.encode_queries(texts), peer.encode_query(texts)),
        (encoder.encode_passages(texts), peer.encode_document(texts)),
    ):
        assert ours.shape == (4, encoder.dimension) == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert encoder.encode_queries([]).shape == (0, encoder.dimension)
    encoder.model.train()
    np.testing.assert_array_equal(encoder.encode_queries(texts), encoder.encode_queries(texts))
    assert encoder.model.training, "dropout is off while it embeds, and on again afterwards"


def test_what_an_encoder_cannot_do_is_refused(sample_model: Path) -> None:
    with pytest.raises(ParameterError, match="backend: expected one of torch, got onnx"):
        load_encoder(sample_model, backend="onnx")
    with pytest.raises(ParameterError, match="query_instruction: it takes 12 of the 12 tokens"):
        load_encoder(sample_model).encode_queries(["?"], max_len=12)
