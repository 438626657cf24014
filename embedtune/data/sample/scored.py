"""Generate scored pairs: a question, a short document, and how relevant the document is to it, from 0 to 1.

Facts are those of the other sample: a topic of a place, asked about and stated in different words (phrases.py). Of a
question's documents some state what it asks (1), some its topic of another place (.5), some another topic of its place
(.2), and some neither (0). So the documents that share most characters with a question are not the most relevant: the
name of the place is all that is shared, and what is asked has to be learned. In a share of the rows the relevance was
judged badly; such rows weigh less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from embedtune.core import json_files
from embedtune.core.seeds import generator
from embedtune.data.sample import phrases

Drawn = TypeVar("Drawn")
TOPICS = 12  # of those that phrases.py has: what so few rows can teach
DOCUMENTS = ((1.0, 1), (0.5, 1), (0.2, 2), (0.0, 1))  # of a question: relevance, and how many documents have it
PER_QUESTION = sum(count for _, count in DOCUMENTS)
SPREAD = 0.05  # of a relevance around its mean, either way
BADLY_JUDGED, THEIR_SPREAD, THEIR_WEIGHT = 0.2, 0.3, 0.5


def write_scored_sample(target: Path, rows: int, seed: int) -> None:
    """Write `target/scored.jsonl` with `rows` rows {key, query, doc, rel, weight}, PER_QUESTION of each question."""
    json_files.write_json_lines(target / "scored.jsonl", _rows(rows, generator(seed, "scored")))


def _rows(count: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    asked: set[str] = set()
    for number in range(count):
        if number % PER_QUESTION == 0:
            place, topic = _new_question(asked, rng)
            query, stated = _of(phrases.TOPICS[topic][0], rng).format(place=place), set[str]()
            means = rng.permutation([mean for mean, many in DOCUMENTS for _ in range(many)]).tolist()
        mean = means[number % PER_QUESTION]
        bad = bool(rng.random() < BADLY_JUDGED)
        spread = THEIR_SPREAD if bad else SPREAD
        rel = float(np.clip(mean + rng.uniform(-spread, spread), 0, 1))
        text = _document(place, topic, mean, rng)
        while text in stated:
            text = _document(place, topic, mean, rng)
        stated.add(text)
        yield {
            "key": f"pair-{number}",
            "query": query,
            "doc": text,
            "rel": round(rel, 2),
            "weight": THEIR_WEIGHT if bad else 1.0,
        }


def _new_question(asked: set[str], rng: np.random.Generator) -> tuple[str, int]:
    while True:
        place, topic = _place(rng), _topic(rng)
        if f"{place} {topic}" not in asked:
            asked.add(f"{place} {topic}")
            return place, topic


def _document(place: str, topic: int, relevance: float, rng: np.random.Generator) -> str:
    """A statement between two sentences that state nothing."""
    of_place, of_topic = relevance in (1.0, 0.2), relevance in (1.0, 0.5)
    stated_place = place if of_place else _other(lambda: _place(rng), place)
    stated_topic = topic if of_topic else _other(lambda: _topic(rng), topic)
    statement = _of(phrases.TOPICS[stated_topic][1], rng).format(
        place=stated_place,
        n=rng.integers(2, 100),
        name=_of(phrases.SURNAMES, rng) + _of(phrases.GIVEN, rng),
        thing=_of(phrases.THINGS, rng),
    )
    return _of(phrases.FILLERS, rng) + statement + _of(phrases.FILLERS, rng)


def _other(draw: Callable[[], Drawn], value: Drawn) -> Drawn:
    """A draw that is not `value`."""
    found = draw()
    while found == value:
        found = draw()
    return found


def _topic(rng: np.random.Generator) -> int:
    return int(rng.integers(TOPICS))


def _place(rng: np.random.Generator) -> str:
    return "".join(_of(part, rng) for part in (phrases.PLACE_FIRST, phrases.PLACE_SECOND, phrases.PLACE_KINDS))


def _of(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]
