"""The layouts a data set may come in: what each gives, and how each names the rows and directories it cannot use."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedtune.errors import EmbedTuneError
from embedtune.layouts.opening import FORMATS, open_layout
from embedtune.layouts.rows import BadRows, Row

Rows = list[dict[str, Any]]

CORPUS = [{"docid": "d1", "text": "第一篇"}, {"docid": "d2", "text": "second"}, {"docid": "d3", "text": "third"}]
MLDR = {
    "train": [
        {
            "query_id": "q1",
            "query": "一？",
            "positive_passages": [{"docid": "d1", "text": "第一篇"}],
            "negative_passages": [{"docid": "d2", "text": "second"}, {"docid": "d3", "text": "third"}],
        },
        {
            "query_id": "q2",
            "query": "two?",
            "positive_passages": [{"docid": "d2", "text": "second"}, {"docid": "d3", "text": "third"}],
            "negative_passages": [],
        },
    ],
    "dev": [{"query_id": "q3", "query": "three?", "positive_passages": [{"docid": "d3", "text": "third"}]}],
}
TRIPLETS = [
    {"query": "一？", "pos": ["第一篇"], "neg": ["second", "third"]},
    {"query": "two?", "pos": ["second", "third"], "neg": []},
]
PAIRS = [{"query": "一？", "pos_doc": "第一篇"}, {"query": "two?", "pos_doc": "second"}]
BEIR_QUERIES = [{"_id": "q1", "text": "一？"}, {"_id": "q2", "text": "two?"}, {"_id": "q3", "text": "three?"}]
BEIR_CORPUS = [{"_id": row["docid"], "title": "", "text": row["text"]} for row in CORPUS]
BEIR_TRAIN = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\nq1\td3\t0\nq2\td2\t1\nq2\td3\t1\n"
BEIR_DEV = "query-id\tcorpus-id\tscore\nq3\td3\t1\n"

Q1 = ("q1", "一？", [("d1", 1), ("d2", 0), ("d3", 0)])
Q2 = ("q2", "two?", [("d2", 1), ("d3", 1)])
Q3 = ("q3", "three?", [("d3", 1)])


def write_rows(path: Path, rows: Rows | list[str]) -> None:
    """Write rows, or lines as they are, gzipped if the path says so."""
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    content = "".join(line + "\n" for line in lines).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_mldr(folder: Path, suffix: str = ".jsonl") -> None:
    write_rows(folder / f"corpus{suffix}", CORPUS)
    for split, rows in MLDR.items():
        write_rows(folder / f"{split}{suffix}", rows)


def write_beir(
    root: Path, *, queries: Rows | list[str] = BEIR_QUERIES, corpus: Rows | list[str] = BEIR_CORPUS, **qrels: str
) -> None:
    write_rows(root / "corpus.jsonl", corpus)
    write_rows(root / "queries.jsonl", queries)
    (root / "qrels").mkdir()
    for split, text in (qrels or {"train": BEIR_TRAIN, "dev": BEIR_DEV}).items():
        (root / "qrels" / f"{split}.tsv").write_text(text, encoding="utf-8")


def judged(row: Row) -> tuple[str | None, str, list[tuple[str | None, int]]]:
    return row.id, row.query, [(passage.id, passage.relevance) for passage in row.passages]


def texts(row: Row) -> tuple[str, list[tuple[str | None, int]]]:
    return row.query, [(passage.text, passage.relevance) for passage in row.passages]


def read(
    root: Path, layout_format: str, language: str = "zh", set_aside: io.BytesIO | None = None
) -> tuple[list[tuple[str, str]], dict[str, list[Row]], BadRows]:
    """Corpus, splits and the collector of bad rows."""
    bad_rows = BadRows(set_aside)
    layout = open_layout(root, layout_format, language, bad_rows)
    corpus = [(row.id, row.text) for row in layout.corpus()]
    return corpus, {split: list(rows()) for split, rows in layout.splits.items()}, bad_rows


def complaint(root: Path, layout_format: str, hint: bool = True) -> str:
    """The whole message about a data set, its directory left out; `hint` if it ends in the way to go on."""
    with pytest.raises(EmbedTuneError) as caught:
        read(root, layout_format)[2].raise_if_fatal()
    message = str(caught.value).replace(f"{root}/", "")
    ending = "\nmend these rows, or write `dataset.on_bad_row: skip` to set them aside"
    assert message.endswith(ending) == hint, message
    return message.removesuffix(ending)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
@pytest.mark.parametrize("folder", ["mldr-v1.0-zh", "."])
def test_mldr_is_read_plain_or_gzipped_with_or_without_its_folder(tmp_path: Path, folder: str, suffix: str) -> None:
    write_mldr(tmp_path / folder, suffix)
    corpus, splits, bad_rows = read(tmp_path, "mldr")
    assert corpus == [("d1", "第一篇"), ("d2", "second"), ("d3", "third")]
    assert {split: [judged(row) for row in rows] for split, rows in splits.items()} == {"train": [Q1, Q2], "dev": [Q3]}
    assert texts(splits["train"][0]) == ("一？", [("第一篇", 1), ("second", 0), ("third", 0)])
    assert bad_rows.count == 0


def test_mldr_of_another_language_has_its_own_folder(tmp_path: Path) -> None:
    write_mldr(tmp_path / "mldr-v1.0-en")
    assert len(read(tmp_path, "mldr", language="en")[0]) == 3
    with pytest.raises(EmbedTuneError) as caught:
        read(tmp_path, "mldr", language="zh")
    assert str(caught.value) == (
        f"{tmp_path}: no train.jsonl or train.jsonl.gz, which dataset.format: mldr needs; found mldr-v1.0-en/; "
        "check dataset.path, dataset.format and dataset.language"
    )


def test_mldr_without_a_corpus_file_has_the_texts_of_its_rows(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", MLDR["train"])
    corpus, splits, _ = read(tmp_path, "mldr")
    assert (corpus, len(splits["train"])) == ([], 2)


def test_a_row_of_mldr_keeps_its_answers_of_the_sample_and_no_others(tmp_path: Path) -> None:
    answer = {"docid": "d1", "start": 0, "end": 2}
    own, foreign = ({**MLDR["train"][0], "answers": answers} for answers in ([answer], ["第一", "一"]))
    write_rows(tmp_path / "train.jsonl", [own, foreign, {**own, "answers": None}])
    splits = read(tmp_path, "mldr")[1]
    assert [row.answers or [] for row in splits["train"]] == [[answer], [], []]


@pytest.mark.parametrize(("layout_format", "rows"), [("mldr", MLDR["train"]), ("triplets", TRIPLETS), ("pairs", PAIRS)])
@pytest.mark.parametrize("name", ["my-data.jsonl", "my-data.jsonl.gz", "dev.jsonl"])
def test_a_single_file_is_a_train_split(tmp_path: Path, layout_format: str, rows: Rows, name: str) -> None:
    write_rows(tmp_path / name, rows)
    splits = read(tmp_path, layout_format)[1]
    assert [row.query for row in splits["train"]] == ["一？", "two?"] and list(splits) == ["train"]


def test_triplets_give_texts_without_ids(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", [*TRIPLETS, {"query": "three?", "pos": "第一篇"}])
    write_rows(tmp_path / "test.jsonl.gz", TRIPLETS[:1])
    splits = read(tmp_path, "triplets")[1]
    assert [texts(row) for row in splits["train"]] == [
        ("一？", [("第一篇", 1), ("second", 0), ("third", 0)]),
        ("two?", [("second", 1), ("third", 1)]),
        ("three?", [("第一篇", 1)]),
    ]
    assert {row.id for row in splits["train"]} == {None}
    assert [texts(row)[0] for row in splits["test"]] == ["一？"]


def test_triplets_may_have_a_teachers_scores(tmp_path: Path) -> None:
    scored = {"query": "q", "pos": ["x"], "neg": ["y", "z"], "pos_scores": [3], "neg_scores": [-1.5, 0.25]}
    write_rows(tmp_path / "train.jsonl", [scored, TRIPLETS[0]])
    first, second = read(tmp_path, "triplets")[1]["train"]
    assert [(p.text, p.score) for p in first.passages] == [("x", 3.0), ("y", -1.5), ("z", 0.25)]
    assert {p.score for p in second.passages} == {None}


def test_pairs_give_texts_without_ids(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", PAIRS)
    splits = read(tmp_path, "pairs")[1]
    assert [texts(row) for row in splits["train"]] == [("一？", [("第一篇", 1)]), ("two?", [("second", 1)])]


@pytest.mark.parametrize("dev_name", ["dev", "validation", "val"])
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_beir_is_read_with_its_dev_split_under_any_of_its_names(tmp_path: Path, suffix: str, dev_name: str) -> None:
    write_rows(tmp_path / f"corpus{suffix}", BEIR_CORPUS)
    write_rows(tmp_path / f"queries{suffix}", BEIR_QUERIES)
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "train.tsv").write_text(BEIR_TRAIN)
    (tmp_path / "qrels" / f"{dev_name}.tsv").write_text(BEIR_DEV)
    corpus, splits, bad_rows = read(tmp_path, "beir")
    assert corpus == [("d1", "第一篇"), ("d2", "second"), ("d3", "third")]
    assert {split: [judged(row) for row in rows] for split, rows in splits.items()} == {"train": [Q1, Q2], "dev": [Q3]}
    assert bad_rows.count == 0


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"title": "题目", "text": "正文"}, "题目 正文"),
        ({"title": "", "text": "正文"}, "正文"),
        ({"text": "正文"}, "正文"),
        ({"title": None, "text": "正文"}, "正文"),
        ({"title": "题目", "text": ""}, "题目"),
    ],
)
def test_a_title_of_beir_stands_before_its_text(tmp_path: Path, row: dict[str, Any], text: str) -> None:
    write_beir(tmp_path, corpus=[{"_id": "d1", **row}])
    assert read(tmp_path, "beir")[0] == [("d1", text)]


@pytest.mark.parametrize("change", [str, lambda text: text.replace("\n", "\r\n"), lambda text: text.split("\n", 1)[1]])
def test_qrels_may_lack_a_header_and_may_end_lines_as_windows_does(
    tmp_path: Path, change: Callable[[str], str]
) -> None:
    write_beir(tmp_path, train=change(BEIR_TRAIN))
    _, splits, bad_rows = read(tmp_path, "beir")
    assert [judged(row) for row in splits["train"]] == [Q1, Q2]
    assert bad_rows.count == 0


def test_lines_of_one_query_need_not_follow_each_other_in_qrels(tmp_path: Path) -> None:
    write_beir(tmp_path, train="q1\td1\t1\nq2\td2\t1\nq1\td2\t0\nq2\td3\t1\nq1\td3\t0\n")
    assert [judged(row) for row in read(tmp_path, "beir")[1]["train"]] == [Q1, Q2]


def test_graded_judgments_of_beir_are_kept(tmp_path: Path) -> None:
    write_beir(tmp_path, train="q1\td1\t3\nq1\td2\t-1\n")
    assert judged(read(tmp_path, "beir")[1]["train"][0])[2] == [("d1", 3), ("d2", -1)]


def test_numbers_serve_as_ids(tmp_path: Path) -> None:
    write_rows(tmp_path / "corpus.jsonl", [{"docid": 7, "text": "text"}])
    write_rows(tmp_path / "train.jsonl", [{"query_id": 0, "query": "q", "positive_passages": [{"docid": 7}]}])
    corpus, splits, bad_rows = read(tmp_path, "mldr")
    assert (corpus, [judged(row) for row in splits["train"]]) == ([("7", "text")], [("0", "q", [("7", 1)])])
    assert bad_rows.count == 0


def test_splits_can_be_read_again(tmp_path: Path) -> None:
    write_mldr(tmp_path)
    layout = open_layout(tmp_path, "mldr", "zh", BadRows(None))
    assert [row.id for row in layout.corpus()] == [row.id for row in layout.corpus()]
    assert [judged(row) for row in layout.splits["train"]()] == [judged(row) for row in layout.splits["train"]()]


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
    ("mldr", TRIPLETS[0], "'query_id' is missing or not an id; it looks like dataset.format: triplets"),
    ("mldr", PAIRS[0], "'query_id' is missing or not an id; it looks like dataset.format: pairs"),
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
        "'pos' is missing or not a list of texts; it looks like dataset.format: mldr",
    ),
    ("triplets", PAIRS[0], "'pos' is missing or not a list of texts; it looks like dataset.format: pairs"),
    ("pairs", without(GOOD["pairs"], "query"), "'query' is missing"),
    ("pairs", without(GOOD["pairs"], "pos_doc"), "'pos_doc' is missing"),
    ("pairs", {**GOOD["pairs"], "pos_doc": "\t"}, "'pos_doc' is empty"),
    ("pairs", {**GOOD["pairs"], "pos_doc": ["x"]}, "'pos_doc' is not a text"),
    ("pairs", TRIPLETS[0], "'pos_doc' is missing; it looks like dataset.format: triplets"),
    ("pairs", MLDR["train"][0], "'pos_doc' is missing; it looks like dataset.format: mldr"),
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
        ("q1\t0\td1\t1", SHAPE),
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


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbedTuneError) as caught:
        read(tmp_path / "raw", "mldr")
    assert str(caught.value) == f"{tmp_path}/raw: no such directory; the download stage makes it"


@pytest.mark.parametrize("layout_format", ["mldr", "triplets", "pairs"])
def test_a_directory_without_a_train_split_is_named_with_what_it_holds(tmp_path: Path, layout_format: str) -> None:
    for name in ("a.txt", "b.csv"):
        (tmp_path / name).write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(EmbedTuneError) as caught:
        read(tmp_path, layout_format)
    assert str(caught.value) == (
        f"{tmp_path}: no train.jsonl or train.jsonl.gz, which dataset.format: {layout_format} needs; "
        "found a.txt, b.csv, folder/; check dataset.path, dataset.format and dataset.language"
    )


def test_an_empty_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbedTuneError) as caught:
        read(tmp_path, "beir")
    assert str(caught.value) == (
        f"{tmp_path}: dataset.format: beir needs corpus.jsonl, queries.jsonl (plain or .gz) and qrels/train.tsv; "
        "found nothing; check dataset.path and dataset.format"
    )


@pytest.mark.parametrize("missing", ["corpus.jsonl", "queries.jsonl", "qrels/train.tsv"])
def test_a_beir_directory_that_lacks_a_file_is_refused(tmp_path: Path, missing: str) -> None:
    write_beir(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(EmbedTuneError, match=r"dataset\.format: beir needs corpus"):
        read(tmp_path, "beir")


@pytest.mark.parametrize("actual", FORMATS)
@pytest.mark.parametrize("declared", FORMATS)
def test_a_directory_in_another_format_is_told_from_the_declared_one(
    tmp_path: Path, actual: str, declared: str
) -> None:
    if actual == "beir":
        write_beir(tmp_path)
    elif actual == "mldr":
        write_mldr(tmp_path)
    else:
        write_rows(tmp_path / "train.jsonl", {"triplets": TRIPLETS, "pairs": PAIRS}[actual])
    if actual == declared:
        read(tmp_path, declared)[2].raise_if_fatal()
        return
    with pytest.raises(EmbedTuneError) as caught:
        read(tmp_path, declared)[2].raise_if_fatal()
    assert f"dataset.format: {actual}" in str(caught.value)
