"""Small cross-encoders and questions with judged documents, for the tests of rerankers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from embedtune.mining.mined_rows import MinedRow, read_texts_of_rows
from embedtune.models.cross_encoder import CrossEncoder, load_cross_encoder
from embedtune.models.new_head import set_activation, write_with_new_head
from embedtune.retrieval.rerank import PassageReader
from embedtune.retrieval.searcher import vectors_by_id
from embedtune.training.pair_data import JudgedQuery, PairBatch, PairSet, judged_queries
from tests.golden.mining import World, numpy_scores
from tests.golden.training import Data

CPU = torch.device("cpu")
READ = 40  # tokens to which pairs of a world's passages, of 30 tokens, are cut
FOUND = 9  # documents of each question that the candidates' system finds, at most
MAX_LEN = 68  # tokens, to which some pairs of the small data set are cut


def with_new_head(embedder: Path, target: Path) -> Path:
    """A cross-encoder of an embedding model, as reranker_base writes it; its logits are scores as they are."""
    target.mkdir()
    write_with_new_head(embedder, target, seed=1)
    set_activation(target, probability=False)
    return target


def write_far_apart(sample_model: Path, target: Path) -> Path:
    """The sample's architecture with random weights that are large enough to tell texts apart."""
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig.from_pretrained(sample_model, num_labels=1, hidden_dropout_prob=0.0)
    )
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(8)
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(sample_model).save_pretrained(target)
    return target


def graded_rows(data: Data) -> list[MinedRow]:
    """The small data set as scored pairs: three or four documents a question, of several grades and weights."""
    return [
        MinedRow(row.query_id, row.query, [passage], [], rel=(i + j) % 5 / 4, weight=1.0 + (i + j) % 3)
        for i, row in enumerate(data.rows)
        for j, passage in enumerate(row.positives + row.negatives[: 2 + (i % 3 > 0)])
    ]


def pair_set(base: Path, data: Data, rows: list[MinedRow] | None = None, **options: Any) -> PairSet:
    """The training questions as train_reranker makes them: the mined rows, or other `rows` of the same passages."""
    queries = judged_queries(data.rows if rows is None else rows)
    return set_of(queries, read_texts_of_rows(data.mined), load_cross_encoder(base, CPU), **options)


def set_of(queries: list[JudgedQuery], texts: dict[int, str], model: CrossEncoder, **options: Any) -> PairSet:
    given: dict[str, Any] = {"group_size": 4, "max_len": MAX_LEN, "seed": 42, "compared": True}
    return PairSet(queries, texts, model, **(given | options))


def batch_of(rels: list[list[float]], weights: list[list[float]] | None = None) -> PairBatch:
    """A batch without texts: the relevances and the weights (None: all 1) of each question's documents."""
    groups = np.repeat(np.arange(len(rels)), [len(group) for group in rels])
    return {
        "query_ids": [f"q{number}" for number in range(len(rels))],
        "pairs": {},
        "groups": torch.from_numpy(groups),
        "rels": torch.tensor([rel for group in rels for rel in group], dtype=torch.float32),
        "weights": torch.tensor([w for group in weights for w in group]) if weights else torch.ones(len(groups)),
    }


def reader_of(world: World, per_document: int) -> PassageReader:
    vectors_of = vectors_by_id(world.pool.queries, world.pool.query_vectors)
    return PassageReader(world.pool.passages, world.corpus, vectors_of, world.pool.passage_vectors, per_document)


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
            float(model.scores_of_texts(world.pool.queries[query].text, [text], max_len=READ)[0]) for text in texts
        ]
        scored.append((document, passages[scores.index(max(scores))], max(scores)))
    scored.sort(key=lambda row: world.ids[row[0]], reverse=True)
    return sorted(scored, key=lambda row: -row[2])
