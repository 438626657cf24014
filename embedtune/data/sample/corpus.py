"""Generate a data set in MLDR's layout: long Chinese documents, and questions about one paragraph of one document.

Each document is a chronicle of about a dozen places. A fact is a (place, topic) pair that only one document states, in
one paragraph. A place has up to forty facts, in about as many documents, so finding the place is not enough. A question
names the place as the document does, but words the topic differently (phrases.py). An untrained model that matches
words finds the place; training can teach it which wordings belong together. Test questions ask for facts that no
training question asks for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedtune.core import json_files
from embedtune.core.errors import ParameterError
from embedtune.core.seeds import generator
from embedtune.data.sample import phrases

FACTS_PER_DOCUMENT = 12
MENTION_SHARE = 0.06  # fraction of the filler sentences that name a place: BM25 takes some of them for the answer
NEGATIVES_PER_QUESTION = 2  # judged negatives: other documents, drawn at random


@dataclass(frozen=True)
class Fact:
    """The statement on one topic of one place, which answers a question: characters [start, end) of the document."""

    document: int
    place: str
    topic: int
    start: int
    end: int


def write_sample(target: Path, documents: int, queries: dict[str, int], seed: int) -> None:
    """Write `target/mldr-v1.0-zh/{corpus,train,dev,test}.jsonl.gz`; `queries` maps a split to its number of questions.

    Rows are MLDR's with one more field, `answers`: [{docid, start, end}], the character range of the answer.
    Raises ParameterError when the documents hold fewer facts than there are questions, or when they need more places
    than there are names.
    """
    wanted, available = sum(queries.values()), documents * FACTS_PER_DOCUMENT
    if wanted > available:
        raise ParameterError(
            "documents",
            f"{wanted} questions need at least {-(-wanted // FACTS_PER_DOCUMENT)} documents ({FACTS_PER_DOCUMENT} "
            f"facts each), got {documents}",
        )
    texts, facts = _write_documents(documents, seed)
    folder = target / "mldr-v1.0-zh"
    folder.mkdir()
    json_files.write_json_lines(
        folder / "corpus.jsonl.gz", ({"docid": _docid(i), "text": text} for i, text in enumerate(texts))
    )
    order = iter(generator(seed, "questions").permutation(len(facts)))
    for split, count in queries.items():
        asked = [facts[next(order)] for _ in range(count)]
        json_files.write_json_lines(folder / f"{split}.jsonl.gz", _questions(split, asked, texts, seed))


def _docid(document: int) -> str:
    return f"doc-{document}"


def _write_documents(documents: int, seed: int) -> tuple[list[str], list[Fact]]:
    rng = generator(seed, "documents")
    topics = len(phrases.TOPICS)
    places = _places(documents, rng)
    pairs = rng.permutation(len(places) * topics)[: documents * FACTS_PER_DOCUMENT]
    texts: list[str] = []
    facts: list[Fact] = []
    for document, own in enumerate(pairs.reshape(documents, FACTS_PER_DOCUMENT)):
        text, own_facts = _chronicle(document, [(places[pair // topics], int(pair % topics)) for pair in own], rng)
        texts.append(text)
        facts.extend(own_facts)
    return texts, facts


def _places(documents: int, rng: np.random.Generator) -> list[str]:
    count = -(-documents * FACTS_PER_DOCUMENT // len(phrases.TOPICS))
    names = [
        first + second + kind
        for first in phrases.PLACE_FIRST
        for second in phrases.PLACE_SECOND
        for kind in phrases.PLACE_KINDS
    ]
    if count > len(names):
        raise ParameterError("documents", f"the sample has names for {len(names)} places only, got {documents}")
    return [names[i] for i in rng.choice(len(names), size=count, replace=False)]


def _chronicle(document: int, pairs: list[tuple[str, int]], rng: np.random.Generator) -> tuple[str, list[Fact]]:
    """One document: an introduction, then one paragraph per fact, with filler sentences before and after each fact."""
    mentioned = [place for place, _ in pairs]
    parts = ["".join(_filler(mentioned, rng) for _ in range(6))]
    length = len(parts[0])
    facts = []
    for place, topic in pairs:
        before = "\n" + "".join(_filler(mentioned, rng) for _ in range(rng.integers(2, 7)))
        statement = _statement(place, topic, rng)
        after = "".join(_filler(mentioned, rng) for _ in range(rng.integers(2, 7)))
        start = length + len(before)
        facts.append(Fact(document, place, topic, start, start + len(statement)))
        parts += [before, statement, after]
        length = start + len(statement) + len(after)
    return "".join(parts), facts


def _filler(mentioned: list[str], rng: np.random.Generator) -> str:
    sentences = phrases.MENTIONS if rng.random() < MENTION_SHARE else phrases.FILLERS
    sentence = sentences[rng.integers(len(sentences))]
    return sentence.format(place=mentioned[rng.integers(len(mentioned))])


def _statement(place: str, topic: int, rng: np.random.Generator) -> str:
    _, statements = phrases.TOPICS[topic]
    surname, given = (letters[rng.integers(len(letters))] for letters in (phrases.SURNAMES, phrases.GIVEN))
    return statements[rng.integers(len(statements))].format(
        place=place,
        n=rng.integers(2, 100),
        name=surname + given,
        thing=phrases.THINGS[rng.integers(len(phrases.THINGS))],
    )


def _questions(split: str, asked: list[Fact], texts: list[str], seed: int) -> Iterator[dict[str, Any]]:
    rng = generator(seed, "wordings", split)
    for i, fact in enumerate(asked):
        questions, _ = phrases.TOPICS[fact.topic]
        others = [int(d) for d in rng.choice(len(texts), size=NEGATIVES_PER_QUESTION + 1, replace=False)]
        negatives = [d for d in others if d != fact.document][:NEGATIVES_PER_QUESTION]
        yield {
            "query_id": f"q-{split}-{i}",
            "query": questions[rng.integers(len(questions))].format(place=fact.place),
            "positive_passages": [{"docid": _docid(fact.document), "text": texts[fact.document]}],
            "negative_passages": [{"docid": _docid(d), "text": texts[d]} for d in negatives],
            "answers": [{"docid": _docid(fact.document), "start": fact.start, "end": fact.end}],
        }
