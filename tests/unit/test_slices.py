"""Questions in groups: bounds, where an answer stands, and means by group."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from embedtune.data.corpus import Query
from embedtune.evaluation.results import sliced_means
from embedtune.evaluation.slices import slices
from tests.unit.segmenting import write_corpus


def grouped(tmp_path: Path, texts: list[str], queries: list[Query]) -> pd.DataFrame:
    return slices(queries, write_corpus(tmp_path / "corpus.jsonl", texts)).set_index("query_id")


def test_groups_are_by_length_and_by_the_answer_that_is_named(tmp_path: Path) -> None:
    texts = ["短" * 300, "长" * 1_000, "更" * 1_001, "最" * 20_000]
    queries = [
        Query("a", "问" * 10, {"d0": 1, "d1": 1}, [{"docid": "d1", "start": 500, "end": 510}]),
        Query("b", "问" * 11, {"d2": 1}, [{"docid": "d2", "start": 501, "end": 510}]),
        Query("c", "问" * 81, {"d3": 1, "d0": 0}, [{"docid": "d3", "start": 9_000, "end": 9_010}]),
    ]
    table = grouped(tmp_path, texts, queries)
    assert table["query_length"].tolist() == ["0-10", "10-20", "over_80"]
    assert table["document_length"].tolist() == ["0-1000", "1000-2000", "over_16000"]
    assert table["answer_position"].tolist() == ["0-500", "500-2000", "over_8000"]


def test_an_answer_that_is_not_named_is_the_window_with_the_questions_words(tmp_path: Path) -> None:
    filler = "天地玄黄宇宙洪荒日月盈昃" * 100
    texts = [filler, filler[:1_100] + "合同自双方签字之日起生效" + filler, filler]
    queries = [
        Query("a", "合同何时生效，双方签字之日？", {"d0": 1, "d1": 1}),
        Query("b", "zzz", {"d2": 1}),
        Query("c", "合同签字", {"d0": 1}, [{"docid": "d1", "start": 1_100, "end": 1_110}]),
    ]
    table = grouped(tmp_path, texts, queries)
    assert table["answer_position"].tolist() == ["500-2000", "unknown", "unknown"], "c's named answer is not relevant"


def test_words_are_those_of_the_tokenizer(tmp_path: Path) -> None:
    """The text shares a bigram with the question, but no word."""
    corpus = write_corpus(tmp_path / "corpus.jsonl", ["天" * 750 + "效合" + "天" * 9])
    found = {
        name: slices([Query("a", "有效合同", {"d0": 1})], corpus, name)["answer_position"].tolist()
        for name in ("bigrams", "jieba")
    }
    assert found == {"bigrams": ["500-2000"], "jieba": ["unknown"]}


def test_means_are_of_the_groups_own_questions_in_the_order_of_bounds() -> None:
    index = pd.Index(["a", "b", "c"], name="query_id")
    scores = pd.DataFrame({"recall@10": [1.0, 0.0, 0.5]}, index=index)
    groups = pd.DataFrame({"query_length": ["10-20", "0-10", "over_80"], "x": ["0-1", "0-1", "1-2"]}, index=index)
    means = sliced_means(scores, groups).set_index("slice")
    assert list(means.index) == [
        "query_length=0-10",
        "query_length=10-20",
        "query_length=over_80",
        "x=0-1",
        "x=1-2",
    ]
    assert means["questions"].tolist() == [1, 1, 1, 2, 1]
    assert means["recall@10"].tolist() == pytest.approx([0, 1, 0.5, 0.5, 0.5])
