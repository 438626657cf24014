"""How indexes are built and opened: no codes that nothing uses, and GPUs (played here) that limit no search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from embedtune.core.errors import ParameterError
from embedtune.retrieval import dense, indexes
from embedtune.retrieval.dense import rank_documents
from embedtune.retrieval.indexes import build_index, open_index


@pytest.mark.parametrize("factory", ["PQ4x4", "IVF4,PQ4x4", "IVF4,PQ4x4,RFlat", "PCA8,IVF4,PQ4x4"])
def test_product_quantisers_skip_polysemous_codes_and_search_the_same(tmp_path: Path, factory: str) -> None:
    """Against FAISS's own default: these codes are another numbering of the same centroids."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((600, 16)).astype(np.float16)
    build_index(vectors, tmp_path, factory=factory, shard_rows=600, train_rows=600, seed=0)
    ours = faiss.read_index(str(tmp_path / "shard-000.faiss"))
    assert not any(polysemous(ours)) and any(polysemous(faiss.index_factory(16, factory, faiss.METRIC_INNER_PRODUCT)))
    theirs = faiss.index_factory(16, factory, faiss.METRIC_INNER_PRODUCT)
    theirs.train(vectors.astype(np.float32))
    theirs.add(vectors.astype(np.float32))
    asked = rng.standard_normal((20, 16)).astype(np.float32)
    np.testing.assert_allclose(ours.search(asked, 5)[0], theirs.search(asked, 5)[0], rtol=1e-4)


def polysemous(index: Any) -> list[bool]:
    """Whether each product quantiser in an index is trained for polysemous codes."""
    index = faiss.downcast_index(index)
    found = [index.do_polysemous_training] if hasattr(index, "do_polysemous_training") else []
    inner = (getattr(index, name, None) for name in ("index", "base_index", "quantizer"))
    return [*found, *(flag for nested in inner if nested is not None for flag in polysemous(nested))]


def test_a_search_that_needs_polysemous_codes_is_refused(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((600, 16)).astype(np.float16)
    build_index(vectors, tmp_path, factory="IVF4,PQ4x4", shard_rows=600, train_rows=600, seed=0)
    with pytest.raises(ParameterError, match=r"^index_search: ht needs polysemous codes, .* got 'nprobe=4,ht=30'"):
        open_index(tmp_path, "nprobe=4,ht=30")


def test_a_search_deeper_than_a_gpu_goes_runs_on_the_mapped_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU that answers no more than its limit, played by the index itself: the ranking is as deep without it."""

    class Gpu:
        def __init__(self, index: Any) -> None:
            self.index, self.asked = index, []

        def search(self, queries: Any, count: int) -> Any:
            self.asked.append(count)
            assert count <= indexes.GPU_CANDIDATES
            return self.index.search(queries, count)

    gpus: list[Gpu] = []

    def on_gpus(index: Any) -> Gpu:
        gpus.append(Gpu(index))
        return gpus[-1]

    monkeypatch.setattr(indexes, "GPU_CANDIDATES", 20)
    monkeypatch.setattr(indexes, "_on_gpus", on_gpus)
    monkeypatch.setattr(indexes.faiss, "get_num_gpus", lambda: 1)
    rng = np.random.default_rng(0)
    vectors, asked = (rng.standard_normal((n, 16)).astype(np.float16) for n in (300, 4))
    build_index(vectors, tmp_path, factory="IVF4,Flat", shard_rows=300, train_rows=300, seed=0)
    documents, ids = np.arange(300, dtype=np.int32) // 3, [f"d{i}" for i in range(100)]
    index = open_index(tmp_path, "nprobe=4")
    found = rank_documents(asked, vectors, documents, ids, 100, index, use_gpu=False)
    assert (found.documents >= 0).all()
    shallow = rank_documents(asked, vectors, documents, ids, 2, index, use_gpu=False)
    assert gpus[0].asked and (shallow.documents == found.documents[:, :2]).all()


def test_the_exact_search_takes_the_gpus_resources_once(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def knn_gpu(resources: object, queries: Any, block: Any, count: int, metric: int) -> Any:
        assert resources is taken[0]
        return faiss.knn(queries, block, count, metric=metric)

    monkeypatch.setattr(dense.faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(dense.faiss, "StandardGpuResources", lambda: taken.append(object()) or taken[-1], raising=False)
    monkeypatch.setattr(dense.faiss, "knn_gpu", knn_gpu, raising=False)
    monkeypatch.setattr(dense, "BLOCK_ROWS", 50)
    rng = np.random.default_rng(0)
    vectors, asked = (rng.standard_normal((n, 16)).astype(np.float16) for n in (300, 4))
    documents, ids = np.arange(300, dtype=np.int32), [f"d{i}" for i in range(300)]
    ours = rank_documents(asked, vectors, documents, ids, 10)
    monkeypatch.undo()
    assert len(taken) == 1
    assert (ours.documents == rank_documents(asked, vectors, documents, ids, 10, use_gpu=False).documents).all()
