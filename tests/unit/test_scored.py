"""Scored pairs: their files, what is refused with file and row, repeated pairs, and graded judgments all the way."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from embedtune.core.errors import EmbedTuneError
from embedtune.data.convert import CorpusWriter, convert
from embedtune.data.corpus import Query, read_queries, write_qrels, write_queries
from embedtune.data.judgments import judgment_counts
from embedtune.data.layouts.opening import open_layout
from embedtune.data.layouts.rows import BadRows
from embedtune.data.sample.scored import PER_QUESTION, write_scored_sample

ROWS = [
    {"key": "a", "query": "一？", "doc": "甲", "rel": 1.0, "weight": 2.0},
    {"key": "b", "query": "一？", "doc": "乙，丙", "rel": 0.25},
    {"key": "c", "query": "two?", "doc": "甲", "rel": 0},
]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["key", "query", "doc", "rel", "weight"])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def converted(root: Path, repeated: str = "fail") -> tuple[dict[str, list[Query]], BadRows]:
    bad_rows = BadRows(io.BytesIO())
    questions, _ = convert(open_layout(root, "scored", "zh", bad_rows, repeated), CorpusWriter(io.BytesIO()), bad_rows)
    return questions, bad_rows


@pytest.mark.parametrize("name", ["train.jsonl", "train_data.json", "train.csv", "anything.csv"])
def test_the_same_pairs_in_every_file(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, ROWS)
    questions, bad_rows = converted(tmp_path)
    assert not bad_rows.count
    first, second = questions["train"]
    assert (first.text, list(first.judgments.values()), list(first.weights.values())) == ("一？", [1.0, 0.25], [2.0])
    assert (second.text, list(second.judgments.values()), second.weights) == ("two?", [0.0], {})
    assert next(iter(first.judgments)) == next(iter(second.judgments)), "a document is known by its text"


def test_splits_by_the_names_that_the_files_have(tmp_path: Path) -> None:
    for name, row in zip(("train_data.json", "val_data.json", "test_data.json"), ROWS, strict=True):
        write(tmp_path / name, [row])
    questions, _ = converted(tmp_path)
    assert {split: queries[0].text for split, queries in questions.items()} == {
        "train": "一？",
        "dev": "一？",
        "test": "two?",
    }
    write(tmp_path / "val.jsonl", ROWS)
    with pytest.raises(EmbedTuneError, match=r"val\.jsonl and val_data\.json are both the dev split"):
        converted(tmp_path)


BAD = [
    ({"rel": 1.5}, "'rel' is 1.5; expected a number from 0 to 1"),
    ({"rel": "0.5"}, "'rel' is '0.5'; expected a number such as 0.5, without quotes"),
    ({"rel": True}, "'rel' is True; expected a number such as 0.5, without quotes"),
    ({"rel": None}, "'rel' is missing"),
    ({"weight": 0}, "'weight' is 0.0; expected a number above 0, at most 1000000"),
    ({"weight": -1}, "'weight' is -1.0; expected a number above 0, at most 1000000"),
    ({"weight": 2e6}, "'weight' is 2000000.0; expected a number above 0, at most 1000000"),
    ({"weight": "high"}, "'weight' is 'high'; expected a number such as 0.5, without quotes"),
    ({"doc": " "}, "'doc' is empty"),
    ({"query": ""}, "'query' is empty"),
    ({"key": "a"}, "'key' 'a' stands twice, first in"),
    ({"key": [1]}, "'key' is empty, or neither a text nor a whole number"),
]


@pytest.mark.parametrize(("change", "problem"), BAD)
@pytest.mark.parametrize(("name", "where"), [("train.jsonl", "train.jsonl:4"), ("train_data.json", "json: row 4")])
def test_a_bad_row_is_named_with_file_and_row(
    tmp_path: Path, change: dict[str, Any], problem: str, name: str, where: str
) -> None:
    write(tmp_path / name, [*ROWS, {"key": "d", "query": "three?", "doc": "丁", "rel": 0.5} | change])
    questions, bad_rows = converted(tmp_path)
    assert bad_rows.count == 1
    assert where in bad_rows.text() and problem in bad_rows.text()
    assert len(questions["train"]) == 2


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("d,three?,丁,high,1", "train.csv:5: 'rel' is 'high'; expected a number such as 0.5, without quotes"),
        ("d,three?,丁,,1", "train.csv:5: 'rel' is missing"),
        ("d,three?,丁,nan,1", "train.csv:5: 'rel' is not finite"),
        ("d,three?,丁,0.5", "train.csv:5: has 4 fields, the header 5"),
    ],
)
def test_bad_rows_of_a_csv(tmp_path: Path, line: str, problem: str) -> None:
    write(tmp_path / "train.csv", ROWS)
    with (tmp_path / "train.csv").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    _, bad_rows = converted(tmp_path)
    assert problem in bad_rows.text() and bad_rows.count == 1


def test_a_csv_or_array_that_breaks_off_is_refused_whatever_becomes_of_bad_rows(tmp_path: Path) -> None:
    """Where its rows end is not known, so that nothing can be set aside."""
    write(tmp_path / "train.csv", ROWS)
    with (tmp_path / "train.csv").open("a", encoding="utf-8") as file:
        file.write('d,three?,"丁,0.5,1\n')
    with pytest.raises(EmbedTuneError, match=r"train\.csv:5: not valid CSV \(unexpected end of data\); mend this row"):
        converted(tmp_path)
    (tmp_path / "train.csv").unlink()
    write(tmp_path / "train.json", ROWS)
    text = (tmp_path / "train.json").read_text(encoding="utf-8")
    (tmp_path / "train.json").write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(EmbedTuneError, match=r"train\.json:[0-9]+: not valid JSON"):
        converted(tmp_path)


def test_a_long_document_of_a_csv(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", [ROWS[0] | {"doc": "甲" * 200_000}])
    assert converted(tmp_path)[0]["train"]


def test_each_file_has_keys_of_its_own(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        write(tmp_path / f"{split}.jsonl", ROWS)
    questions, bad_rows = converted(tmp_path)
    assert not bad_rows.count and [len(queries) for queries in questions.values()] == [2, 2, 2]


def test_rows_of_another_format_are_told(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [{"query": "?", "pos_doc": "a"}] * 3)
    with pytest.raises(EmbedTuneError, match=r"'doc' is missing; it looks like `format: pairs`\n… and 2 more"):
        converted(tmp_path)


def test_a_csv_of_other_columns_and_one_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("question,answer\na,b\n", encoding="utf-8")
    with pytest.raises(EmbedTuneError, match="has no column query and no doc and no rel, but question, answer"):
        converted(tmp_path)
    (tmp_path / "train.csv").write_text("query;doc;rel\na;b;1\n", encoding="utf-8")
    with pytest.raises(EmbedTuneError, match="columns are separated by ';': save the file with commas"):
        converted(tmp_path)
    (tmp_path / "train.csv").write_bytes("key,query,doc,rel\na,一,甲,1\n".encode("gb18030"))
    with pytest.raises(EmbedTuneError, match="not UTF-8 text; save the file as UTF-8"):
        converted(tmp_path)


def test_a_pair_that_stands_twice(tmp_path: Path) -> None:
    again = {"key": "d", "query": "一？ ", "doc": "甲", "rel": 0.5, "weight": 1.0}
    write(tmp_path / "train.jsonl", [*ROWS, again])
    _, bad_rows = converted(tmp_path)
    assert "train.jsonl:4" in bad_rows.text() and "train.jsonl:1 too, there with rel 1 and weight 2" in bad_rows.text()
    for repeated, (rel, weight) in {"mean": (0.75, 1.5), "last": (0.5, 1.0)}.items():
        questions, bad_rows = converted(tmp_path, repeated)
        first = questions["train"][0]
        document = next(iter(first.judgments))
        assert not bad_rows.count
        assert (first.judgments[document], first.weights.get(document, 1.0)) == (rel, weight)
    write(tmp_path / "train.jsonl", [*ROWS, again | {"rel": 1.0, "weight": 2.0}])
    assert not converted(tmp_path)[1].count, "equal rows contradict nothing"


def test_grades_and_weights_survive_the_files(tmp_path: Path) -> None:
    queries = [Query("q", "?", {"a": 1.0, "b": 1 / 3, "c": 0.0}, weights={"b": 0.1}, relevant_from=0.5)]
    write_queries(tmp_path, "train", queries)
    write_qrels(tmp_path, "train", queries)
    (found,) = read_queries(tmp_path, tmp_path, "train")
    assert found == queries[0]
    assert (found.relevant(), found.graded(), found.negatives()) == (["a"], ["a", "b"], ["c"])
    queries[0].relevant_from, queries[0].weights = None, {}
    write_qrels(tmp_path, "train", queries)
    assert "query-id\tcorpus-id\tscore\nq\ta\t1\n" in (tmp_path / "train.tsv").read_text(), "as in BEIR's files"


def test_counts_of_judgments() -> None:
    splits = {
        "train": [Query("a", "?", {"x": 0.9, "y": 0.1}, weights={"y": 0.5}, relevant_from=0.5)],
        "dev": [Query("b", "?", {"x": 0.2}, relevant_from=0.5)],
        "test": [Query("c", "?", {"x": 1.0}, relevant_from=0.5)],
    }
    found = judgment_counts(splits)
    assert (found["judgments"], found["judgments_relevant"], found["judgment_min"], found["judgment_max"]) == (
        4,
        2,
        0.1,
        1.0,
    )
    assert [line["judgments"] for line in found["judgment_histogram"]] == [0, 1, 1, 0, 0, 0, 0, 0, 0, 2]
    assert (found["dev_queries_without_relevant"], found["test_queries_without_relevant"]) == (1, 0)
    assert (found["weight_min"], found["weight_max"]) == (0.5, 1.0)


def test_the_generated_pairs(tmp_path: Path) -> None:
    write_scored_sample(tmp_path, 200, seed=3)
    rows = [json.loads(line) for line in (tmp_path / "scored.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 200 and len({row["key"] for row in rows}) == 200
    assert len({row["query"] for row in rows}) == 200 / PER_QUESTION
    assert all(0 <= row["rel"] <= 1 for row in rows) and {row["weight"] for row in rows} == {0.5, 1.0}
    again = tmp_path / "again"
    again.mkdir()
    write_scored_sample(again, 200, seed=3)
    assert (again / "scored.jsonl").read_bytes() == (tmp_path / "scored.jsonl").read_bytes()
    questions, bad_rows = converted(tmp_path)
    assert not bad_rows.count and sum(len(query.judgments) for query in questions["train"]) == 200
