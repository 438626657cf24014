"""Data sets made to do harm: each is refused in clear lines with nothing written, or converted whole and readable."""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedtune.config import paths
from embedtune.config.reading import load_params
from embedtune.config.schema import Params
from embedtune.core.errors import EmbedTuneError
from embedtune.core.visible import CONTROLS
from embedtune.data.corpus import SPLITS, read_corpus, read_queries
from embedtune.data.layouts.beir import LARGEST_JUDGMENT
from stages import convert

ROOT = Path(__file__).resolve().parents[2]
BOUNDED = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
PARAMS = load_params(ROOT / "profiles" / "default.yaml")
OUTPUTS = {"corpus.jsonl", "qrels", "queries", "skipped.jsonl"}
NUMBERS = range(12)
FILES: dict[str, dict[str, list[Any]]] = {  # of a small sound data set: rows, or whole lines
    "mldr": {
        "corpus.jsonl": [{"docid": f"d{i}", "text": f"文 {i}"} for i in NUMBERS],
        "train.jsonl": [
            {"query_id": f"q{i}", "query": f"问 {i}", "positive_passages": [{"docid": f"d{i}"}]} for i in NUMBERS
        ],
    },
    "beir": {
        "corpus.jsonl": [{"_id": f"d{i}", "title": "t", "text": f"文 {i}"} for i in NUMBERS],
        "queries.jsonl": [{"_id": f"q{i}", "text": f"问 {i}"} for i in NUMBERS],
        "qrels/train.tsv": ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in NUMBERS)],
    },
    "triplets": {
        "train.jsonl": [
            {"query": f"问 {i}", "pos": [f"文 {i}"], "neg": ["x"], "pos_scores": [1.0], "neg_scores": [0]}
            for i in NUMBERS
        ]
    },
    "pairs": {"train.jsonl": [{"query": f"问 {i}", "pos_doc": f"文 {i}"} for i in NUMBERS]},
    "scored": {
        "train.jsonl": [
            {"key": f"k{i}", "query": f"问 {i}", "doc": f"文 {i}", "rel": i % 5 / 4, "weight": 1 + i % 2}
            for i in NUMBERS
        ]
    },
}

ODD = st.sampled_from(
    [
        "",
        " ",
        "\0",
        "a\0b",
        "\x1b[31m",
        "a\tb",
        "a\nb",
        "=1+1",
        "../x",
        "x" * 3000,
        0,
        -1,
        2**31,
        10**30,
        1e308,
        None,
        True,
        [],
        {},
    ]
)
VALUES = st.recursive(
    ODD | st.text(max_size=10) | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)
LINES = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(str.encode),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(
        [
            *(b"q1\td1\t%d" % score for score in (2**31, -(2**40), 10**30, 10**400)),
            *(b"[" * 5000, b'{"a":' * 3000, b'{"query": "\\ud800"}', b"\xff\xfe", b"\x1f\x8b", b"{}", b"[]", b"null"),
            *(b'{"query": 1e999}', b'{"query": NaN}', b'{"_id": "q1", "_id": "q2", "text": "x"}', b"\r", b"\t\t\t"),
        ]
    ),
)


def place(draw: Callable[[st.SearchStrategy[Any]], Any], lines: list[Any]) -> None:
    """Change one line: put another in its place, set one of its keys, cut it, or repeat it."""
    number = draw(st.integers(0, len(lines) - 1))
    how = draw(st.sampled_from(["line", "key", "cut", "again"]))
    if how == "again":
        lines.append(lines[number])
    elif how == "key" and isinstance(lines[number], dict):
        lines[number] = {**lines[number], draw(st.sampled_from(sorted(lines[number]))): draw(VALUES)}
    elif how == "cut":
        whole = encoded(lines[number])
        lines[number] = whole[: draw(st.integers(0, len(whole)))]
    else:
        lines[number] = draw(LINES)


def encoded(line: Any) -> bytes:
    if isinstance(line, bytes):
        return line
    return (line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)).encode()


@st.composite
def hostile(draw: Callable[[st.SearchStrategy[Any]], Any], layout: str) -> dict[str, bytes]:
    """The files of a data set of which up to three lines are changed, and perhaps a file cut or compressed."""
    rows = copy.deepcopy(FILES[layout])
    for _ in range(draw(st.integers(1, 3))):
        place(draw, rows[draw(st.sampled_from(sorted(rows)))])
    files = {name: b"\n".join(map(encoded, lines)) for name, lines in rows.items()}
    name = draw(st.sampled_from(sorted(files)))
    damage = draw(st.sampled_from(["none", "none", "cut", "gzip", "cut gzip", "gone"]))
    content = files[name]
    if "gzip" in damage and name.endswith(".jsonl"):
        del files[name]
        name, content = f"{name}.gz", gzip.compress(content)
    if "cut" in damage:
        content = content[: draw(st.integers(0, len(content)))]
    files[name] = content
    if damage == "gone":
        del files[name]
    return files


def converted(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], layout: str, on_bad_row: str) -> str | None:
    """What the stage says of a data set that it refuses; None if it converts it, and all of it can be read."""
    changes = {"source": "local", "format": layout, "on_bad_row": on_bad_row, "dev_queries": 0}
    params: Params = PARAMS.model_copy(update={"dataset": PARAMS.dataset.model_copy(update=changes)})
    monkeypatch.setattr(convert, "stage_params", lambda: params)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, content in files.items():
            (paths.RAW / name).parent.mkdir(parents=True, exist_ok=True)
            (paths.RAW / name).write_bytes(content)
        paths.RAW.mkdir(parents=True, exist_ok=True)
        try:
            convert.main()
        except EmbedTuneError as error:
            assert [path.name for path in paths.DATA.iterdir()] == ["raw"], "nothing half-written"
            assert not paths.DATA_COUNTS.exists()
            return str(error)
        assert {path.name for path in paths.DATA.iterdir()} == {"raw", *OUTPUTS}
        known = {document.id for document in read_corpus(paths.CORPUS)}
        for split in SPLITS:
            for query in read_queries(paths.QUERIES, paths.QRELS, split):
                assert set(query.judgments) <= known and (query.relevant() or layout == "scored")
                assert all(abs(score) <= LARGEST_JUDGMENT for score in query.judgments.values())
    return None


@pytest.mark.parametrize("layout", FILES)
def test_the_sound_data_set_is_converted(monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    files = {name: b"\n".join(map(encoded, rows)) for name, rows in FILES[layout].items()}
    assert converted(monkeypatch, files, layout, "fail") is None


@pytest.mark.parametrize("layout", FILES)
@BOUNDED
@given(st.data())
def test_hostile_data_sets_are_refused_or_converted(layout: str, data: st.DataObject) -> None:
    files, on_bad_row = data.draw(hostile(layout)), data.draw(st.sampled_from(["fail", "skip"]))
    with pytest.MonkeyPatch.context() as monkeypatch:
        message = converted(monkeypatch, files, layout, on_bad_row)
    if message is not None:
        for line in message.split("\n"):
            assert not CONTROLS.search(line) and len(line) < 4500, line


@pytest.mark.parametrize("score", ["1001", "-1001", "2147483648", "1" + "0" * 30, "9" * 5000])
def test_a_judgment_that_would_stall_the_evaluation_is_refused_where_it_stands(
    monkeypatch: pytest.MonkeyPatch, score: str
) -> None:
    files = {name: b"\n".join(map(encoded, rows)) for name, rows in FILES["beir"].items()}
    files["qrels/train.tsv"] += f"\nq1\td1\t{score}".encode()
    message = converted(monkeypatch, files, "beir", "fail")
    assert message is not None
    assert message.split("\n")[0].endswith("qrels/train.tsv:14: expected a score from -1000 to 1000")


def test_a_teachers_score_beyond_float32_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*FILES["triplets"]["train.jsonl"], {**FILES["triplets"]["train.jsonl"][0], "pos_scores": [1e300]}]
    message = converted(monkeypatch, {"train.jsonl": b"\n".join(map(encoded, rows))}, "triplets", "fail")
    assert message is not None and "train.jsonl:13: 'pos_scores' holds a number beyond 1000000" in message
