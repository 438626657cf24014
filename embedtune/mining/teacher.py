"""Mine with a teacher, a cross-encoder: its score of each passage, and no negative that it finds as good as a positive.

A negative that answers the question as well teaches the wrong thing (RLHN, Thakur et al. 2025, arXiv 2505.16967). What
the teacher refuses is drawn again, until it refuses nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embedtune.mining.mine import MinedQuery, MiningData, MiningSettings, mine
from embedtune.mining.positives import PassageScorer

ROUNDS = 10  # draws; a query that they do not help has a positive that the teacher finds worse than most passages
Pair = tuple[int, int]  # query number, passage number
ScorePairs = Callable[[Sequence[Pair]], NDArray[np.floating]]  # their logits (n,)


@dataclass(frozen=True)
class Taught:
    """Mined queries, and the teacher's score (a logit) of each of their passages, by (query, passage).

    `given_up` are the queries that still have a negative as good as the positive after ROUNDS draws.
    """

    mined: list[MinedQuery]
    scores: dict[Pair, float]
    given_up: frozenset[int] = frozenset()


def mine_with_teacher(
    pool: MiningData, score_positives: PassageScorer, recipe: MiningSettings, score: ScorePairs, margin: float | None
) -> Taught:
    """Mine as `mine` does, without negatives whose score is above the query's best positive's less `margin`.

    A `margin` of None refuses nothing. Raises ParameterError as `mine` does.
    """
    scores: dict[Pair, float] = {}
    refused: frozenset[Pair] = frozenset()
    mined: dict[int, MinedQuery] = {}
    again = list(range(len(pool.queries)))
    for _ in range(ROUNDS):
        drawn = list(mine(replace(pool, as_good=refused), score_positives, recipe, again))
        pairs = [
            (row.query, passage) for row in drawn for passage in (*row.positives, *(n.passage for n in row.negatives))
        ]
        new = [pair for pair in dict.fromkeys(pairs) if pair not in scores]
        scores |= zip(new, map(float, score(new)), strict=True)
        mined |= {row.query: row for row in drawn}
        as_good = {pair for row in drawn for pair in _as_good(row, scores, margin)}
        refused |= as_good
        again = sorted({query for query, _ in as_good})
        if not again:
            break
    return Taught(list(mined.values()), scores, frozenset(again))


def _as_good(row: MinedQuery, scores: dict[Pair, float], margin: float | None) -> set[Pair]:
    """The query's negatives that the teacher finds as good as its best positive."""
    if margin is None or not row.positives:
        return set()
    limit = max(scores[row.query, passage] for passage in row.positives) - margin
    return {(row.query, n.passage) for n in row.negatives if scores[row.query, n.passage] > limit}
