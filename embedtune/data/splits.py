"""The splits of a data set: missing dev and test splits are taken from train.

Questions that share a relevant document are kept in one split where that is possible: otherwise the training has seen
the documents that dev asks for, and dev looks better than new documents would.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from embedtune.core.errors import EmbedTuneError, ParameterError
from embedtune.core.seeds import generator
from embedtune.data.corpus import SPLITS, Query
from embedtune.data.leaks import asked_in

ENOUGH = 0.9  # of the questions that a split is to have: fewer, by document, and `auto` goes by question


def complete_splits(
    questions: dict[str, list[Query]],
    shares: dict[str, float],
    dev_queries: int,
    seed: int,
    split_by: str,
    leak_similarity: float = 1.0,
) -> tuple[dict[str, list[Query]], dict[str, Any]]:
    """Move training queries to missing splits, and to a dev split of fewer than `dev_queries` queries.

    A missing split receives the fraction `shares[split]` (0 to 1) of the training queries, at least one, drawn by
    `seed`. An existing dev split receives at most the fraction `shares["dev"]`. `split_by` is question (each for
    itself), document (groups of queries that share relevant documents stay together), or auto: document if the groups
    are small enough to give each split ENOUGH queries, else question. Training queries that a split of the data set's
    own asks too, equal or nearly (`leak_similarity`, see leaks.py), stay in train.

    Returns (split -> queries, counts); `split_by` of the counts says how queries were moved (none: none was). Raises
    EmbedTuneError when no training query is left or none can be moved to a missing split, or when a moved query has the
    id of another in its new split, and ParameterError when `document` cannot give a split ENOUGH queries.
    """
    train = questions["train"]
    wanted = _wanted(questions, shares, dev_queries)
    order = generator(seed, "splits").permutation(len(train)).tolist()
    moved, how, fixed = dict[str, list[int]](), "none", set[int]()
    for split in ("dev", "test"):
        if any(wanted.values()) and split in questions:
            equal, near = asked_in(train, questions[split], leak_similarity)
            fixed.update(np.flatnonzero(equal | near).tolist())
    wanted = {split: min(count, len(train) - len(fixed)) for split, count in wanted.items()}
    if any(wanted.values()):
        how = "question" if split_by == "question" else "document"
        moved = _by_group(
            _groups(train) if how == "document" else [[i] for i in range(len(train))], order, wanted, fixed
        )
        lacking = [split for split, count in wanted.items() if len(moved[split]) < ENOUGH * count]
        if how == "document" and lacking and split_by == "auto":
            how, moved = "question", _by_group([[i] for i in range(len(train))], order, wanted, fixed)
        elif how == "document" and lacking:
            largest = max(map(len, _groups(train)))
            raise ParameterError(
                "split_by",
                f"train's questions share documents in groups of up to {largest}, which leave {lacking[0]} with "
                f"{len(moved[lacking[0]])} of {wanted[lacking[0]]} questions; write auto or question",
            )
    bare = [split for split in wanted if split not in questions and not moved.get(split)]
    if bare and len(fixed) == len(train):
        own = sorted(questions.keys() - {"train"})
        raise EmbedTuneError(
            f"the data set has no {' and no '.join(bare)} split, and every training question is (nearly) asked in its "
            f"{' and '.join(own)} split, so that none can be moved; give it other splits"
        )
    taken = {i for numbers in moved.values() for i in numbers}
    if len(taken) == len(train):
        raise EmbedTuneError(
            f"the train split has {len(train)} questions, too few to carve {' and '.join(sorted(moved))} from; "
            "add questions, or give the data set splits of its own"
        )
    splits = {"train": [query for i, query in enumerate(train) if i not in taken]}
    for split in ("dev", "test"):
        splits[split] = [*questions.get(split, []), *(train[i] for i in sorted(moved.get(split, [])))]
        _refuse_equal_ids(split, splits[split])
    counts: dict[str, Any] = {f"{split}_queries": len(splits[split]) for split in SPLITS}
    counts |= {f"{split}_queries_from_train": len(moved.get(split, [])) for split in ("dev", "test")}
    return splits, counts | {"split_by": how}


def _wanted(questions: dict[str, list[Query]], shares: dict[str, float], dev_queries: int) -> dict[str, int]:
    """How many training queries each of test and dev is to receive."""
    count = len(questions["train"])
    wanted = {split: max(1, round(shares[split] * count)) for split in ("test", "dev") if split not in questions}
    if "dev" in questions:
        wanted["dev"] = min(int(shares["dev"] * count), max(0, dev_queries - len(questions["dev"])))
    return wanted


def _groups(queries: list[Query]) -> list[list[int]]:
    """The positions of the queries in groups: two that share a relevant document are in one, directly or by others."""
    numbers: dict[str, int] = {}
    pairs = [(i, numbers.setdefault(d, len(numbers))) for i, query in enumerate(queries) for d in query.relevant()]
    size = len(queries) + len(numbers)
    rows, columns = [i for i, _ in pairs], [len(queries) + d for _, d in pairs]
    _, labels = connected_components(
        csr_matrix(([1] * len(pairs), (rows, columns)), shape=(size, size)), directed=False
    )
    groups: dict[int, list[int]] = {}
    for i, label in enumerate(labels[: len(queries)].tolist()):
        groups.setdefault(label, []).append(i)
    return list(groups.values())


def _by_group(
    groups: list[list[int]], order: list[int], wanted: dict[str, int], fixed: set[int]
) -> dict[str, list[int]]:
    """Split -> the positions that it receives: whole groups, none larger than what it still lacks.

    Groups come in the order in which `order` last names one of their members. Those with a member in `fixed` stay.
    """
    group_of = {i: group for group in groups for i in group}
    left = list({id(group_of[i]): group_of[i] for i in reversed(order)}.values())
    moved: dict[str, list[int]] = {}
    for split, count in wanted.items():
        moved[split], kept = [], []
        for group in left:
            fits = len(moved[split]) + len(group) <= count and fixed.isdisjoint(group)
            if fits:
                moved[split] += group
            else:
                kept.append(group)
        left = kept
    return moved


def _refuse_equal_ids(split: str, queries: list[Query]) -> None:
    if len({query.id for query in queries}) < len(queries):
        raise EmbedTuneError(
            f"train and {split} use the same query ids, so that train's cannot be moved to {split}; "
            f"rename them, or (for dev) write `dev_queries: 0`"
        )


def shuffle_questions(queries: list[Query], seed: int) -> None:
    """Give each query the judgments of another query, in place: a control experiment with nothing to learn.

    Raises ParameterError if there is no other query.
    """
    if len(queries) < 2:
        raise ParameterError("shuffle_train_questions", f"expected two training questions or more, got {len(queries)}")
    order = generator(seed, "shuffle").permutation(len(queries)).tolist()
    judgments = [(queries[i].judgments, queries[i].answers, queries[i].scores, queries[i].weights) for i in order]
    for i, moved in zip(order, judgments[1:] + judgments[:1], strict=True):
        queries[i].judgments, queries[i].answers, queries[i].scores, queries[i].weights = moved
