"""Texts of strangers on a terminal, in Markdown, in a pipe and in a spreadsheet: shown, never obeyed."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from embedtune.commands import rank
from embedtune.commands.compare import changed_questions
from embedtune.core import cli
from embedtune.core.errors import EmbedTuneError
from embedtune.core.visible import json_text, one_line, visible
from embedtune.evaluation.per_query import read_scores, read_slices, write_by_query
from embedtune.mining.mined_rows import sample_text
from embedtune.retrieval.answers import Answer

HOSTILE = "a\x1b[2J\x1b]0;title\x07b\r\x9b31mc\u202egnp\ud800"


def test_what_a_terminal_would_obey_is_shown_and_what_people_write_stays() -> None:
    assert visible(HOSTILE) == r"a\x1b[2J\x1b]0;title\x07b\r\x9b31mc\u202egnp\ud800"
    written = "हिन्दी\u200d भाषा\u200c, שלום\u200f, 中文\u3000。\n\tالعربية 👩\u200d👩"
    assert visible(written) == written
    assert one_line(" 一 \n\n two\x1b[0m ") == r"一 two\x1b[0m"
    rows = [{"text": HOSTILE[:-1]}]
    assert json.loads(json_text(rows)) == rows
    assert not set("\x1b\x9b\u202e") & set(json_text(rows))


def test_results_lines_and_errors_are_visible(capsys: pytest.CaptureFixture[str]) -> None:
    cli.show("id \x1b[31m")
    cli.say("id \x1b[31m")
    assert capsys.readouterr() == ("id \\x1b[31m\n", "id \\x1b[31m\n")

    def main() -> None:
        raise EmbedTuneError("row \x1b[31m\nrow 2")

    with pytest.raises(SystemExit, match=r"error: row \\x1b\[31m\nrow 2"):
        cli.run(main)


def test_compare_lists_a_question_on_one_line() -> None:
    scores = [pd.Series([value, 0.5], index=["q1", "q2"], name="ndcg@10") for value in (0.0, 1.0)]
    told = changed_questions(*scores, {"q1": "what\n is\x1b[2J it"}, 3)
    assert told.splitlines()[1] == r"  0.0000 -> 1.0000  q1  what is\x1b[2J it"


def test_rank_shows_passages_on_a_line_and_says_where_scores_tell_nothing() -> None:
    calibration = {"method": "platt", "scale": 0.0, "shift": 0.0}
    found = [Answer("d1", 0.5, "what\n is\x1b[2J it")]
    assert rank.table(found, calibration).splitlines()[1:] == [
        r"     what is\x1b[2J it",
        "The first document is right with a probability of 0.50, by its score (learned on dev).",
    ]
    flat = rank.table(found, calibration | {"flat": "of 40 dev questions none had a right first document"})
    assert (
        "0.50, whatever its score, since of 40 dev questions none had a right first document (learned on dev)" in flat
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_a_character_gets_its_escape(encoding: str) -> None:
    program = "from embedtune.core import cli; cli.run(lambda: cli.show('土 → é'))"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == "土 → é\n".encode(encoding, errors="backslashreplace")


def test_a_short_result_whose_reader_is_gone_is_nobodys_error() -> None:
    """All of it fits into Python's buffer, so that only the last flush finds the pipe closed."""
    program = "import sys; from embedtune.core import cli; sys.stdin.read(); cli.run(lambda: cli.show('x'))"
    pipe = subprocess.PIPE
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=buffered) as done:
        assert done.stdin is not None and done.stdout is not None and done.stderr is not None
        done.stdout.close()
        done.stdin.close()
        assert (done.stderr.read(), done.wait()) == (b"", 1)


def test_a_sample_of_mined_rows_shows_html_and_markdown_as_they_stand() -> None:
    texts = ["<script>alert(1)</script> &amp;", "![x](http://h/y.png) [a](javascript:b) `c` *d* _e_ | f \\ \x1b[0m"]
    row = {"query": "<img src=x onerror=y> a|b", "pos_ids": ["<b>"], "pos_mining_scores": [0.5], "pos": texts[:1]}
    row |= {"neg_mining_scores": [0.4], "neg_kinds": ["hard"], "neg_ids": ["d|1"], "neg_ranks": [2], "neg": texts[1:]}
    markdown = sample_text([row])
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown)
    inline = [token for token in tokens if token.type == "inline"]
    kinds = {child.type for token in inline for child in token.children or []}
    assert not {"html_block", "html_inline", "image", "link_open", "em_open", "strong_open"} & (
        kinds | {token.type for token in tokens}
    )
    shown = ["".join(child.content for child in token.children or []) for token in inline]
    assert "<img src=x onerror=y> a|b" in shown and texts[0] in shown and "d|1" in shown and "<b>" in shown
    assert texts[1].replace("\x1b", r"\x1b") in shown


def test_ids_that_a_spreadsheet_takes_for_formulas_are_marked_and_read_back(tmp_path: Path) -> None:
    ids = ['=HYPERLINK("http://h")', "+1", "-1", "@x", "'quoted", "plain", "07", "NA", "\tx", "a=b"]
    scores = pd.DataFrame({"ndcg@10": [0.5] * len(ids)}, index=pd.Index(ids, name="query_id"))
    write_by_query(scores, tmp_path / "scores.csv")
    cells = [row[0] for row in csv.reader(io.StringIO((tmp_path / "scores.csv").read_text(), newline=""))][1:]
    assert not [cell for cell in cells if cell[0] in "=+-@\t\r"]
    assert cells[5:8] == ["plain", "07", "NA"]
    pd.testing.assert_frame_equal(read_scores(tmp_path / "scores.csv"), scores)
    write_by_query(scores.astype(str).rename(columns={"ndcg@10": "query_length"}), tmp_path / "slices.csv")
    assert list(read_slices(tmp_path / "slices.csv").index) == ids
