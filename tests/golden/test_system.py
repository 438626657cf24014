"""Systems described, opened again and asked: the same rankings, the passage shown, and parts that are not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from embedtune.core.errors import EmbedTuneError
from embedtune.core.json_files import write_json
from embedtune.data.corpus import Query
from embedtune.models.vector_store import create_array, write_description
from embedtune.retrieval.answers import answer
from embedtune.retrieval.bm25 import write_index
from embedtune.retrieval.dense import rank_documents
from embedtune.retrieval.indexes import build_index
from embedtune.retrieval.searcher import DenseSearcher, FusedSearcher, LexicalSearcher
from embedtune.retrieval.system import (
    check_parts,
    dense_part,
    describe_dense,
    describe_fused,
    describe_lexical,
    open_searcher,
)
from tests.golden.mining import World


@pytest.fixture
def project(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Vectors, an index, passages and BM25's index of the world's documents."""
    monkeypatch.chdir(tmp_path)
    vectors = np.asarray(world.pool.passage_vectors)
    for name in ("vectors", "index", "terms"):
        Path(name).mkdir()
    create_array(Path("vectors/passages.npy"), *vectors.shape)[:] = vectors
    made_by = {"model": {"path": "models/x", "hash": "h"}, "query_max_len": 64}
    write_description(Path("vectors"), vectors.shape[1], ["passages"], made_by)
    build_index(vectors, Path("index"), factory="Flat", shard_rows=10, train_rows=10, seed=0)
    shutil.copytree(world.corpus.parent, "passages", ignore=shutil.ignore_patterns("corpus.jsonl"))
    write_index(Path("terms"), ["".join(sentences) for sentences in world.sentences])
    write_json(Path("terms/documents.json"), world.ids)
    return tmp_path


def dense() -> dict[str, object]:
    return describe_dense(Path("vectors"), Path("index"), Path("passages"), search="", best_passages=1)


def test_a_described_system_is_opened_again_as_it_was(world: World, project: Path) -> None:
    description = json.loads(json.dumps(dense()))
    assert (description["kind"], description["query_max_len"], description["model"]["hash"]) == ("dense", 64, "h")
    queries, vectors = world.pool.queries[:4], np.asarray(world.pool.query_vectors[:4])
    searcher = open_searcher(description, Path(), lambda asked: vectors)
    assert isinstance(searcher, DenseSearcher)
    found = searcher.rank(queries, 6)
    expected = rank_documents(
        vectors, np.asarray(world.pool.passage_vectors), world.pool.passages.document, world.ids, 6
    )
    np.testing.assert_array_equal(found.documents, expected.documents)
    lexical = open_searcher(describe_lexical(Path("terms")), Path(), None)
    assert isinstance(lexical, LexicalSearcher)
    fused = describe_fused(description, describe_lexical(Path("terms")), 20, by="scores", weight=0.3)
    both = open_searcher(json.loads(json.dumps(fused)), Path(), lambda asked: vectors)
    assert isinstance(both, FusedSearcher) and both.candidates == 20
    assert both.fuse.keywords == {"weight": 0.3}  # type: ignore[attr-defined]
    by_hand = both.fuse(searcher.rank(queries, 20), lexical.rank(queries, 20), world.ids, 5)
    np.testing.assert_array_equal(both.rank(queries, 5).documents, by_hand.documents)
    assert dense_part(fused) == description and dense_part(describe_lexical(Path("terms"))) is None


@pytest.mark.parametrize("kind", ["dense", "lexical", "fused"])
def test_an_answer_shows_the_passage_that_the_model_likes_best(world: World, project: Path, kind: str) -> None:
    lexical = describe_lexical(Path("terms"))
    described = {"dense": dense(), "lexical": lexical}
    described["fused"] = describe_fused(dense(), lexical, 20, by="ranks", rank_constant=60)
    vectors = np.asarray(world.pool.query_vectors[:1])
    searcher = open_searcher(described[kind], Path(), lambda asked: vectors)
    question = world.sentences[3][0][:10]
    found = answer(searcher, question, 3, world.pool.passages, world.corpus)
    ranked = searcher.rank([Query("", question)], 3)
    assert [one.document for one in found] == [world.ids[d] for d in ranked.documents[0] if d >= 0]
    assert [one.score for one in found] == pytest.approx(ranked.scores[0][: len(found)].tolist())
    for one in found:
        document = world.ids.index(one.document)
        own = world.pool.passages.of_document(document)
        scores = np.asarray(world.pool.passage_vectors)[own].astype(np.float64) @ vectors[0].astype(np.float64)
        assert one.passage == world.sentences[document][0 if kind == "lexical" else int(scores.argmax())]
    assert answer(searcher, "zzz", 3, world.pool.passages, world.corpus) == [] or kind != "lexical"


@pytest.mark.parametrize("part", ["vectors", "index", "passages", "terms"])
def test_parts_that_are_gone_or_changed_are_named(project: Path, part: str) -> None:
    description = describe_fused(dense(), describe_lexical(Path("terms")), 20, by="ranks", rank_constant=60)
    data = ("vectors", "index", "passages", "terms")
    check_parts(description, Path(), only=data)
    with pytest.raises(EmbedTuneError, match="models/x: is not here"):
        check_parts(description, Path())
    known_by = {"vectors": "store.json", "index": "meta.json", "passages": "passages.parquet", "terms": "index.json"}
    file = Path(part, known_by[part])
    content = file.read_bytes()
    file.write_bytes(content + b" ")
    with pytest.raises(EmbedTuneError, match=f"{part}: is not what the system was measured with"):
        check_parts(description, Path(), only=data)
    file.unlink()
    with pytest.raises(EmbedTuneError, match=f"{part}: is not here, and the system needs it; `dvc pull`"):
        check_parts(description, Path(), only=data)
    check_parts(description, Path(), only=tuple(name for name in data if name != part))


def test_the_hash_of_a_store_is_that_of_its_vectors(project: Path) -> None:
    before = dense()["vectors"]
    create_array(Path("vectors/passages.npy"), 2, 4)[:] = 1
    write_description(Path("vectors"), 4, ["passages"], {"model": {"path": "m", "hash": "h"}, "query_max_len": 64})
    assert dense()["vectors"] != before
