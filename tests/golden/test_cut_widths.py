"""Vectors cut to their first numbers are measured as sentence-transformers' truncate_dim would have them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from embedtune.evaluation.cut_widths import cut_means, cut_vectors
from embedtune.evaluation.measures import per_query_scores
from embedtune.retrieval.dense import rank_documents
from tests.golden.mining import World


def test_cut_vectors_are_sentence_transformers(sample_model: Path) -> None:
    texts = ["合同自双方签字之日起生效", "国家对耕地实行特殊保护", "a"]
    whole = SentenceTransformer(str(sample_model)).encode(texts).astype(np.float16)
    cut = SentenceTransformer(str(sample_model)).encode(texts, truncate_dim=16, normalize_embeddings=True)
    np.testing.assert_allclose(cut_vectors(whole, 16), cut, atol=1e-3)
    doubled = (2 * whole).astype(np.float16)
    np.testing.assert_array_equal(cut_vectors(doubled, 16), doubled[:, :16], "vectors of any length stay so")


def test_each_width_below_the_whole_has_its_measures(world: World) -> None:
    pool = world.pool
    width = pool.passage_vectors.shape[1]
    parts = {"": pool.queries[:20], "dev_": pool.queries[20:]}
    vectors = {"": pool.query_vectors[:20], "dev_": pool.query_vectors[20:]}
    means = cut_means(parts, vectors, pool.passage_vectors, pool.passages, [width, 8, 8], [5], best_of=1)
    assert set(means) == {f"{prefix}{kind}@5_at_8" for prefix in parts for kind in ("recall", "ndcg", "mrr")}
    shorter = [np.asarray(side, dtype=np.float32)[:, :8] for side in (vectors["dev_"], pool.passage_vectors)]
    shorter = [(side / np.linalg.norm(side, axis=1, keepdims=True)).astype(np.float16) for side in shorter]
    passages = pool.passages
    rankings = rank_documents(*shorter, passages.document, passages.document_ids, 5)
    expected = per_query_scores(parts["dev_"], rankings, passages.document_ids, [5])["ndcg@5"].mean()
    assert means["dev_ndcg@5_at_8"] == pytest.approx(expected)


def test_documents_that_a_question_ignores_are_left_out(world: World) -> None:
    pool, width = world.pool, 8
    given = ({"": pool.query_vectors}, pool.passage_vectors, pool.passages, [width], [1], 1)
    vectors = [cut_vectors(side, width) for side in (pool.query_vectors, pool.passage_vectors)]
    first = rank_documents(*vectors, pool.passages.document, pool.passages.document_ids, 2).documents
    ids = pool.passages.document_ids
    asked = [replace(query, judgments={ids[second]: 1}) for query, (_, second) in zip(pool.queries, first, strict=True)]
    ignoring = [replace(query, ignored=[ids[top]]) for query, (top, _) in zip(asked, first, strict=True)]
    recall = [cut_means({"": queries}, *given)["recall@1_at_8"] for queries in (asked, ignoring)]
    assert recall == [0.0, 1.0]
