"""What download and convert write and say about data of the user's own."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from embedtune.core.errors import EmbedTuneError
from embedtune.data.corpus import Query, read_queries
from stages import convert, download
from tests.unit.converting import Rows, write_rows

DEFAULTS = Path(__file__).resolve().parents[2] / "profiles" / "default.yaml"
Run = tuple[list[str], dict[str, Any]]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")


def run(capsys: pytest.CaptureFixture[str], layout_format: str = "pairs", **dataset: Any) -> Run:
    """(what convert says, metrics/data.json) of the data in ../own."""
    yaml = YAML()
    params = yaml.load(DEFAULTS)
    params["dataset"].update(source="local", path="../own", format=layout_format, leak_similarity=1.0, **dataset)
    with Path("params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(params, file)
    download.main()
    capsys.readouterr()
    convert.main()
    lines = [line.removeprefix("convert: ") for line in capsys.readouterr().err.splitlines() if line[:8] == "convert:"]
    return lines, json.loads(Path("metrics/data.json").read_bytes())


def asked(split: str) -> list[Query]:
    return read_queries(Path("data/queries"), Path("data/qrels"), split)


def pairs(prefix: str, count: int) -> Rows:
    return [{"query": f"{prefix} {i * 7919 % 104729}", "pos_doc": f"{prefix} says {i}"} for i in range(count)]


def write_splits(**rows: Rows) -> None:
    for split, content in rows.items():
        write_rows(Path("../own") / f"{split}.jsonl", content)


def test_a_dev_split_that_is_topped_up_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    train = pairs("train", 100)
    write_splits(train=train, dev=pairs("develop", 12), test=[*pairs("examine", 12), *train[:50]])
    lines, counts = run(capsys, dev_queries=30)
    assert (
        "dev has 12 questions of its own, fewer than dataset.dev_queries (30): 18 more are taken from train, by "
        "document (dataset.split_by: auto); 0% of dev's ask for a document that training questions ask for too"
    ) in lines
    assert (counts["dev_queries"], counts["dev_queries_from_train"], counts["dev_queries_equal_to_test"]) == (30, 18, 0)
    assert (
        "50 training questions are (nearly) asked in dev or test too; left in train (dataset.remove_leaks: true "
        in ("\n".join(lines))
    )


def test_leaks_of_dev_into_test_are_said_and_removed_where_asked(capsys: pytest.CaptureFixture[str]) -> None:
    dev = pairs("develop", 12)
    write_splits(train=pairs("train", 40), dev=dev, test=dev[:3])
    lines, counts = run(capsys, dev_queries=0)
    said = "3 dev questions are (nearly) asked in test too; left in dev (dataset.remove_leaks: true would remove them)"
    assert said in lines and counts["dev_queries"] == 12
    lines, counts = run(capsys, dev_queries=0, remove_leaks=True)
    assert "3 dev questions are (nearly) asked in test too; removed from dev" in lines
    assert (counts["dev_queries"], counts["dev_queries_removed"], len(asked("dev"))) == (9, 3, 9)


def test_equal_documents_are_counted_and_judged_alike_where_asked(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"query_id": f"q{i}", "query": f"question {i * 7919}", "positive_passages": [{"docid": f"d{i}"}]}
        for i in range(10)
    ]
    texts = [*(f"text {i}" for i in range(10)), "text 0", "text 1", "text 1"]
    write_rows(Path("../own/corpus.jsonl"), [{"docid": f"d{i}", "text": text} for i, text in enumerate(texts)])
    write_splits(train=rows[2:], dev=rows[:1], test=rows[1:2])
    lines, counts = run(capsys, "mldr", dev_queries=0)
    assert (
        "5 documents have the text of another; some questions (0 train, 1 dev, 1 test) have only one of them as "
        "relevant, and no system can tell which; dataset.judge_equal_documents_alike: true judges them alike"
    ) in lines
    assert counts["documents_with_equal_text"] == 5 and asked("test")[0].judgments == {"d1": 1}
    lines, counts = run(capsys, "mldr", dev_queries=0, judge_equal_documents_alike=True)
    assert not any("text of another" in line for line in lines)
    assert counts["documents_with_equal_text"] == 5 and counts["test_queries_with_equal_documents"] == 0
    assert asked("test")[0].judgments == {"d1": 1, "d11": 1, "d12": 1}


def test_questions_that_are_documents_are_counted_and_ignore_them_where_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = pairs("train", 10)
    write_splits(train=rows, dev=pairs("develop", 2), test=[{"query": rows[0]["pos_doc"], "pos_doc": "an answer"}])
    lines, counts = run(capsys, dev_queries=0)
    said = "some questions (0 train, 0 dev, 1 test) are themselves documents, which are not relevant to them; "
    told = "every system ranks such a document first; dataset.ignore_identical_text: true leaves it out"
    assert said + told in lines and counts["test_queries_that_are_documents"] == 1
    assert asked("test")[0].ignored == []
    lines, counts = run(capsys, dev_queries=0, ignore_identical_text=True)
    assert said + "each is left out of its question's rankings and negatives" in lines
    assert counts["test_queries_that_are_documents"] == 1
    assert asked("test")[0].ignored == asked("train")[0].relevant()


def test_what_is_not_read_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    write_splits(train=[row | {"prompt": "find", "type": "normal"} for row in pairs("train", 10)])
    write_rows(Path("../own/corpus.jsonl"), [{"text": "train says 0"}])
    Path("../own/validation.jsonl").write_text("", encoding="utf-8")
    lines, counts = run(capsys)
    assert lines[1:5] == [
        "files beside the data that are not read: validation.jsonl",
        "keys of rows that are not read: prompt (10 rows), type (10 rows)",
        "every question gets model.query_instruction, whatever its row's prompt is",
        "9 documents of rows are not in the corpus; they are added to it",
    ]
    assert counts["unread_keys"] == {"prompt": 10, "type": 10}


def test_a_plain_data_set_gives_no_remark(capsys: pytest.CaptureFixture[str]) -> None:
    write_splits(train=pairs("train", 10), dev=pairs("develop", 2), test=pairs("examine", 2))
    lines, _ = run(capsys, dev_queries=0)
    assert lines == ["wrote 14 documents to data/corpus.jsonl; questions: 10 train, 2 dev, 2 test"]


@pytest.mark.parametrize("fault", ["no-train", "broken-gzip", "bad-row"])
def test_errors_name_the_users_own_folder(capsys: pytest.CaptureFixture[str], fault: str) -> None:
    own = Path("../own")
    if fault == "no-train":
        write_splits(a=pairs("a", 3), b=pairs("b", 3))
    elif fault == "broken-gzip":
        own.mkdir()
        (own / "train.jsonl.gz").write_bytes(gzip.compress(json.dumps(pairs("a", 1)[0]).encode())[:-9])
    else:
        write_splits(train=[{"query": "q", "pos_doc": ""}])
    with pytest.raises(EmbedTuneError) as caught:
        run(capsys)
    assert str(caught.value).startswith("../own") and "data/raw" not in str(caught.value)
    assert not Path("data/corpus.jsonl").exists()
