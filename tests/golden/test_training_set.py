"""What a training question's group holds: passages, tokens, a teacher's scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoTokenizer

from embedtune.core.errors import EmbedTuneError
from embedtune.data.passages import Passages, text_hash
from embedtune.mining.mined_rows import MinedRow
from embedtune.models.settings import Settings, read_settings
from embedtune.models.tokenization import Frame
from embedtune.training.batches import collate
from embedtune.training.objectives.contrastive import Contrastive
from embedtune.training.training_data import TrainingSet
from tests.golden.training import (
    QUESTIONS,
    Data,
    changed_model,
    training_set,
)


@pytest.fixture(scope="module")
def drawn() -> TrainingSet:
    """Passages of a single token, their own number: 40 questions with 1 to 3 positives and 2 to 9 negatives."""
    rng = np.random.default_rng(0)
    count = 1000
    empty = np.zeros(0, dtype=np.int64)
    passages = Passages(
        token_ids=np.arange(count, dtype=np.uint16),
        token_start=np.arange(count),
        token_count=np.ones(count, dtype=np.int32),
        char_start=np.zeros(count, dtype=np.int32),
        char_end=np.zeros(count, dtype=np.int32),
        title_tokens=np.zeros(count, dtype=np.int32),
        title_end=np.zeros(count, dtype=np.int32),
        text_hash=np.array([text_hash(str(n)) for n in range(count)], dtype=np.uint64),
        document=np.arange(count, dtype=np.int32),
        document_ids=[str(i) for i in range(count)],
        corpus_offset=empty,
        first_passage=np.arange(count + 1),
        max_tokens=8,
    )
    rows = []
    for number in range(40):
        positives, negatives = rng.integers(1, 4), rng.integers(2, 10)
        numbers = rng.choice(count, positives + negatives, replace=False).tolist()
        rows.append(MinedRow(f"q{number}", "", numbers[:positives], numbers[positives:]))
    queries = [np.array([number]) for number in range(40)]
    bare = frame_of([], [])
    return TrainingSet(rows, queries, passages, bare, group_size=5, passage_max_len=8, distillation=False, seed=3)


def frame_of(prefix: list[int], suffix: list[int]) -> Any:
    return Frame(np.array(prefix, dtype=np.int64), np.array(suffix, dtype=np.int64))


def group_numbers(group: Any) -> list[int]:
    return [int(passage[0]) for passage in group["passages"]]


def test_a_group_is_one_positive_and_negatives_of_its_own_question(drawn: TrainingSet) -> None:
    for key in range(40 * 25):
        row = drawn.rows[key % 40]
        group = drawn[key]
        positive, *negatives = group_numbers(group)
        assert group["query"].tolist() == [key % 40]
        assert positive in row.positives
        assert len(negatives) == 4
        assert set(negatives) <= set(row.negatives)
        assert not set(negatives) & set(row.positives)
        repeats = [negatives.count(number) for number in set(negatives)]
        assert max(repeats) - min(repeats) <= 1, "as evenly as may be"
        assert len(set(negatives)) == min(4, len(row.negatives))


def test_over_epochs_every_positive_and_every_negative_is_used(drawn: TrainingSet) -> None:
    for question, row in enumerate(drawn.rows):
        groups = [group_numbers(drawn[epoch * 40 + question]) for epoch in range(60)]
        assert {group[0] for group in groups} == set(row.positives)
        assert {number for group in groups for number in group[1:]} == set(row.negatives)


def test_a_group_has_the_teachers_scores_of_its_own_passages(drawn: TrainingSet) -> None:
    """Every passage is a token of its own number, and its score is that number too."""
    rows = [
        replace(
            row, positive_scores=[float(p) for p in row.positives], negative_scores=[float(n) for n in row.negatives]
        )
        for row in drawn.rows
    ]
    taught = TrainingSet(
        rows, drawn.query_tokens, drawn.passages, drawn.frame,
        group_size=5, passage_max_len=8, distillation=True, seed=3,
    )  # fmt: skip
    groups = [taught[key] for key in range(400)]
    assert [group["scores"] for group in groups] == [[float(n) for n in group_numbers(group)] for group in groups]
    batch = collate(groups[:3], pad_id=0, multiple_of=1)
    assert batch["scores"] is not None
    assert batch["scores"].tolist() == [group["scores"] for group in groups[:3]]
    assert {drawn[key]["scores"] for key in range(40)} == {None}


def equal_texts(drawn: TrainingSet, text_of: dict[int, str], queries: dict[int, str]) -> TrainingSet:
    """The training set with other texts of some passages and queries; passage 2 i + 1 is of document i as 2 i is."""
    texts = [text_of.get(number, str(number)) for number in range(len(drawn.passages))]
    passages = replace(
        drawn.passages,
        text_hash=np.array([text_hash(text) for text in texts], dtype=np.uint64),
        document=np.arange(len(texts), dtype=np.int32) // 2,
        document_ids=drawn.passages.document_ids[::2],
        first_passage=np.arange(0, len(texts) + 1, 2),
        title_tokens=np.zeros(len(texts) // 2, dtype=np.int32),
        title_end=np.zeros(len(texts) // 2, dtype=np.int32),
    )
    rows = [
        MinedRow(f"q{i}", queries.get(i, f"question {i}"), [positive], []) for i, positive in enumerate((0, 2, 4, 6))
    ]
    return TrainingSet(
        rows, drawn.query_tokens[:4], passages, drawn.frame,
        group_size=1, passage_max_len=8, distillation=False, seed=3,
    )  # fmt: skip


def test_passages_with_the_text_of_a_relevant_document_are_no_negatives_in_the_batch(drawn: TrainingSet) -> None:
    """Of another document: question 1's positive has the text of a passage of question 0's document, which is not its
    positive; question 2 is, word for word, the positive of question 3."""
    found = equal_texts(drawn, {2: " same", 1: "same\n", 6: "asked?"}, {2: "asked?"})
    batch = collate([found[key] for key in range(4)], pad_id=0, multiple_of=1)
    labels = Contrastive()._candidates(batch, 4, torch.device("cpu"))
    assert labels.excluded is not None
    expected = np.zeros((4, 4), dtype=bool)
    expected[0, 1] = expected[2, 3] = True
    assert labels.excluded.tolist() == expected.tolist()
    plain = equal_texts(drawn, {}, {})
    batch = collate([plain[key] for key in range(4)], pad_id=0, multiple_of=1)
    labels = Contrastive()._candidates(batch, 4, torch.device("cpu"))
    assert labels.excluded is not None and not labels.excluded.any()


@pytest.mark.parametrize("negative_scores", [[1.0, None], []])
def test_distillation_without_all_scores_names_the_question(
    base: Path, data: Data, negative_scores: list[float | None]
) -> None:
    scored = [replace(r, positive_scores=[1.0], negative_scores=[0.0] * len(r.negatives)) for r in data.rows]
    training_set(base, Data(data.mined, scored, data.passages), distillation=True)
    positive_scores = [1.0] if negative_scores else []
    scored[4] = replace(scored[4], positive_scores=positive_scores, negative_scores=negative_scores)
    with pytest.raises(EmbedTuneError, match=r"question 'q4' has passages without a teacher's score.*`source: data"):
        training_set(base, Data(data.mined, scored, data.passages), distillation=True)


def test_a_group_is_the_same_each_time_it_is_drawn_in_whatever_order(drawn: TrainingSet) -> None:
    forward = [group_numbers(drawn[key]) for key in range(400)]
    assert [group_numbers(drawn[key]) for key in reversed(range(400))] == forward[::-1]


def test_a_question_without_negatives_is_named_where_the_group_needs_some(base: Path, data: Data) -> None:
    rows = [*data.rows[:5], replace(data.rows[5], negatives=[]), *data.rows[6:]]
    with pytest.raises(EmbedTuneError, match=r"train_group_size: 2 needs negatives, and question 'q5' has none"):
        training_set(base, Data(data.mined, rows, data.passages), group_size=2)


def test_queries_begin_with_their_instruction_and_passages_do_not(base: Path, data: Data) -> None:
    settings: Settings = read_settings(base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    instruction = tokenizer(settings.query_instruction, add_special_tokens=False).input_ids
    assert len(instruction) == len(settings.query_instruction) > 5
    questions = training_set(base, data)
    for question in range(QUESTIONS):
        group = questions[question]
        assert group["query"][: len(instruction) + 1].tolist() == [tokenizer.cls_token_id, *instruction]
        assert all(passage[1 : len(instruction) + 1].tolist() != instruction for passage in group["passages"])


@pytest.mark.parametrize("passage_max_len", [3, 16, 32, 48, 64])
def test_passages_are_cut_to_their_maximum_and_keep_the_closing_token(
    base: Path, data: Data, passage_max_len: int
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    questions = training_set(base, data, passage_max_len=passage_max_len)
    passages: list[NDArray[np.int64]] = [p for key in range(QUESTIONS) for p in questions[key]["passages"]]
    assert max(len(passage) for passage in passages) == min(passage_max_len, 48)
    for passage in passages:
        assert passage[0] == tokenizer.cls_token_id
        assert passage[-1] == tokenizer.sep_token_id
        assert (passage[1:-1] != tokenizer.sep_token_id).all()


def test_a_passage_instruction_longer_than_the_maximum_is_refused(
    tmp_path: Path, sample_model: Path, data: Data
) -> None:
    """Twelve tokens of instruction and two special ones do not go into ten."""
    base = changed_model(tmp_path, sample_model, 0.0, passage_instruction="为这个文档生成表示用于检索")
    with pytest.raises(EmbedTuneError, match="passage"):
        training_set(base, data, passage_max_len=10)[0]
