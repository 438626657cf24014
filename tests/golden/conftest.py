"""What the tests against peers share."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from embedtune.comparison.report.findings import Collection, System
from embedtune.data.corpus import Query
from embedtune.evaluation.measures import write_run
from embedtune.models.cross_encoder import CrossEncoder, load_cross_encoder
from embedtune.retrieval.rankings import Rankings
from tests.golden.mining import World, document_id, make_world, random_sentence, unit
from tests.golden.reranking import CPU, FOUND, with_new_head, write_far_apart
from tests.golden.training import Data, changed_model, make_data


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models: threads would cost more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, sample_model: Path) -> Data:
    return make_data(tmp_path_factory.mktemp("training-data"), sample_model)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, sample_model: Path) -> Path:
    """The sample model without dropout, and with position embeddings that matter."""
    return changed_model(tmp_path_factory.mktemp("model"), sample_model, dropout=0.0)


@pytest.fixture(scope="session")
def base_with_dropout(tmp_path_factory: pytest.TempPathFactory, sample_model: Path) -> Path:
    """The same with dropout of 0.1."""
    return changed_model(tmp_path_factory.mktemp("model-with-dropout"), sample_model, dropout=0.1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, sample_model: Path) -> World:
    """150 documents of 1 to 5 passages and 30 questions with 1 to 3 relevant documents each.

    Relevant documents have copies, whole and of single passages, under other ids; so have others.
    """
    rng = np.random.default_rng(1)
    sentences = [[random_sentence(rng) for _ in range(rng.integers(1, 6))] for _ in range(150)]
    queries, vectors = [], []
    for number in range(30):
        relevant = rng.choice(60, rng.integers(1, 4), replace=False)
        negative = 60 + rng.choice(60, 6, replace=False)
        whole, part = 60 + rng.choice(90, 2, replace=False)
        sentences[whole] = list(sentences[relevant[0]])
        sentences[part][0] = sentences[relevant[-1]][-1]
        again, first = 60 + rng.choice(90, 2, replace=False)
        sentences[again] = list(sentences[first])
        judgments = {document_id(d): 1 for d in relevant} | {document_id(d): 0 for d in negative}
        text = sentences[relevant[0]][-1][3:12] + random_sentence(rng)[:6] + sentences[relevant[0]][-1][5:9]
        queries.append(Query(f"q{number}", text, judgments))
        vectors.append(unit(rng.standard_normal(16)))
    return make_world(tmp_path_factory.mktemp("world"), sample_model, sentences, queries, np.stack(vectors))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, sample_model: Path) -> World:
    """Forty documents of 1 to 3 passages, no text twice; document 5 is relevant."""
    rng = np.random.default_rng(8)
    sentences = [[random_sentence(rng) for _ in range(1 + number % 3)] for number in range(40)]
    queries = [Query("q", "", {document_id(5): 1})]
    vectors = unit(rng.standard_normal(16))[None]
    return make_world(tmp_path_factory.mktemp("plain"), sample_model, sentences, queries, vectors)


@pytest.fixture
def system(world: World, tmp_path: Path) -> System:
    run = tmp_path / "base.trec"
    write_run(run, world.pool.queries, world.pool.rankings, world.ids, "base")
    return System("base", world.pool.query_vectors, world.pool.passage_vectors, run)


@pytest.fixture
def collection(world: World) -> Collection:
    return Collection(world.pool.queries, world.pool.passages, world.corpus, world.pool.number_of)


@pytest.fixture(scope="session")
def reranker(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """The base model with a new head."""
    return with_new_head(base, tmp_path_factory.mktemp("reranker") / "base")


@pytest.fixture(scope="session")
def reranker_with_dropout(tmp_path_factory: pytest.TempPathFactory, base_with_dropout: Path) -> Path:
    return with_new_head(base_with_dropout, tmp_path_factory.mktemp("reranker") / "dropout")


@pytest.fixture(scope="session")
def far_apart(tmp_path_factory: pytest.TempPathFactory, sample_model: Path) -> Path:
    """A cross-encoder of random weights whose scores are far apart."""
    return write_far_apart(sample_model, tmp_path_factory.mktemp("far-apart"))


@pytest.fixture(scope="module")
def model(far_apart: Path) -> CrossEncoder:
    return load_cross_encoder(far_apart, CPU)


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
