"""Rows that cannot be used: named with file, line and reason, or set aside and counted."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from embedtune.data.layouts.opening import open_layout
from embedtune.data.layouts.rows import BadRows
from tests.unit.layouts import (
    BEIR_CORPUS,
    BEIR_QUERIES,
    BEIR_TRAIN,
    CORPUS,
    MLDR,
    PAIRS,
    TRIPLETS,
    complaint,
    read,
    write_beir,
    write_mldr,
    write_rows,
)


def without(row: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != key}


GOOD = {"mldr": MLDR["train"][1], "triplets": TRIPLETS[1], "pairs": PAIRS[1]}
LISTED = "is missing or not a list of {docid, text}"
BAD_ROWS: list[tuple[str, Any, str]] = [
    ("mldr", "[1]", "expected a JSON object, got list"),
    ("mldr", '"text"', "expected a JSON object, got str"),
    ("mldr", without(GOOD["mldr"], "query_id"), "'query_id' is missing or not an id"),
    ("mldr", {**GOOD["mldr"], "query_id": ""}, "'query_id' is missing or not an id"),
    ("mldr", {**GOOD["mldr"], "query_id": None}, "'query_id' is missing or not an id"),
    ("mldr", {**GOOD["mldr"], "query_id": True}, "'query_id' is missing or not an id"),
    ("mldr", {**GOOD["mldr"], "query_id": 1.5}, "'query_id' is missing or not an id"),
    (
        "mldr",
        {**GOOD["mldr"], "query_id": "q 2"},
        "'query_id' 'q 2' holds white space, which TREC files cannot carry; replace it",
    ),
    ("mldr", without(GOOD["mldr"], "query"), "'query' is missing"),
    ("mldr", {**GOOD["mldr"], "query": 5}, "'query' is not a text"),
    ("mldr", {**GOOD["mldr"], "query": None}, "'query' is not a text"),
    ("mldr", {**GOOD["mldr"], "query": " \n\u3000"}, "'query' is empty"),
    ("mldr", without(GOOD["mldr"], "positive_passages"), f"'positive_passages' {LISTED}"),
    ("mldr", {**GOOD["mldr"], "positive_passages": []}, "'positive_passages' is empty; give at least one"),
    ("mldr", {**GOOD["mldr"], "positive_passages": "d1"}, f"'positive_passages' {LISTED}"),
    ("mldr", {**GOOD["mldr"], "positive_passages": ["d1"]}, f"'positive_passages' {LISTED}"),
    ("mldr", {**GOOD["mldr"], "positive_passages": [{"text": "x"}]}, "'docid' is missing or not an id"),
    ("mldr", {**GOOD["mldr"], "positive_passages": [{"docid": "d1", "text": ""}]}, "'text' is empty"),
    ("mldr", {**GOOD["mldr"], "positive_passages": [{"docid": "d1", "text": ["x"]}]}, "'text' is not a text"),
    (
        "mldr",
        {**GOOD["mldr"], "positive_passages": [{"docid": "d\t1"}]},
        "'docid' 'd\\t1' holds white space, which TREC files cannot carry; replace it",
    ),
    ("mldr", {**GOOD["mldr"], "negative_passages": {}}, f"'negative_passages' {LISTED}"),
    ("mldr", TRIPLETS[0], "'query_id' is missing or not an id; it looks like `format: triplets`"),
    ("mldr", PAIRS[0], "'query_id' is missing or not an id; it looks like `format: pairs`"),
    ("triplets", without(GOOD["triplets"], "query"), "'query' is missing"),
    ("triplets", without(GOOD["triplets"], "pos"), "'pos' is missing or not a list of texts"),
    ("triplets", {**GOOD["triplets"], "pos": []}, "'pos' is empty; give at least one"),
    ("triplets", {**GOOD["triplets"], "pos": 5}, "'pos' is missing or not a list of texts"),
    ("triplets", {**GOOD["triplets"], "pos": ["x", ""]}, "'pos' holds an empty text or something other than a text"),
    ("triplets", {**GOOD["triplets"], "neg": ["x", 5]}, "'neg' holds an empty text or something other than a text"),
    ("triplets", {**GOOD["triplets"], "neg": {}}, "'neg' is missing or not a list of texts"),
    ("triplets", {**GOOD["triplets"], "pos_scores": 1.0}, "'pos_scores' is not a list of numbers"),
    ("triplets", {**GOOD["triplets"], "pos_scores": ["1"]}, "'pos_scores' is not a list of numbers"),
    ("triplets", {**GOOD["triplets"], "pos_scores": [1.0]}, "'pos_scores' has 1 scores for 2 texts"),
    (
        "triplets",
        MLDR["train"][0],
        "'pos' is missing or not a list of texts; it looks like `format: mldr`",
    ),
    ("triplets", PAIRS[0], "'pos' is missing or not a list of texts; it looks like `format: pairs`"),
    ("pairs", without(GOOD["pairs"], "query"), "'query' is missing"),
    ("pairs", without(GOOD["pairs"], "pos_doc"), "'pos_doc' is missing"),
    ("pairs", {**GOOD["pairs"], "pos_doc": "\t"}, "'pos_doc' is empty"),
    ("pairs", {**GOOD["pairs"], "pos_doc": ["x"]}, "'pos_doc' is not a text"),
    ("pairs", TRIPLETS[0], "'pos_doc' is missing; it looks like `format: triplets`"),
    ("pairs", MLDR["train"][0], "'pos_doc' is missing; it looks like `format: mldr`"),
]


@pytest.mark.parametrize(("layout_format", "row", "reason"), BAD_ROWS)
def test_a_bad_row_is_named_with_its_line_and_its_reason(
    tmp_path: Path, layout_format: str, row: dict[str, Any] | str, reason: str
) -> None:
    good = GOOD[layout_format]
    lines = [json.dumps(good), "", row if isinstance(row, str) else json.dumps(row), json.dumps(good)]
    write_rows(tmp_path / "train.jsonl", lines)
    assert complaint(tmp_path, layout_format) == f"train.jsonl:3: {reason}"


@pytest.mark.parametrize("line", ['{"query": "q"', "{'query': 'q'}", '{"query": "\\ud800"}', "query", "\ufeff{}"])
def test_broken_json_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    write_rows(tmp_path / "train.jsonl.gz", [json.dumps(PAIRS[0]), line])
    message = complaint(tmp_path, "pairs")
    assert message.startswith("train.jsonl.gz:2: not valid JSON (") and message.count("\n") == 0


def test_text_in_another_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(json.dumps(PAIRS[0], ensure_ascii=False).encode("gbk") + b"\n")
    assert complaint(tmp_path, "pairs") == "train.jsonl:1: not UTF-8 text; save the file as UTF-8"


def test_a_byte_order_mark_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(PAIRS[0]).encode() + b"\n")
    assert [row.query for row in open_layout(tmp_path, "pairs", "zh", BadRows(None)).splits["train"]()] == [
        PAIRS[0]["query"]
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "x"}, "'docid' is missing or not an id"),
        ({"docid": "d 9", "text": "x"}, "'docid' 'd 9' holds white space, which TREC files cannot carry; replace it"),
        ({"docid": "d9"}, "'text' is missing"),
        ({"docid": "d9", "text": " "}, "'text' is empty"),
        ({"docid": "d9", "text": 9}, "'text' is not a text"),
    ],
)
def test_a_bad_document_is_named_with_its_line_and_its_reason(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    write_mldr(tmp_path)
    write_rows(tmp_path / "corpus.jsonl", [*CORPUS, row])
    assert complaint(tmp_path, "mldr") == f"corpus.jsonl:4: {reason}"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"title": 5, "text": "x"}, "'title' is not a text"),
        ({"title": ["a"], "text": "x"}, "'title' is not a text"),
        ({"title": "t", "text": 5}, "'text' is not a text"),
        ({"title": " ", "text": ""}, "'text' is empty"),
    ],
)
def test_a_bad_title_or_text_of_beir_is_named(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    write_beir(tmp_path, corpus=[*BEIR_CORPUS, {"_id": "d9", **row}])
    assert complaint(tmp_path, "beir") == f"corpus.jsonl:4: {reason}"


BAD_QUERIES: list[tuple[dict[str, Any], str]] = [
    ({"text": "x"}, "'_id' is missing or not an id"),
    ({"_id": "q9"}, "'text' is missing"),
    ({"_id": "q9", "text": ""}, "'text' is empty"),
    ({"_id": "q1", "text": "again"}, "'_id' 'q1' stands twice; ids must be unique"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_QUERIES)
def test_a_bad_query_of_beir_is_named_with_its_line_and_its_reason(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    write_beir(tmp_path, queries=[*BEIR_QUERIES, row])
    assert complaint(tmp_path, "beir") == f"queries.jsonl:4: {reason}"


SHAPE = "expected query-id, corpus-id and a whole score with tabs between"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("q1 d1 1", SHAPE),
        ("q1\td1", SHAPE),
        ("q1\t0\td1\t1", f"{SHAPE}; these are TREC's four columns: leave out the second, and put tabs between"),
        ("q1 Q0 d1 1", f"{SHAPE}; these are TREC's four columns: leave out the second, and put tabs between"),
        ("q1\td1\t1.0", f"{SHAPE}; write scores without a decimal point"),
        ("q1\td1\t0.5", SHAPE),
        ("q1\td1\tyes", SHAPE),
        ("q1\td1\t--1", SHAPE),
        ("q1\td1\t²", SHAPE),
        ("q9\td1\t1", "names the query 'q9', which queries.jsonl lacks"),
    ],
)
def test_a_bad_judgment_is_named_with_its_line_and_its_reason(tmp_path: Path, line: str, reason: str) -> None:
    write_beir(tmp_path, train=f"{BEIR_TRAIN}{line}\n")
    assert complaint(tmp_path, "beir") == f"qrels/train.tsv:7: {reason}"


def test_the_first_twenty_bad_rows_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [{"query": ""} for _ in range(33)])
    lines = complaint(tmp_path, "pairs").split("\n")
    assert lines == [*(f"train.jsonl:{n}: 'query' is empty" for n in range(1, 21)), "… and 13 more"]


@pytest.mark.parametrize(
    ("layout_format", "row", "reason"),
    [
        (
            "pairs",
            {"anchor": "q", "positive": "p", "negative": "n"},
            "'query' is missing; rename the keys of all rows: anchor to query, positive to pos_doc",
        ),
        (
            "pairs",
            {"query": "q", "answer": "p"},
            "'pos_doc' is missing; rename the keys of all rows: answer to pos_doc",
        ),
        (
            "triplets",
            {"anchor": "q", "positive": "p", "negative": "n"},
            "'pos' is missing or not a list of texts; rename the keys of all rows: anchor to query, positive to pos, "
            "negative to neg",
        ),
        ("triplets", PAIRS[0], "'pos' is missing or not a list of texts; it looks like `format: pairs`"),
        (
            "triplets",
            {"query": ["find:", "q"], "pos": [["", "p"]], "neg": [["", "n"]]},
            "'pos' holds lists; give texts alone, without instructions",
        ),
    ],
)
def test_rows_with_other_keys_are_named_once(
    tmp_path: Path, layout_format: str, row: dict[str, Any], reason: str
) -> None:
    """The first of them; a row with a fault of its own is named beside it."""
    write_rows(tmp_path / "train.jsonl", [*[row] * 30, "[]", *[row] * 3])
    assert complaint(tmp_path, layout_format).split("\n") == [
        f"train.jsonl:1: {reason}",
        "train.jsonl:31: expected a JSON object, got list",
        "… and 32 more",
    ]


def test_bad_rows_of_all_files_are_listed_together(tmp_path: Path) -> None:
    write_mldr(tmp_path)
    for name in ("corpus", "train", "dev"):
        with (tmp_path / f"{name}.jsonl").open("a") as file:
            file.write("[]\n")
    reason = "expected a JSON object, got list"
    assert complaint(tmp_path, "mldr").split("\n") == [
        f"corpus.jsonl:4: {reason}",
        f"train.jsonl:3: {reason}",
        f"dev.jsonl:2: {reason}",
    ]


def test_rows_set_aside_are_kept_as_they_stood_and_counted(tmp_path: Path) -> None:
    set_aside = io.BytesIO()
    bad = ['{"query": "半', "[]", '{"query":  "三", "pos_doc": ""}']
    lines = [json.dumps(PAIRS[0]), *bad, json.dumps(PAIRS[1])]
    write_rows(tmp_path / "train.jsonl", lines)
    _, splits, bad_rows = read(tmp_path, "pairs", set_aside=set_aside)
    bad_rows.raise_if_fatal()
    kept = [json.loads(line) for line in set_aside.getvalue().splitlines()]
    assert [row["row"] for row in kept] == bad
    assert [row["where"] for row in kept] == [f"{tmp_path}/train.jsonl:{n}" for n in (2, 3, 4)]
    assert [row["reason"] for row in kept][1:] == ["expected a JSON object, got list", "'pos_doc' is empty"]
    assert len(splits["train"]) + bad_rows.count == len(lines)
