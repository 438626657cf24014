"""Splits that are carved, topped up or shuffled: sizes, seeds, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedtune.core.errors import EmbedTuneError, ParameterError
from embedtune.data.corpus import SPLITS, Query
from embedtune.data.leaks import trained_document_counts
from embedtune.data.splits import complete_splits, shuffle_questions
from tests.unit.converting import converted, write_rows

SHARES = {"train": 0.6, "dev": 0.2, "test": 0.2}


def queries(count: int, prefix: str = "q") -> list[Query]:
    return [Query(f"{prefix}{i}", f"question {prefix}{i}", {f"d{i}": 1}) for i in range(count)]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(100, (60, 20, 20)), (10, (6, 2, 2)), (7, (5, 1, 1)), (3, (1, 1, 1)), (1235, (741, 247, 247))],
)
@pytest.mark.parametrize("split_by", ["document", "question"])
def test_missing_splits_are_carved_by_their_shares(count: int, sizes: tuple[int, int, int], split_by: str) -> None:
    train = queries(count)
    splits, counts = complete_splits({"train": train}, SHARES, 200, 1, split_by)
    assert tuple(len(splits[split]) for split in SPLITS) == sizes
    assert sorted(q.id for split in SPLITS for q in splits[split]) == sorted(q.id for q in train)
    assert counts == {
        "train_queries": sizes[0],
        "dev_queries": sizes[1],
        "test_queries": sizes[2],
        "dev_queries_from_train": sizes[1],
        "test_queries_from_train": sizes[2],
        "split_by": split_by,
    }


@pytest.mark.parametrize("split_by", ["auto", "question"])
@pytest.mark.parametrize("missing", ["dev", "test"])
def test_only_the_missing_split_is_carved(missing: str, split_by: str) -> None:
    given = "test" if missing == "dev" else "dev"
    own = queries(300, "own")
    splits, counts = complete_splits({"train": queries(100), given: own}, SHARES, 200, 1, split_by)
    assert splits[given] == own
    assert (len(splits["train"]), len(splits[missing])) == (80, 20)
    assert (counts[f"{given}_queries_from_train"], counts[f"{missing}_queries_from_train"]) == (0, 20)
    assert not {q.id for q in splits["train"]} & {q.id for q in splits[missing]}


@pytest.mark.parametrize(
    ("dev", "wanted", "moved"),
    [(10, 15, 5), (10, 10, 0), (10, 0, 0), (10, 200, 20), (1, 21, 20), (30, 20, 0)],
    ids=["some", "enough", "none-wanted", "capped", "to-the-cap", "more-than-wanted"],
)
@pytest.mark.parametrize("split_by", ["auto", "question"])
def test_a_small_dev_split_is_topped_up_by_its_share_of_train_at_most(
    dev: int, wanted: int, moved: int, split_by: str
) -> None:
    train, own, test = queries(100), queries(dev, "dev"), queries(5, "test")
    splits, counts = complete_splits({"train": train, "dev": own, "test": test}, SHARES, wanted, 1, split_by)
    assert splits["dev"][:dev] == own and splits["test"] == test
    assert len(splits["dev"]) == dev + moved == counts["dev_queries"]
    assert counts["dev_queries_from_train"] == moved
    assert counts["split_by"] == ("none" if not moved else "document" if split_by == "auto" else "question")
    together = [q.id for q in splits["train"] + splits["dev"][dev:]]
    assert sorted(together) == sorted(q.id for q in train)


@pytest.mark.parametrize("split_by", ["auto", "document", "question"])
def test_what_test_asks_is_not_moved_to_dev(split_by: str) -> None:
    """Equal or nearly: half of train are questions of test, a mark of punctuation or a letter apart."""
    texts = [f"which of the shelves in hall {i:03d} holds the atlas" for i in range(100)]
    train = [Query(f"q{i}", text, {f"d{i}": 1}) for i, text in enumerate(texts)]
    test = [Query(f"t{i}", text + "?" * (i % 2) + "es" * (i % 3), {f"d{i}": 1}) for i, text in enumerate(texts[:50])]
    dev = queries(5, "own")
    given = {"train": train, "dev": dev, "test": test}
    splits, counts = complete_splits(given, SHARES, 200, 1, split_by, 0.9)
    moved = splits["dev"][5:]
    assert len(moved) == counts["dev_queries_from_train"] == 20 and splits["test"] == test
    assert {query.id for query in train[:50]} <= {query.id for query in splits["train"]}


@pytest.mark.parametrize("leaking", [95, 100])
def test_dev_is_topped_up_by_no_more_than_may_be_moved(leaking: int) -> None:
    train = queries(100)
    test = [Query(f"t{i}", query.text, query.judgments) for i, query in enumerate(train[:leaking])]
    given = {"train": train, "dev": queries(3, "own"), "test": test}
    splits, counts = complete_splits(given, SHARES, 200, 1, "document")
    assert len(splits["dev"]) == 3 + 100 - leaking and counts["dev_queries_from_train"] == 100 - leaking


def test_a_missing_split_that_no_question_can_be_moved_to_is_named() -> None:
    train = queries(10)
    with pytest.raises(EmbedTuneError) as caught:
        complete_splits({"train": train, "test": train}, SHARES, 200, 1, "auto")
    assert str(caught.value) == (
        "the data set has no dev split, and every training question is (nearly) asked in its test split, so that none "
        "can be moved; give it other splits"
    )


def test_splits_depend_on_the_seed_and_on_nothing_drawn_before() -> None:
    def carved(seed: int) -> dict[str, list[str]]:
        splits, _ = complete_splits({"train": queries(50)}, SHARES, 200, seed, "auto")
        return {split: [q.id for q in splits[split]] for split in SPLITS}

    first = carved(1)
    np.random.default_rng(1).random(5)
    np.random.seed(3)
    complete_splits({"train": queries(9)}, SHARES, 200, 1, "auto")
    assert carved(1) == first
    assert carved(2) != first
    own_order = {split: sorted(ids, key=lambda query_id: int(query_id[1:])) for split, ids in first.items()}
    assert first == own_order  # questions stay in the data set's order


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_questions_to_carve_from_are_named(count: int) -> None:
    with pytest.raises(EmbedTuneError) as caught:
        complete_splits({"train": queries(count)}, SHARES, 200, 1, "auto")
    assert str(caught.value) == (
        f"the train split has {count} questions, too few to carve dev and test from; "
        "add questions, or give the data set splits of its own"
    )


def test_a_question_cannot_move_to_a_split_that_uses_its_id() -> None:
    dev = [Query(f"q{i}", f"another question {i}", {"d1": 1}) for i in range(10)]
    with pytest.raises(EmbedTuneError) as caught:
        complete_splits({"train": queries(10), "dev": dev, "test": queries(3, "t")}, SHARES, 12, 1, "auto")
    assert str(caught.value) == (
        "train and dev use the same query ids, so that train's cannot be moved to dev; "
        "rename them, or (for dev) write `dev_queries: 0`"
    )


def sharing(groups: list[int]) -> list[Query]:
    """Queries in groups of these sizes: each query shares a document with the one before it in its group."""
    made = []
    for number, size in enumerate(groups):
        for i in range(size):
            judged = {f"d{number}-{i}": 1, f"d{number}-{i + 1}": 1, "unrelated": 0}
            made.append(Query(f"q{number}-{i}", f"question {number} {i}", judged))
    return made


@pytest.mark.parametrize("seed", range(8))
def test_questions_that_share_documents_stay_together(seed: int) -> None:
    """Also where only a third question joins two; a document that is judged irrelevant joins none."""
    train = sharing([1, 2, 3, 4] * 10)
    splits, counts = complete_splits({"train": train}, SHARES, 200, seed, "auto")
    assert counts["split_by"] == "document"
    assert (len(splits["dev"]), len(splits["test"])) == (20, 20)
    groups = {split: {q.id.split("-")[0] for q in asked} for split, asked in splits.items()}
    assert sum(map(len, groups.values())) == 40, "no group stands in two splits"
    shares = trained_document_counts(splits)
    assert shares["dev_share_with_trained_documents"] == shares["test_queries_with_trained_documents"] == 0
    by_question, counts = complete_splits({"train": train}, SHARES, 200, seed, "question")
    assert counts["split_by"] == "question"
    trained = {document for query in by_question["train"] for document in query.relevant()}
    having = sum(not trained.isdisjoint(query.relevant()) for query in by_question["dev"])
    found = trained_document_counts(by_question)
    assert having == found["dev_queries_with_trained_documents"] == 20 * found["dev_share_with_trained_documents"] > 0


def test_groups_too_large_for_a_split_go_by_question_or_are_refused() -> None:
    """Of 100 questions, 90 share documents: dev's 20 cannot be found among the ten others."""
    train = sharing([90, *[1] * 10])
    splits, counts = complete_splits({"train": train}, SHARES, 200, 1, "auto")
    assert (counts["split_by"], len(splits["dev"])) == ("question", 20)
    with pytest.raises(ParameterError) as caught:
        complete_splits({"train": train}, SHARES, 200, 1, "document")
    assert caught.value.parameter == "split_by"
    assert "share documents in groups of up to 90, which leave test with 10 of 20 questions" in caught.value.problem


@pytest.mark.parametrize("count", [2, 3, 5, 64])
@pytest.mark.parametrize("seed", range(5))
def test_a_shuffle_leaves_no_question_its_own_documents(count: int, seed: int) -> None:
    asked = queries(count)
    for query in asked:
        query.answers = [{"docid": next(iter(query.judgments)), "start": 0, "end": 1}]
    shuffle_questions(asked, seed)
    assert [q.id for q in asked] == [f"q{i}" for i in range(count)]
    assert all(list(q.judgments) != [f"d{q.id[1:]}"] for q in asked)
    assert sorted(next(iter(q.judgments)) for q in asked) == sorted(f"d{i}" for i in range(count))
    assert all([answer["docid"] for answer in q.answers] == list(q.judgments) for q in asked)


def test_a_shuffle_depends_on_the_seed_alone() -> None:
    def shuffled(seed: int) -> list[str]:
        asked = queries(50)
        shuffle_questions(asked, seed)
        return [next(iter(q.judgments)) for q in asked]

    assert shuffled(1) == shuffled(1) != shuffled(2)


@pytest.mark.parametrize("seed", range(10))
def test_a_question_without_an_id_that_dev_asks_too_does_not_stop_the_top_up(tmp_path: Path, seed: int) -> None:
    write_rows(tmp_path / "train.jsonl", [{"query": f"q{i}", "pos_doc": f"d{i}"} for i in range(10)])
    write_rows(tmp_path / "dev.jsonl", [{"query": "q0", "pos_doc": "d0"}])
    questions = converted(tmp_path, "pairs").questions
    splits, _ = complete_splits({**questions, "test": queries(3, "t")}, SHARES, 3, seed, "auto")
    assert len({q.id for q in splits["dev"]}) == len(splits["dev"]) == 3


def test_a_single_question_cannot_be_shuffled() -> None:
    with pytest.raises(ParameterError) as caught:
        shuffle_questions(queries(1), 1)
    assert str(caught.value) == "shuffle_train_questions: expected two training questions or more, got 1"
