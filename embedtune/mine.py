"""Mine negatives: a stated share from the top of the base model's results, the rest at random.

For each question `hard_share` of the negatives, rounded half up, come from documents ranked `hard_ranks` in the raw
results (positives still counted in the ranks), drawn without replacement; the rest uniformly from the corpus, or from
`random_ranks`. A candidate is refused if it is relevant, if its passage's text equals any passage of a relevant
document, or if that text was drawn before. Draws depend on the seed and the question's id alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedtune.corpus import Query
from embedtune.errors import EmbedTuneError
from embedtune.passages import Passages
from embedtune.positives import Choose, best_passage
from embedtune.progress import bar
from embedtune.search import Rankings, Vectors, exact_scores
from embedtune.seeds import generator


@dataclass(frozen=True)
class Negative:
    """One mined negative: a passage, how it was drawn (hard, random, dataset) and its document's rank, if searched."""

    passage: int
    kind: str
    rank: int | None


@dataclass
class Mined:
    """One question with its positives (passage numbers) and negatives, and what was refused on the way."""

    query: int
    positives: list[int]
    negatives: list[Negative] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    filled: int = 0  # random negatives in place of hard ones that were not to be had


@dataclass(frozen=True)
class Recipe:
    """What to draw: see params.yaml's `mine` section. `random_ranks` None is the whole corpus."""

    source: str
    negatives: int
    hard_share: float
    hard_ranks: tuple[int, int]
    random_ranks: tuple[int, int | None] | None
    seed: int

    @property
    def hard(self) -> int:
        """Negatives of each question that are hard: `hard_share` of them, rounded half up."""
        return math.floor(round(self.negatives * self.hard_share, 9) + 0.5)

    @property
    def depth(self) -> int:
        """How many ranks the search has to give: none where it gives no negatives."""
        if self.source == "dataset" or not self.negatives:
            return 0
        first, last = self.random_ranks or (1, None)
        return max(self.hard_ranks[1], last if last is not None else first - 1)


@dataclass(frozen=True)
class Pool:
    """What negatives are drawn from: the corpus, its vectors, and each question's ranking.

    `query_vectors` (q, d) and `passage_vectors` (p, d) are the base model's; `number_of` is document id -> number.
    """

    queries: list[Query]
    rankings: Rankings
    query_vectors: Vectors
    passage_vectors: Vectors
    passages: Passages
    number_of: dict[str, int]


def mine(pool: Pool, choose_positive: Choose, recipe: Recipe) -> Iterator[Mined]:
    """Positives and negatives for each question of the pool, in order.

    Raises EmbedTuneError where `source: dataset` meets questions without negatives of their own.
    """
    without = [query.id for query in pool.queries if not query.negatives()]
    if recipe.source == "dataset" and without:
        raise EmbedTuneError(
            f"params.yaml: mine.source: dataset: question {without[0]!r} brings no negatives along, "
            f"like {len(without)} of {len(pool.queries)}; write `both` or `search`"
        )
    for query in bar(range(len(pool.queries)), unit=" questions", desc="mine"):
        relevant = [pool.number_of[document] for document in pool.queries[query].relevant()]
        mined = Mined(query, [choose_positive(query, document) for document in relevant])
        rng = generator(recipe.seed, "mine", pool.queries[query].id)
        _Drawing(pool, recipe, mined, relevant, rng).draw()
        yield mined


class _Drawing:
    """The draws for one question. A class, for the state that every draw reads and changes."""

    def __init__(self, pool: Pool, recipe: Recipe, mined: Mined, relevant: list[int], rng: np.random.Generator) -> None:
        self.pool, self.recipe, self.mined, self.rng = pool, recipe, mined, rng
        self.relevant = set(relevant)
        self.drawn: set[int] = set()
        hashes = pool.passages.text_hash
        self.positive_texts = {int(h) for d in relevant for h in hashes[pool.passages.of_document(d)]}
        self.drawn_texts: set[int] = set()
        ranked = pool.rankings.documents[mined.query]
        self.ranked: list[int] = ranked[ranked >= 0].tolist()
        self.rank_of = {document: rank for rank, document in enumerate(self.ranked, start=1)}

    def draw(self) -> None:
        own = [self.pool.number_of[document] for document in self.pool.queries[self.mined.query].negatives()]
        if self.recipe.source == "dataset":
            self._take(self._shuffled(own), "dataset", self.recipe.negatives)
            return
        first, last = self.recipe.hard_ranks
        hard = self.ranked[first - 1 : last]
        if self.recipe.source == "both":
            hard = list(dict.fromkeys(hard + own))
            kinds = dict.fromkeys(own, "dataset")
        else:
            kinds = {}
        for document in self._shuffled(hard):
            self._take([document], kinds.get(document, "hard"), self.recipe.hard)
        self.mined.filled = self.recipe.hard - len(self.mined.negatives)
        self._take(self._random_documents(), "random", self.recipe.negatives)

    def _shuffled(self, documents: list[int]) -> list[int]:
        return [documents[i] for i in self.rng.permutation(len(documents))]

    def _random_documents(self) -> Iterator[int]:
        """Documents uniformly at random without replacement, until there are none left."""
        first, last = self.recipe.random_ranks or (1, None)
        if last is not None:
            yield from self._shuffled(self.ranked[first - 1 : last])
            return
        excluded = set(self.ranked[: first - 1])
        count = len(self.pool.passages.document_ids)
        tried: set[int] = set()
        while len(tried) < count // 2:  # while most are untried, a draw seldom repeats one
            document = int(self.rng.integers(count))
            if document not in tried:
                tried.add(document)
                if document not in excluded:
                    yield document
        yield from self._shuffled([d for d in range(count) if d not in tried and d not in excluded])

    def _take(self, documents: Iterator[int] | list[int], kind: str, until: int) -> None:
        """Take documents in turn until the question has `until` negatives."""
        if len(self.mined.negatives) >= until:
            return
        for document in documents:
            self._take_one(document, kind)
            if len(self.mined.negatives) >= until:
                return

    def _take_one(self, document: int, kind: str) -> None:
        if document in self.drawn:
            return
        if document in self.relevant:
            self.mined.refused["relevant_document"] += 1
            return
        passage = self._passage(document, kind)
        text = int(self.pool.passages.text_hash[passage])
        if text in self.positive_texts:
            self.mined.refused["text_of_relevant_document"] += 1
        elif text in self.drawn_texts:
            self.mined.refused["text_drawn_before"] += 1
        else:
            self.drawn.add(document)
            self.drawn_texts.add(text)
            self.mined.negatives.append(Negative(passage, kind, self.rank_of.get(document)))

    def _passage(self, document: int, kind: str) -> int:
        """The document's passage to use: the best one for a hard negative, any for a random one."""
        if kind == "random":
            return int(self.rng.choice(self.pool.passages.of_document(document)))
        if kind == "hard":
            rank = self.rank_of[document]
            return int(self.pool.rankings.passages[self.mined.query, rank - 1])
        query = self.pool.query_vectors[self.mined.query]
        return best_passage(query, self.pool.passage_vectors, self.pool.passages, document)


def mined_rows(pool: Pool, mined: list[Mined], texts: dict[int, str]) -> Iterator[dict[str, Any]]:
    """Rows of data/mined/train.jsonl: FlagEmbedding's `query`, `pos`, `neg`, and ids, ranks, kinds, scores beside them.

    `texts` is passage number -> text. `base_scores` are the base model's inner products; `scores` a teacher's, as
    FlagEmbedding's distillation reads them, where the data set has any (null for a passage without).
    """
    ids, document = pool.passages.document_ids, pool.passages.document
    for row in mined:
        negatives = [negative.passage for negative in row.negatives]
        numbers = np.array([row.positives + negatives], dtype=np.int64)
        scores = exact_scores(pool.query_vectors[[row.query]], pool.passage_vectors, numbers)[0]
        rounded = [round(float(score), 6) for score in scores]
        named = [ids[document[passage]] for passage in row.positives + negatives]
        split = len(row.positives)
        teacher = pool.queries[row.query].scores
        taught = [teacher.get(name) for name in named]
        yield {
            "query_id": pool.queries[row.query].id,
            "query": pool.queries[row.query].text,
            "pos": [texts[passage] for passage in row.positives],
            "neg": [texts[passage] for passage in negatives],
            "pos_ids": named[:split],
            "neg_ids": named[split:],
            "pos_passages": row.positives,
            "neg_passages": negatives,
            "pos_base_scores": rounded[:split],
            "neg_base_scores": rounded[split:],
            **({"pos_scores": taught[:split], "neg_scores": taught[split:]} if teacher else {}),
            "neg_kinds": [negative.kind for negative in row.negatives],
            "neg_ranks": [negative.rank for negative in row.negatives],
        }


def mining_counts(pool: Pool, mined: list[Mined], recipe: Recipe) -> dict[str, Any]:
    """What metrics/mining.json says: what was drawn, what was refused and why, how often the positive was right."""
    kinds = Counter(negative.kind for row in mined for negative in row.negatives)
    refused: Counter[str] = sum((row.refused for row in mined), Counter())
    total = sum(kinds.values())
    counts: dict[str, Any] = {
        "questions": len(mined),
        "positives": sum(len(row.positives) for row in mined),
        "negatives": total,
        "negatives_hard": kinds["hard"],
        "negatives_dataset": kinds["dataset"],
        "negatives_random": kinds["random"],
        "hard_share": (kinds["hard"] + kinds["dataset"]) / max(1, total),
        "hard_filled_with_random": sum(row.filled for row in mined),
        "questions_with_fewer_negatives": sum(len(row.negatives) < recipe.negatives for row in mined),
        "refused_relevant_document": refused["relevant_document"],
        "refused_text_of_relevant_document": refused["text_of_relevant_document"],
        "refused_text_drawn_before": refused["text_drawn_before"],
    }
    right = [
        _holds_answer(pool, passage, answer)
        for row in mined
        for answer in pool.queries[row.query].answers
        for passage in row.positives
        if pool.passages.document_ids[pool.passages.document[passage]] == answer["docid"]
    ]
    if right:
        counts["positive_right_share"] = sum(right) / len(right)
    return counts


def _holds_answer(pool: Pool, passage: int, answer: dict[str, Any]) -> bool:
    """Whether the passage holds at least half of the answer's characters."""
    start = max(answer["start"], int(pool.passages.char_start[passage]))
    end = min(answer["end"], int(pool.passages.char_end[passage]))
    return bool(2 * (end - start) >= answer["end"] - answer["start"])


def used_passages(mined: list[Mined]) -> NDArray[np.int64]:
    """The numbers of all passages in the mined rows, each once, ascending; shape (n,)."""
    numbers = {p for row in mined for p in row.positives} | {n.passage for row in mined for n in row.negatives}
    return np.array(sorted(numbers), dtype=np.int64)
