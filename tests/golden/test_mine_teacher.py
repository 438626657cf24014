"""Mining with a teacher: what it refuses is drawn again, and its scores stand beside the passages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from embedtune.evaluation.teaching import may_teach
from embedtune.mining.mine import MinedQuery, mine
from embedtune.mining.mined_rows import mined_rows
from embedtune.mining.teacher import Pair, mine_with_teacher
from tests.golden.mining import SEARCH, World, first


def teacher(good: Callable[[int, int], bool], asked: list[Pair]) -> Callable[[Sequence[Pair]], NDArray[np.floating]]:
    """Scores a pair 2 if it is `good`, else by the passage's number below 1; notes what it is asked for."""

    def score(pairs: Sequence[Pair]) -> NDArray[np.floating]:
        asked.extend(pairs)
        return np.array([2.0 if good(*pair) else pair[1] / 10_000 for pair in pairs])

    return score


def negatives(mined: list[MinedQuery]) -> list[list[int]]:
    return [[negative.passage for negative in row.negatives] for row in mined]


def test_no_negative_is_as_good_as_the_positive_and_each_has_its_score(world: World) -> None:
    """The teacher likes positives and every third passage: these are drawn without it, and not with it."""
    plain = list(mine(world.pool, first(world), SEARCH))
    positives = {(row.query, passage) for row in plain for passage in row.positives}
    asked: list[Pair] = []

    def good(query: int, passage: int) -> bool:
        return (query, passage) in positives or passage % 3 == 0

    taught = mine_with_teacher(world.pool, first(world), SEARCH, teacher(good, asked), margin=0.5)
    assert any(passage % 3 == 0 for row in negatives(plain) for passage in row)
    assert all(passage % 3 for row in negatives(taught.mined) for passage in row)
    assert [len(row) for row in negatives(taught.mined)] == [len(row) for row in negatives(plain)]
    assert len(asked) == len(set(asked)), "no pair is scored twice"
    assert sum(row.refused["as_good_for_teacher"] for row in taught.mined) > 0
    texts = dict.fromkeys(range(len(world.pool.passages)), "")
    for row, mined in zip(mined_rows(world.pool, taught.mined, texts, taught=taught.scores), taught.mined, strict=True):
        assert row["pos_scores"] == [2.0] * len(mined.positives)
        assert row["neg_scores"] == [round(n.passage / 10_000, 6) for n in mined.negatives]


def test_a_question_whose_positive_is_worst_is_given_up_after_some_draws(world: World) -> None:
    """All but one question's positives score above everything; that one's scores below all else."""
    plain = list(mine(world.pool, first(world), SEARCH))
    positives = {(row.query, passage) for row in plain for passage in row.positives}

    def score(pairs: Sequence[Pair]) -> NDArray[np.floating]:
        return np.array([(-9.0 if pair[0] == 1 else 9.0) if pair in positives else 0.0 for pair in pairs])

    taught = mine_with_teacher(world.pool, first(world), SEARCH, score, margin=0.0)
    assert taught.given_up <= {1}
    assert not [row for row in taught.mined if row.query == 1 and row.negatives and row.query not in taught.given_up]
    assert [negatives([row]) for row in taught.mined if row.query != 1] == [
        negatives([row]) for row in plain if row.query != 1
    ]


def test_without_a_margin_nothing_is_refused_and_all_is_scored(world: World) -> None:
    asked: list[Pair] = []
    taught = mine_with_teacher(world.pool, first(world), SEARCH, teacher(lambda q, p: True, asked), margin=None)
    assert negatives(taught.mined) == negatives(list(mine(world.pool, first(world), SEARCH)))
    assert set(taught.scores) == set(asked)


def test_a_positive_that_the_teacher_dislikes_leaves_what_it_likes_less(world: World) -> None:
    """The limit is the query's own: positives score -1, so that nearly all is refused, to an end."""
    plain = list(mine(world.pool, first(world), SEARCH))
    positives = {(row.query, passage) for row in plain for passage in row.positives}

    def score(pairs: Sequence[Pair]) -> NDArray[np.floating]:
        return np.array([-1.0 if pair in positives else float(pair[1] % 2) - 1.5 for pair in pairs])

    taught = mine_with_teacher(world.pool, first(world), SEARCH, score, margin=0.0)
    assert all(passage % 2 == 0 for row in negatives(taught.mined) for passage in row)


def test_a_teacher_has_to_be_better_by_more_than_a_standard_error() -> None:
    candidates = np.array([0.5, 0.5, 0.0, 1.0])
    better = may_teach("ndcg@10", candidates + np.array([0.1, 0.2, 0.1, 0.2]), candidates)
    assert better["better"] and "it is better, by more than a standard error" in better["why"]
    assert "ndcg@10 0.5000 -> 0.6500, +0.1500 (standard error 0.0289)" in better["why"]
    assert not may_teach("ndcg@10", candidates + np.array([0.4, -0.2, 0.0, 0.0]), candidates)["better"]
    assert not may_teach("ndcg@10", candidates, candidates)["better"]
    assert not may_teach("ndcg@10", np.array([1.0]), np.array([0.0]))["better"], "one question tells nothing"
