"""The splits of a data set: missing dev and test splits are taken from train."""

from __future__ import annotations

from typing import Any

from embedtune.core.errors import EmbedTuneError
from embedtune.core.seeds import generator
from embedtune.data.corpus import SPLITS, Query


def complete_splits(
    questions: dict[str, list[Query]], shares: dict[str, float], dev_queries: int, seed: int
) -> tuple[dict[str, list[Query]], dict[str, Any]]:
    """Move training queries to missing splits, and to a dev split of fewer than `dev_queries` queries.

    A missing split receives the fraction `shares[split]` (0 to 1) of the training queries, at least one, drawn by
    `seed`. An existing dev split receives at most the fraction `shares["dev"]`. Returns (split -> queries, counts).
    Raises EmbedTuneError when no training query is left, or when a moved query has the id of another in its new split.
    """
    train = questions["train"]
    order = generator(seed, "splits").permutation(len(train)).tolist()
    moved: dict[str, list[int]] = {}
    for split in ("test", "dev"):
        if split not in questions:
            moved[split] = [order.pop() for _ in range(min(len(order), max(1, round(shares[split] * len(train)))))]
    if "dev" in questions:
        room = int(shares["dev"] * len(train))
        lacking = max(0, dev_queries - len(questions["dev"]))
        asked = {(query.id, query.text) for query in questions["dev"]}  # without source ids, equal texts have equal ids
        moved["dev"] = [i for i in order if (train[i].id, train[i].text) not in asked][: min(room, lacking)]
        taken = set(moved["dev"])
        order = [i for i in order if i not in taken]
    if not order:
        raise EmbedTuneError(
            f"the train split has {len(train)} questions, too few to carve {' and '.join(sorted(moved))} from; "
            "add questions, or give the data set splits of its own"
        )
    splits = {"train": [train[i] for i in sorted(order)]}
    for split in ("dev", "test"):
        splits[split] = [*questions.get(split, []), *(train[i] for i in sorted(moved.get(split, [])))]
        _refuse_equal_ids(split, splits[split])
    counts = {f"{split}_queries": len(splits[split]) for split in SPLITS}
    counts |= {f"{split}_queries_from_train": len(moved.get(split, [])) for split in ("dev", "test")}
    return splits, counts


def _refuse_equal_ids(split: str, queries: list[Query]) -> None:
    if len({query.id for query in queries}) < len(queries):
        raise EmbedTuneError(
            f"train and {split} use the same query ids, so that train's cannot be moved to {split}; "
            f"rename them, or (for dev) write `dev_queries: 0`"
        )


def shuffle_questions(queries: list[Query], seed: int) -> None:
    """Give each query the judgments of another query, in place: a control experiment with nothing to learn."""
    order = generator(seed, "shuffle").permutation(len(queries)).tolist()
    judgments = [(queries[i].judgments, queries[i].answers, queries[i].scores) for i in order]
    for i, moved in zip(order, judgments[1:] + judgments[:1], strict=True):
        queries[i].judgments, queries[i].answers, queries[i].scores = moved
