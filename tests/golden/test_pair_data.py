"""A cross-encoder's training groups: what is drawn for a question, and the pairs as the tokenizer itself joins them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from embedtune.core.errors import ParameterError
from embedtune.mining.mined_rows import MinedRow, read_texts_of_rows
from embedtune.models.cross_encoder import CrossEncoder, load_cross_encoder
from embedtune.models.pair_tokens import query_tokens
from embedtune.training.pair_data import JudgedQuery, PairExample, judged_queries
from tests.golden.reranking import CPU, graded_rows, pair_set, set_of, with_new_head
from tests.golden.training import QUESTIONS, Data


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    return with_new_head(base, tmp_path_factory.mktemp("reranker") / "base")


@pytest.fixture(scope="module")
def model(reranker: Path) -> CrossEncoder:
    return load_cross_encoder(reranker, CPU)


def test_positives_are_relevant_and_negatives_are_not() -> None:
    rows = [MinedRow("a", "A?", [5, 3], [9, 8]), MinedRow("b", "B?", [7], [])]
    assert judged_queries(rows) == [
        JudgedQuery("a", "A?", [5, 3, 9, 8], [1, 1, 0, 0], [1, 1, 1, 1]),
        JudgedQuery("b", "B?", [7], [1], [1]),
    ]
    assert judged_queries([]) == []


def test_scored_pairs_keep_their_relevance_and_weight_and_rows_of_a_question_are_joined() -> None:
    rows = [
        MinedRow("a", "A?", [5], [], rel=0.25, weight=2.0),
        MinedRow("b", "B?", [5], [], rel=0.0, weight=0.5),
        MinedRow("a", "A?", [6], [], rel=1.0),
    ]
    assert judged_queries(rows) == [
        JudgedQuery("a", "A?", [5, 6], [0.25, 1.0], [2.0, 1.0]),
        JudgedQuery("b", "B?", [5], [0.0], [0.5]),
    ]
    assert [row.rel for row in rows] == [0.25, 0.0, 1.0]


GRADES = [[0.5, 1.0, 0.0, 1.0, 0.25, 0.5], [0.0, 0.0, 0.75], [1.0, 0.0]]


def graded_queries() -> list[JudgedQuery]:
    """Three questions with six, three and two documents; the weight of each document is its own."""
    queries, passage = [], 0
    for number, rels in enumerate(GRADES):
        query = JudgedQuery(f"q{number}", f"问题{number}")
        for rel in rels:
            query.add(passage, rel, 1.0 + passage)
            passage += 1
        queries.append(query)
    return queries


TEXTS = {passage: f"第{passage}段" * (1 + passage) for passage in range(11)}


@pytest.mark.parametrize("group_size", [2, 3, 5, 100])
def test_a_group_has_a_most_relevant_document_a_less_relevant_one_and_others_at_random(
    model: CrossEncoder, group_size: int
) -> None:
    queries = graded_queries()
    questions = set_of(queries, TEXTS, model, group_size=group_size)
    assert len(questions) == 3
    for number, query in enumerate(queries):
        drawn = [questions[epoch * 3 + number] for epoch in range(60)]
        for group in drawn:
            assert group["query_id"] == query.query_id
            passages = [passage for _, passage in group["pairs"]]
            assert {own for own, _ in group["pairs"]} == {number}
            assert len(set(passages)) == len(passages) == min(group_size, len(query.passages))
            assert group["rels"] == [query.rels[query.passages.index(passage)] for passage in passages]
            assert group["weights"] == [1.0 + passage for passage in passages]
            assert max(query.rels) in group["rels"]
            assert min(group["rels"]) < max(query.rels)
        taken = {passage for group in drawn for _, passage in group["pairs"]}
        assert taken == set(query.passages), "each document has its turn"


def test_every_less_relevant_document_is_drawn_alike(model: CrossEncoder) -> None:
    """In 1,200 groups of two of the first question, both of its best are drawn, and each of the four others."""
    questions = set_of(graded_queries(), TEXTS, model, group_size=2)
    counts = np.zeros(6)
    for epoch in range(1200):
        for _, passage in questions[epoch * 3]["pairs"]:
            counts[passage] += 1
    assert counts[[1, 3]] == pytest.approx(600, abs=80)
    assert counts[[0, 2, 4, 5]] == pytest.approx(300, abs=65)


def test_a_draw_depends_on_the_seed_the_epoch_and_the_question_alone(reranker: Path, data: Data) -> None:
    questions, again = (pair_set(reranker, data, group_size=3) for _ in range(2))
    keys = range(3 * QUESTIONS)
    drawn = {key: questions[key] for key in keys}
    np.random.seed(5)
    torch.manual_seed(5)
    assert {key: again[key] for key in reversed(keys)} == drawn
    longer = pair_set(reranker, data, group_size=3, max_len=99)
    assert [longer[key] for key in keys] == list(drawn.values())
    pairs = pair_set(reranker, data, group_size=2)
    assert [pairs[key]["pairs"] for key in keys] == [drawn[key]["pairs"][:2] for key in keys]


def test_epochs_questions_and_seeds_draw_apart(reranker: Path, data: Data) -> None:
    questions = pair_set(reranker, data, group_size=3)
    epochs = [[questions[epoch * QUESTIONS + number] for number in range(QUESTIONS)] for epoch in range(2)]
    other = pair_set(reranker, data, group_size=3, seed=43)
    seeds = [other[number] for number in range(QUESTIONS)]
    for drawn in (epochs[1], seeds):
        assert [group["query_id"] for group in drawn] == [group["query_id"] for group in epochs[0]]
        same = sum(one["pairs"] == two["pairs"] for one, two in zip(drawn, epochs[0], strict=True))
        assert same < QUESTIONS / 2
    places = {tuple(questions.queries[n].passages.index(p) for n, p in group["pairs"]) for group in epochs[0]}
    assert len(places) > 1, "of other questions, other places"


def test_a_group_of_one_is_a_most_relevant_document(model: CrossEncoder) -> None:
    questions = set_of(graded_queries(), TEXTS, model, group_size=1, compared=False)
    assert {rel for key in range(60) for rel in questions[key * 3]["rels"]} == {1.0}


def joined(reranker: Path, data: Data, groups: list[PairExample], max_len: int) -> tuple[list[str], list[str]]:
    """The questions' and documents' texts of the pairs, questions cut as the pairs of `max_len` tokens have them."""
    texts, tokenizer = read_texts_of_rows(data.mined), AutoTokenizer.from_pretrained(reranker)
    queries, documents = [], []
    for group in groups:
        for number, passage in group["pairs"]:
            found = tokenizer(data.rows[number].query, add_special_tokens=False, return_offsets_mapping=True)
            ends = [end for _, end in found["offset_mapping"]][: query_tokens(max_len)]
            queries.append(data.rows[number].query[: ends[-1]])
            documents.append(texts[passage])
    return queries, documents


@pytest.mark.parametrize(("max_len", "multiple_of"), [(20, 1), (48, 8), (512, 1)])
def test_a_batch_has_the_pairs_that_the_tokenizer_makes_of_the_texts(
    reranker: Path, data: Data, max_len: int, multiple_of: int
) -> None:
    """In 20 tokens some questions are cut too."""
    questions = pair_set(reranker, data, graded_rows(data), max_len=max_len)
    groups = [questions[number] for number in range(QUESTIONS)]
    batch = questions.collate(groups, pad_id=0, multiple_of=multiple_of)
    queries, documents = joined(reranker, data, groups, max_len)
    expected = AutoTokenizer.from_pretrained(reranker)(
        queries, documents, truncation="only_second", max_length=max_len, padding=True, pad_to_multiple_of=multiple_of
    )
    assert batch["pairs"].keys() == {"input_ids", "attention_mask", "token_type_ids"}
    for name, values in batch["pairs"].items():
        assert values.dtype == np.int64
        assert values.tolist() == expected[name], name
    assert set(batch["pairs"]["token_type_ids"].ravel().tolist()) == {0, 1}
    assert batch["query_ids"] == [row.query_id for row in data.rows]
    assert batch["groups"].tolist() == [number for number, group in enumerate(groups) for _ in group["pairs"]]
    assert batch["rels"].tolist() == [rel for group in groups for rel in group["rels"]]
    assert batch["weights"].tolist() == [weight for group in groups for weight in group["weights"]]
    assert batch["rels"].dtype == batch["weights"].dtype == np.float32


def test_a_model_without_token_types_gets_none(tmp_path: Path, base: Path, data: Data) -> None:
    directory = with_new_head(base, tmp_path / "untyped")
    path = directory / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"model_input_names": ["input_ids", "attention_mask"]}), encoding="utf-8")
    questions = pair_set(directory, data)
    assert questions.collate([questions[0]], 0, 1)["pairs"].keys() == {"input_ids", "attention_mask"}


def test_questions_without_two_relevances_are_left_out_where_documents_are_compared(model: CrossEncoder) -> None:
    queries = [
        JudgedQuery("alike", "?", [0, 1], [0.5, 0.5], [1, 2]),
        *graded_queries()[:2],
        JudgedQuery("alone", "?", [2], [1.0], [1.0]),
    ]
    compared = set_of(queries, TEXTS, model)
    assert (compared.left_out, len(compared)) == (2, 2)
    assert [compared[key]["query_id"] for key in range(4)] == ["q0", "q1", "q0", "q1"]
    alone = set_of(queries, TEXTS, model, compared=False)
    assert (alone.left_out, len(alone)) == (0, 4)
    assert [alone[key]["query_id"] for key in range(4)] == ["alike", "q0", "q1", "alone"]


def test_where_no_question_has_two_relevances_there_is_nothing_to_compare(model: CrossEncoder) -> None:
    queries = [replace(query, rels=[1.0] * len(query.rels)) for query in graded_queries()]
    with pytest.raises(ParameterError, match="objective: no training question has two documents of different relevanc"):
        set_of(queries, TEXTS, model)
    assert len(set_of(queries, TEXTS, model, compared=False)) == 3


def test_a_pair_longer_than_the_model_reads_or_without_room_is_refused(model: CrossEncoder) -> None:
    for max_len, message in ((513, "max_len: expected at most 512"), (8, "max_len: 8 leaves no room for a document")):
        with pytest.raises(ParameterError, match=message):
            set_of(graded_queries(), TEXTS, model, max_len=max_len)


@pytest.mark.parametrize("max_len", [20, 48, 512])
def test_lengths_are_those_of_the_tokenizers_pairs(reranker: Path, data: Data, max_len: int) -> None:
    rows = graded_rows(data)
    questions = pair_set(reranker, data, rows, max_len=max_len, group_size=4)
    whole = [
        {
            "query_id": query.query_id,
            "pairs": [(number, passage) for passage in query.passages],
            "rels": query.rels,
            "weights": query.weights,
        }
        for number, query in enumerate(questions.queries)
    ]
    tokenizer = AutoTokenizer.from_pretrained(reranker)
    expected = []
    for group in whole:
        queries, documents = joined(reranker, data, [group], max_len)
        ids = tokenizer(queries, documents, truncation="only_second", max_length=max_len)["input_ids"]
        expected.append([len(own) for own in ids])
    assert questions.lengths().tolist() == [max(own) for own in expected]
    assert questions.longest() == max(max(own) for own in expected)
    assert questions.most_tokens() == 4 * questions.longest()
    means = [np.mean(own) * min(4, len(own)) for own in expected]
    assert {len(own) for own in expected} == {3, 4}
    assert questions.mean_tokens() == pytest.approx(np.mean(means))
    lengths = {length for own in expected for length in own}
    assert (len(lengths) > 20) is (max_len == 512), "of many lengths where none is cut"
    for number in range(QUESTIONS):
        batch = questions.collate([questions[number]], 0, 1)["pairs"]
        assert batch["input_ids"].size <= questions.most_tokens()
        assert batch["attention_mask"].sum(1).max() <= questions.lengths()[number]
