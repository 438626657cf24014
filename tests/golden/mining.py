"""Small worlds to mine in: documents, questions, vectors and their ranking by plain NumPy."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from embedtune.data.corpus import Query
from embedtune.data.passages import open_passages, read_texts
from embedtune.data.segment import write_passages
from embedtune.mining.background import background_scores
from embedtune.mining.mine import MinedQuery, MiningData, MiningSettings, mine, used_passages
from embedtune.mining.mined_rows import mined_rows
from embedtune.mining.positives import PassageScorer, choose_positives, passage_scorer
from embedtune.models.tokenization import load_tokenizer
from embedtune.retrieval.dense import rank_documents

SENTENCE = 30  # characters, each a token of the sample model: exactly one passage
CHARACTERS = list("合同自双方签字之日起生效国家对耕地实行特殊保护严格控制转为非")
SEARCH = MiningSettings("search", negatives=10, hard_share=0.7, hard_ranks=(2, 20), random_ranks=None, seed=42)
Row = dict[str, Any]


@dataclass(frozen=True)
class World:
    """A corpus in files, its passages' vectors and questions; `sentences[d]` are document d's passages."""

    corpus: Path
    sentences: list[list[str]]
    pool: MiningData

    @property
    def ids(self) -> list[str]:
        return self.pool.passages.document_ids


def make_world(
    root: Path, tokenizer_of: Path, sentences: list[list[str]], queries: list[Query], query_vectors: NDArray[np.float16]
) -> World:
    """Write the corpus; equal sentences get equal vectors, as from a model. The ranking is as deep as the corpus."""
    rng = np.random.default_rng(99)
    corpus = root / "corpus.jsonl"
    with corpus.open("w", encoding="utf-8") as file:
        for number, document in enumerate(sentences):
            row = {"_id": document_id(number), "text": "".join(document)}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    write_passages(
        corpus,
        load_tokenizer(tokenizer_of),
        root,
        max_tokens=SENTENCE + 2,
        frame_tokens=2,
        overlap_tokens=0,
        max_passages=None,
    )
    passages = open_passages(root)
    vector_of: dict[str, NDArray[np.float16]] = {}
    flat = [sentence for document in sentences for sentence in document]
    for sentence in flat:
        vector_of.setdefault(sentence, unit(rng.standard_normal(16)))
    assert read_texts(corpus, passages, np.arange(len(passages))) == flat
    vectors = np.stack([vector_of[sentence] for sentence in flat])
    rankings = rank_documents(query_vectors, vectors, passages.document, passages.document_ids, len(sentences))
    number_of = {document: number for number, document in enumerate(passages.document_ids)}
    background = background_scores(query_vectors, vectors)
    data = MiningData(queries, rankings, query_vectors, vectors, passages, number_of, background)
    return World(corpus, sentences, data)


def document_id(number: int) -> str:
    return f"d{(number * 37) % 1009}"


def unit(vector: NDArray[np.float64]) -> NDArray[np.float16]:
    return (vector / np.linalg.norm(vector)).astype(np.float16)


def random_sentence(rng: np.random.Generator) -> str:
    return "".join(rng.choice(CHARACTERS, SENTENCE))


def score_by(how: str, world: World) -> PassageScorer:
    pool = world.pool
    vectors = (pool.query_vectors, pool.passage_vectors, pool.background)
    return passage_scorer(how, pool.queries, *vectors, pool.passages, world.corpus)


def first(world: World) -> PassageScorer:
    return score_by("first", world)


def positive(world: World, score: PassageScorer, query: int, document: int) -> int:
    """The passage that is chosen of a document."""
    return choose_positives(score(query, document), int(world.pool.passages.first_passage[document]), 1, 0.0)[0].passage


def mine_all(world: World, recipe: MiningSettings) -> tuple[list[MinedQuery], list[Row]]:
    """What the mine stage does: (mined, rows of the file)."""
    mined = list(mine(world.pool, first(world), recipe))
    numbers = used_passages(mined)
    texts = dict(zip(numbers.tolist(), read_texts(world.corpus, world.pool.passages, numbers), strict=True))
    return mined, list(mined_rows(world.pool, mined, texts))


def numpy_scores(world: World, query: int) -> NDArray[np.float64]:
    return world.pool.passage_vectors.astype(np.float64) @ world.pool.query_vectors[query].astype(np.float64)


def numpy_ranking(world: World, query: int) -> list[int]:
    """Documents by their best passage's score, ties by id, descending; positives included."""
    scores = numpy_scores(world, query).astype(np.float32)
    best = {d: scores[world.pool.passages.document == d].max() for d in range(len(world.sentences))}
    return sorted(sorted(best, key=lambda d: world.ids[d], reverse=True), key=lambda d: -best[d])


def best_sentence(world: World, query: int, document: int) -> int:
    """The number of the document's first passage with the highest score."""
    numbers = np.flatnonzero(world.pool.passages.document == document)
    return int(numbers[np.argmax(numpy_scores(world, query).astype(np.float32)[numbers])])


def numbers_of(world: World, ids: list[str]) -> list[int]:
    return [world.pool.number_of[document] for document in ids]


def many_questions(world: World, count: int) -> World:
    """The first question of the world, `count` times over under other ids."""
    queries = [replace(world.pool.queries[0], id=f"copy{i}") for i in range(count)]
    vectors = np.repeat(world.pool.query_vectors[:1], count, axis=0)
    rankings = replace(
        world.pool.rankings,
        documents=np.repeat(world.pool.rankings.documents[:1], count, axis=0),
        passages=np.repeat(world.pool.rankings.passages[:1], count, axis=0),
        scores=np.repeat(world.pool.rankings.scores[:1], count, axis=0),
    )
    return replace(world, pool=replace(world.pool, queries=queries, query_vectors=vectors, rankings=rankings))


def uniform(drawn: Counter[Any], over: list[Any]) -> float:
    """The chi-square test's p-value for a uniform distribution; 0 where anything else was drawn."""
    if set(drawn) - set(over):
        return 0.0
    return float(scipy.stats.chisquare([drawn[value] for value in over]).pvalue)
