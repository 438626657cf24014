"""The details behind the means: distributions of scores, and example questions with each system's top document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from embedtune.core.seeds import generator
from embedtune.data.corpus import Query
from embedtune.data.passages import Passages, read_texts
from embedtune.evaluation.per_query import first_documents, most_changed
from embedtune.models.vector_store import open_store
from embedtune.retrieval.dense import Vectors, exact_scores

BINS = 40  # bins of a histogram
EXAMPLES = 5  # example questions that gained most, and as many that lost most
QUESTIONS = 1_000  # most questions in a histogram; they are drawn at random
OTHERS = 10  # random documents that each question's relevant ones are compared with
PASSAGE_CHARACTERS, QUESTION_CHARACTERS = 400, 300  # longest texts shown
RELEVANT_SHOWN = 3  # relevant documents shown per question
PAIRS_AT_A_TIME = 256  # (question, document) pairs scored at a time
KINDS = ("relevant", "best other", "random other")

Ranked = Mapping[str, list[tuple[str, float]]]  # question id -> its (document id, score) pairs, best first
Histogram = tuple[list[float], list[float]]  # left edges of the bins, fractions of documents


@dataclass(frozen=True)
class System:
    """A model with stored float16 vectors of the questions (q, d) and of all passages (p, d), and its TREC run."""

    name: str
    query_vectors: Vectors
    passage_vectors: Vectors
    run: Path


@dataclass(frozen=True)
class Collection:
    """The questions, the passages of all documents, the corpus file, and document id -> document number."""

    queries: list[Query]
    passages: Passages
    corpus: Path
    number_of: Mapping[str, int]


def open_system(name: str, vectors: Path, run: Path, split: str) -> System:
    """The system of a model whose vectors are in the directory `vectors` (see vector_store.py)."""
    store = open_store(vectors)
    return System(name, store.queries(split), store.passages, run)


def score_histograms(systems: list[System], collection: Collection, seed: int) -> dict[str, dict[str, Histogram]]:
    """System -> kind -> histogram of document scores, for at most QUESTIONS questions drawn with `seed`.

    The kinds are relevant documents, the best non-relevant document in a question's top ten, and non-relevant documents
    drawn at random. A document's score is that of its best passage (MaxP). All histograms have the same bins.
    """
    queries, number_of = collection.queries, collection.number_of
    drawn = generator(seed, "report").permutation(len(queries))[:QUESTIONS]
    ids = collection.passages.document_ids
    scores = {}
    for system in systems:
        ranked = first_documents(system.run, 10, {queries[number].id for number in drawn})
        pairs: dict[str, list[tuple[int, int]]] = {kind: [] for kind in KINDS}
        for number in drawn.tolist():
            relevant = queries[number].relevant()
            others = [document for document, _ in ranked[queries[number].id] if document not in relevant][:1]
            by_chance = generator(seed, "report", queries[number].id).integers(len(ids), size=OTHERS)
            pairs["relevant"] += [(number, number_of[document]) for document in relevant]
            pairs["best other"] += [(number, number_of[document]) for document in others]
            pairs["random other"] += [(number, int(d)) for d in by_chance if ids[d] not in relevant]
        scores[system.name] = {kind: best_passages(system, of, collection.passages)[1] for kind, of in pairs.items()}
    if not scores:
        return {}
    every = np.concatenate([values for kinds in scores.values() for values in kinds.values()])
    edges = np.linspace(every.min(), every.max() + 1e-9, BINS + 1)
    return {
        name: {
            kind: (edges[:-1].tolist(), (np.histogram(values, edges)[0] / max(1, len(values))).tolist())
            for kind, values in kinds.items()
        }
        for name, kinds in scores.items()
    }


def best_passages(
    system: System, pairs: list[tuple[int, int]], passages: Passages
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The highest-scoring passage of each document for its question: (passage numbers, scores), both (pairs,).

    `pairs` are (question number, document number).
    """
    own = [passages.of_document(document) for _, document in pairs]
    numbers = np.full(len(pairs), -1, dtype=np.int64)
    best = np.full(len(pairs), -np.inf, dtype=np.float32)
    by_length = sorted(range(len(pairs)), key=lambda i: len(own[i]))  # so that the rows of a block have similar lengths
    for start in range(0, len(pairs), PAIRS_AT_A_TIME):
        block = by_length[start : start + PAIRS_AT_A_TIME]
        candidates = np.full((len(block), len(own[block[-1]])), -1, dtype=np.int64)
        for row, i in zip(candidates, block, strict=True):
            row[: len(own[i])] = own[i]
        questions = system.query_vectors[np.array([pairs[i][0] for i in block])]
        scores = exact_scores(questions, system.passage_vectors, candidates)
        first = scores.argmax(axis=1)
        rows = np.arange(len(block))
        numbers[block], best[block] = candidates[rows, first], scores[rows, first]
    return numbers, best


def example(number: int, runs: Mapping[str, Ranked], readers: Mapping[str, System], of: Collection) -> dict[str, Any]:
    """A question with each system's top document, and the ranks of the relevant documents: a dict for the page.

    `number` is the question's place in `of.queries`, and `runs` are the results of all systems. `readers` are the
    systems with stored vectors. A top document is shown by the passage that scores highest for a reader that ranked it
    first. Relevant documents, and top documents of systems without vectors only, are shown by the passage that scores
    highest for the last reader. The text of a relevant document is "" if a top document already shows it.
    """
    query = of.queries[number]
    last = list(readers.values())[-1]
    relevant = query.relevant()

    def reader_of(systems: list[dict[str, Any]]) -> System | None:
        return next((readers[system["name"]] for system in systems if system["name"] in readers), None)

    first: dict[str, list[dict[str, Any]]] = {}
    for name, run in runs.items():
        for document, score in run.get(query.id, [])[:1]:
            first.setdefault(document, []).append({"name": name, "score": score})
    shown = [
        {
            "systems": systems,
            "document": document,
            "relevant": document in relevant,
            "text": _passage(reader_of(systems) or last, number, document, of),
            "reader": "" if reader_of(systems) else last.name,  # named only if it is none of those systems
        }
        for document, systems in first.items()
    ]
    places = {
        document: [_place(document, name, run.get(query.id, [])) for name, run in runs.items()] for document in relevant
    }
    seen = {answer["text"] for answer in shown}
    told = sorted(relevant, key=lambda document: min((p["rank"] or p["depth"] + 1) for p in places[document]))
    texts = {document: _passage(last, number, document, of) for document in told[:RELEVANT_SHOWN]}
    return {
        "query": _cut(query.text, QUESTION_CHARACTERS),
        "id": query.id,
        "first": shown,
        "relevant": [
            {"document": document, "places": places[document], "text": "" if text in seen else text}
            for document, text in texts.items()
        ],
        "more_relevant": len(told[RELEVANT_SHOWN:]),
    }


def changed_questions(
    systems: list[System], runs: Mapping[str, Path], before: pd.Series, after: pd.Series, last: str, of: Collection
) -> dict[str, list[dict[str, Any]]]:
    """{gained, lost}: the questions whose score changed most from `before` to `after`, each as a dict of `example`.

    `runs` are the TREC runs of all systems, `systems` those with stored vectors, and `last` is the one of the latter
    that reads for systems without vectors.
    """
    gained, lost = most_changed(before, after, EXAMPLES)
    ranked = {name: first_documents(run, only={*gained, *lost}) for name, run in runs.items()}
    readers = {system.name: system for system in sorted(systems, key=lambda system: system.name == last)}
    number = {query.id: number for number, query in enumerate(of.queries)}
    return {
        "gained": [example(number[query], ranked, readers, of) for query in gained],
        "lost": [example(number[query], ranked, readers, of) for query in lost],
    }


def _place(document: str, system: str, ranked: list[tuple[str, float]]) -> dict[str, Any]:
    names = [name for name, _ in ranked]
    return {"system": system, "rank": names.index(document) + 1 if document in names else None, "depth": len(names)}


def _passage(reader: System, question: int, document: str, of: Collection) -> str:
    numbers, _ = best_passages(reader, [(question, of.number_of[document])], of.passages)
    return _cut(read_texts(of.corpus, of.passages, numbers)[0], PASSAGE_CHARACTERS)


def _cut(text: str, characters: int) -> str:
    text = " ".join(text.split())
    return text[:characters] + ("…" if len(text) > characters else "")
