"""Mine negatives: a given share of hard negatives from the top of the base model's ranking, the rest at random.

For each query, `hard_share` of the negatives (rounded half up) come from the documents at `hard_ranks` of the base
model's ranking, drawn without replacement. Relevant documents still count in the ranks. The other negatives are drawn
uniformly from the corpus, or from `random_ranks`.

A candidate is rejected if its document is relevant or ignored by the query, if its passage has the text of the query or
of a relevant document's passage or is a near duplicate of part of one, if that text was drawn before, or if its score
is too high for a negative. The random numbers depend only on the seed and the query's id.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedtune.core.errors import ParameterError
from embedtune.core.progress import bar
from embedtune.core.seeds import generator
from embedtune.data.corpus import Query
from embedtune.data.passages import Passages, text_hash
from embedtune.mining.near_duplicates import overlap, shingles
from embedtune.mining.positives import PassageScorer, choose_positives
from embedtune.retrieval.dense import Vectors, exact_scores
from embedtune.retrieval.rankings import Rankings


@dataclass(frozen=True)
class Negative:
    """One mined negative: a passage number, its kind (hard, random or dataset) and its document's rank.

    Ranks are those of the base model, from 1; None if the document was not retrieved.
    """

    passage: int
    kind: str
    rank: int | None


@dataclass
class MinedQuery:
    """One query (its number) with its positives (passage numbers), negatives, and rejected candidates.

    `margins` has the margin by which each positive was chosen (see positives.py). `refused` counts the rejected
    candidates by reason. `scores` (positives + negatives,) are the base model's inner products with the query: of all
    positives, then of all negatives.
    """

    query: int
    positives: list[int]
    margins: list[float | None]
    negatives: list[Negative] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    scores: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    missing: int = 0  # hard negatives that were asked for and not found
    filled: int = 0  # of them, those that random ones replaced
    unmatched: int = 0  # relevant documents of several passages, none of which scored: the first is the positive


@dataclass(frozen=True)
class MiningSettings:
    """The mining parameters; the comments of params.yaml's section `mine` give units and ranges.

    `source` says where hard negatives come from: search (the base model's ranking), dataset (the negatives that the
    data set names; no other negatives are drawn then) or both. `hard_draw` is random, top (highest score first) or
    score (sampled from the softmax of scores / `draw_temperature`). `random_ranks` None is the whole corpus.

    A candidate's score is at most `max_score_ratio` times the score of the query's best positive, and at most
    `max_score_margin` above it (NV-Retriever, de Souza P. Moreira et al. 2024: TopK-PercPos, and with a negative margin
    TopK-MarginPos). For the ratio, unlike there, both scores are counted from the query's background (see
    background.py), so that it means the same for every model; what scores below the background is never too high. A
    candidate and a relevant document share less than `near_duplicate_share` of the token trigrams of the shorter of the
    two. None switches a limit off.

    Up to `positives_per_document` passages of each relevant document are positives, if their scores are within
    `positive_closeness` (a share) of the best.
    """

    source: str
    negatives: int
    hard_share: float
    hard_ranks: tuple[int, int]
    random_ranks: tuple[int, int | None] | None
    seed: int
    hard_draw: str = "random"
    draw_temperature: float = 0.05
    max_score_ratio: float | None = None
    max_score_margin: float | None = None
    near_duplicate_share: float | None = None
    positives_per_document: int = 1
    positive_closeness: float = 0.0

    @property
    def hard(self) -> int:
        """The number of hard negatives per query: `hard_share` of `negatives`, rounded half up."""
        return math.floor(round(self.negatives * self.hard_share, 9) + 0.5)

    @property
    def depth(self) -> int:
        """The depth of the search that the draws need; 0 if they need no search."""
        if self.source == "dataset" or not self.negatives:
            return 0
        first, last = self.random_ranks or (1, None)
        return max(self.hard_ranks[1], last if last is not None else first - 1)


@dataclass(frozen=True)
class MiningData:
    """The data that mining draws from: queries, corpus, their embeddings, and each query's ranking.

    `query_vectors` (q, d) and `passage_vectors` (p, d), float16, and `rankings` are the base model's. `background` (q,)
    is each query's score with an average passage. `number_of` maps document id -> document number. `as_good` are
    (query, passage) that a teacher finds as good as the query's positive (see teacher.py).
    """

    queries: list[Query]
    rankings: Rankings
    query_vectors: Vectors
    passage_vectors: Vectors
    passages: Passages
    number_of: dict[str, int]
    background: NDArray[np.float32]
    as_good: frozenset[tuple[int, int]] = frozenset()


def mine(
    pool: MiningData, score_positives: PassageScorer, recipe: MiningSettings, only: Sequence[int] | None = None
) -> Iterator[MinedQuery]:
    """Yield the positives and negatives of each query of `pool`, in order, or of those numbered `only`.

    `score_positives` scores the passages of a relevant document (see positives.py). Raises ParameterError if `source`
    is dataset and the data set names no negatives for some query.
    """
    without = [query.id for query in pool.queries if not query.negatives()]
    if recipe.source == "dataset" and without:
        raise ParameterError(
            "source",
            f"with dataset every question needs negatives of its own; {without[0]!r} brings none along, like "
            f"{len(without)} of {len(pool.queries)}; write `both` or `search`",
        )
    for query in bar(range(len(pool.queries)) if only is None else only, unit=" questions", desc="mine"):
        relevant = [pool.number_of[document] for document in pool.queries[query].relevant()]
        scores = [score_positives(query, document) for document in relevant]
        chosen = [
            positive
            for document, own in zip(relevant, scores, strict=True)
            for positive in choose_positives(
                own,
                int(pool.passages.first_passage[document]),
                recipe.positives_per_document,
                recipe.positive_closeness,
            )
        ]
        mined = MinedQuery(query, [positive.passage for positive in chosen], [positive.margin for positive in chosen])
        mined.unmatched = sum(len(own) > 1 and not own.any() for own in scores)
        rng = generator(recipe.seed, "mine", pool.queries[query].id)
        _Drawing(pool, recipe, mined, relevant, rng).draw()
        mined.scores = _scores(pool, query, mined.positives + [negative.passage for negative in mined.negatives])
        yield mined


def _scores(pool: MiningData, query: int, passages: list[int]) -> NDArray[np.float32]:
    """The base model's inner products of a query with passages (numbers), shape (n,)."""
    numbers = np.array([passages], dtype=np.int64)
    scores: NDArray[np.float32] = exact_scores(pool.query_vectors[[query]], pool.passage_vectors, numbers)[0]
    return scores


class _Drawing:
    """The draws for one query. It is a class because every draw reads and changes the same state."""

    def __init__(
        self, pool: MiningData, recipe: MiningSettings, mined: MinedQuery, relevant: list[int], rng: np.random.Generator
    ) -> None:
        self.pool, self.recipe, self.mined, self.rng = pool, recipe, mined, rng
        query = pool.queries[mined.query]
        self.relevant, self.ignored = set(relevant), {pool.number_of[document] for document in query.ignored}
        self.partly_relevant = {pool.number_of[document] for document in query.partly_relevant()}
        self.own_text = text_hash(query.text)
        self.drawn: set[int] = set()
        hashes = pool.passages.text_hash
        self.positive_texts = {int(h) for d in relevant for h in hashes[pool.passages.of_document(d)]}
        self.drawn_texts: set[int] = set()
        ranked = pool.rankings.documents[mined.query]
        self.ranked: list[int] = ranked[ranked >= 0].tolist()
        self.rank_of = {document: rank for rank, document in enumerate(self.ranked, start=1)}
        self.highest_score = self._highest_score()
        self.positive_shingles = (
            [shingles(pool.passages.document_tokens(document)) for document in relevant]
            if recipe.near_duplicate_share is not None
            else []
        )

    def draw(self) -> None:
        own = [self.pool.number_of[document] for document in self.pool.queries[self.mined.query].negatives()]
        if self.recipe.source == "dataset":
            self._take(self._in_order_of_draw(own), "dataset", self.recipe.negatives)
            return
        first, last = self.recipe.hard_ranks
        hard = self.ranked[first - 1 : last]
        if self.recipe.source == "both":
            hard = list(dict.fromkeys(hard + own))
            kinds = dict.fromkeys(own, "dataset")
        else:
            kinds = {}
        for document in self._in_order_of_draw(hard):
            self._take([document], kinds.get(document, "hard"), self.recipe.hard)
        found = len(self.mined.negatives)
        self.mined.missing = self.recipe.hard - found
        self._take(self._random_documents(), "random", self.recipe.negatives)
        random = len(self.mined.negatives) - found
        self.mined.filled = max(0, random - (self.recipe.negatives - self.recipe.hard))

    def _in_order_of_draw(self, documents: list[int]) -> list[int]:
        if self.recipe.hard_draw == "random":
            return self._shuffled(documents)
        keys = np.array([self._document_score(document) for document in documents], dtype=np.float64)
        if self.recipe.hard_draw == "score":  # Gumbel noise: a draw from the softmax, without replacement
            keys = keys / self.recipe.draw_temperature + self.rng.gumbel(size=len(keys))
        return [documents[i] for i in np.argsort(-keys, kind="stable")]

    def _shuffled(self, documents: list[int]) -> list[int]:
        return [documents[i] for i in self.rng.permutation(len(documents))]

    def _random_documents(self) -> Iterator[int]:
        """Yield documents uniformly at random without replacement, until none is left."""
        first, last = self.recipe.random_ranks or (1, None)
        if last is not None:
            yield from self._shuffled(self.ranked[first - 1 : last])
            return
        excluded = set(self.ranked[: first - 1])
        count = len(self.pool.passages.document_ids)
        tried: set[int] = set()
        while len(tried) < count // 2:  # while most documents are untried, few draws are repeats
            document = int(self.rng.integers(count))
            if document not in tried:
                tried.add(document)
                if document not in excluded:
                    yield document
        yield from self._shuffled([d for d in range(count) if d not in tried and d not in excluded])

    def _take(self, documents: Iterator[int] | list[int], kind: str, until: int) -> None:
        """Add documents in turn, until the query has `until` negatives."""
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
        if document in self.partly_relevant:
            self.mined.refused["partly_relevant_document"] += 1
            return
        if document in self.ignored:
            self.mined.refused["text_of_query"] += 1
            return
        passage = self._passage(document, kind)
        reason = self._refusal(passage)
        if reason:
            self.mined.refused[reason] += 1
            return
        self.drawn.add(document)
        self.drawn_texts.add(int(self.pool.passages.text_hash[passage]))
        self.mined.negatives.append(Negative(passage, kind, self.rank_of.get(document)))

    def _refusal(self, passage: int) -> str | None:
        """The reason to reject a passage whose document is not relevant; None if it may be a negative."""
        text = int(self.pool.passages.text_hash[passage])
        if text == self.own_text:
            return "text_of_query"
        if text in self.positive_texts:
            return "text_of_relevant_document"
        if text in self.drawn_texts:
            return "text_drawn_before"
        if (self.mined.query, passage) in self.pool.as_good:
            return "as_good_for_teacher"
        limit = self.recipe.near_duplicate_share
        if limit is not None:
            candidate = shingles(self.pool.passages.content(passage))
            if any(overlap(candidate, positive) >= limit for positive in self.positive_shingles):
                return "near_duplicate_of_relevant_document"
        if self.highest_score < np.inf and _scores(self.pool, self.mined.query, [passage])[0] > self.highest_score:
            return "score_too_high"
        return None

    def _highest_score(self) -> float:
        """The highest score that a negative may have (inf: no limit)."""
        ratio, margin = self.recipe.max_score_ratio, self.recipe.max_score_margin
        if (ratio is None and margin is None) or not self.mined.positives:
            return np.inf
        positive = float(_scores(self.pool, self.mined.query, self.mined.positives).max())
        background = float(self.pool.background[self.mined.query])
        above = positive - background
        by_ratio = np.inf if ratio is None else background + max(0.0, above) * ratio
        return min(by_ratio, np.inf if margin is None else positive + margin)

    def _document_score(self, document: int) -> float:
        if document in self.rank_of:
            return float(self.pool.rankings.scores[self.mined.query, self.rank_of[document] - 1])
        return float(_scores(self.pool, self.mined.query, self.pool.passages.of_document(document).tolist()).max())

    def _passage(self, document: int, kind: str) -> int:
        """The document's passage to use: a random one for a random negative, the highest-scoring one otherwise."""
        if kind == "random":
            return int(self.rng.choice(self.pool.passages.of_document(document)))
        if kind == "hard":
            rank = self.rank_of[document]
            return int(self.pool.rankings.passages[self.mined.query, rank - 1])
        own = self.pool.passages.of_document(document)
        return int(own[_scores(self.pool, self.mined.query, own.tolist()).argmax()])


def used_passages(mined: list[MinedQuery]) -> NDArray[np.int64]:
    """The distinct numbers of all passages in the mined rows, ascending, shape (n,)."""
    numbers = {p for row in mined for p in row.positives} | {n.passage for row in mined for n in row.negatives}
    return np.array(sorted(numbers), dtype=np.int64)
