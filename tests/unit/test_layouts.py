"""The layouts a data set may come in: what each gives, and how each names the rows and directories it cannot use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedtune.core.errors import EmbedTuneError
from embedtune.data.layouts.opening import FORMATS, open_layout
from embedtune.data.layouts.rows import BadRows
from tests.unit.layouts import (
    BEIR_CORPUS,
    BEIR_DEV,
    BEIR_QUERIES,
    BEIR_TRAIN,
    MLDR,
    PAIRS,
    SCORED,
    TRIPLETS,
    Rows,
    judged,
    read,
    texts,
    write_beir,
    write_mldr,
    write_rows,
)

Q1 = ("q1", "一？", [("d1", 1), ("d2", 0), ("d3", 0)])
Q2 = ("q2", "two?", [("d2", 1), ("d3", 1)])
Q3 = ("q3", "three?", [("d3", 1)])


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
        f"{tmp_path}: no train.jsonl or train.jsonl.gz, which `format: mldr` needs; found mldr-v1.0-en/; "
        "check `path`, `format` and `language`"
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


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbedTuneError) as caught:
        read(tmp_path / "raw", "mldr")
    assert str(caught.value) == f"{tmp_path}/raw: no such directory"


@pytest.mark.parametrize("layout_format", ["mldr", "triplets", "pairs"])
def test_a_directory_without_a_train_split_is_named_with_what_it_holds(tmp_path: Path, layout_format: str) -> None:
    for name in ("a.txt", "b.csv"):
        (tmp_path / name).write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(EmbedTuneError) as caught:
        read(tmp_path, layout_format)
    assert str(caught.value) == (
        f"{tmp_path}: no train.jsonl or train.jsonl.gz, which `format: {layout_format}` needs; "
        "found a.txt, b.csv, folder/; check `path`, `format` and `language`"
    )


def test_an_empty_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbedTuneError) as caught:
        read(tmp_path, "beir")
    assert str(caught.value) == (
        f"{tmp_path}: `format: beir` needs corpus.jsonl, queries.jsonl (plain or .gz) and qrels/train.tsv; "
        "found nothing; check `path` and `format`"
    )


@pytest.mark.parametrize("missing", ["corpus.jsonl", "queries.jsonl", "qrels/train.tsv"])
def test_a_beir_directory_that_lacks_a_file_is_refused(tmp_path: Path, missing: str) -> None:
    write_beir(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(EmbedTuneError, match="`format: beir` needs corpus"):
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
        write_rows(tmp_path / "train.jsonl", {"triplets": TRIPLETS, "pairs": PAIRS, "scored": SCORED}[actual])
    if actual == declared:
        read(tmp_path, declared)[2].raise_if_fatal()
        return
    with pytest.raises(EmbedTuneError) as caught:
        read(tmp_path, declared)[2].raise_if_fatal()
    assert f"`format: {actual}`" in str(caught.value)


@pytest.mark.parametrize("layout_format", ["pairs", "triplets", "mldr", "beir"])
def test_data_files_that_are_not_read_are_named(tmp_path: Path, layout_format: str) -> None:
    write_beir(tmp_path) if layout_format == "beir" else write_mldr(tmp_path)
    for name in ("README.md", "validation.jsonl", "extra.csv", "labels.json.gz"):
        (tmp_path / name).write_text("", encoding="utf-8")
    named = ["extra.csv", "labels.json.gz", "validation.jsonl"]
    if layout_format == "beir":
        (tmp_path / "qrels" / "train_full.tsv").write_text("", encoding="utf-8")
        named.append("qrels/train_full.tsv")
    assert open_layout(tmp_path, layout_format, "zh", BadRows(None)).unread == named
