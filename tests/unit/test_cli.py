"""How programs end: what users can mend is one message, and a closed pipe is nobody's error."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from embedtune.core import cli
from embedtune.core.errors import EmbedTuneError

PRINTING = "from embedtune.core import cli; cli.run(lambda: [print('x' * 1000) for _ in range(5000)])"


def ended(main, **options) -> object:  # type: ignore[no-untyped-def]
    with pytest.raises(SystemExit) as caught:
        cli.run(main, **options)
    return caught.value.code


def test_an_error_is_one_message_in_the_words_of_who_explains_it() -> None:
    def main() -> None:
        raise EmbedTuneError("nothing there")

    assert ended(main) == "error: nothing there"
    assert ended(main, explain=lambda error: f"in short: {error}") == "error: in short: nothing there"


def test_a_full_disk_and_an_interruption_say_how_to_go_on() -> None:
    def full() -> None:
        raise OSError(28, "No space left on device", "data/x")

    def interrupted() -> None:
        raise KeyboardInterrupt

    assert ended(full, again="type it again") == "error: the disk is full (data/x); make room, then type it again"
    assert ended(interrupted, again="type it again") == "interrupted; type it again"


def test_other_errors_keep_their_traceback() -> None:
    def main() -> None:
        raise ValueError("a fault of the program")

    with pytest.raises(ValueError, match="a fault of the program"):
        cli.run(main)


def test_a_reader_that_closes_the_pipe_sees_no_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PRINTING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None and program.stderr is not None
        assert program.stdout.readline().startswith("xxx")
        program.stdout.close()
        assert program.stderr.read() == ""
        assert program.wait() == 1


def test_what_is_said_stands_in_a_log_too(tmp_path: Path) -> None:
    """With its time; an error and a traceback as well. A second run replaces the first one's lines."""
    log = tmp_path / "logs" / "stage.log"
    begin = f"from pathlib import Path\nfrom embedtune.core import cli\ncli.log_to(Path({str(log)!r}))\n"
    run = "from embedtune.core.errors import EmbedTuneError\ndef main():\n    cli.say('going')\n    {}\ncli.run(main)\n"
    for statement, last in (
        ("raise EmbedTuneError('no such file')", "error: no such file"),
        ("raise ValueError('odd')", "ValueError: odd"),
        ("cli.say('done')", "done"),
    ):
        subprocess.run([sys.executable, "-c", begin + run.format(statement)], capture_output=True, check=False)
        lines = log.read_text(encoding="utf-8").splitlines()
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d going", lines[0])
        assert [line for line in lines if line.strip()][-1].endswith(last)


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").write_text("a file in the way")
    try:
        cli.log_to(tmp_path / "logs" / "stage.log")
        cli.say("going on")
    finally:
        cli._log.clear()
    assert capsys.readouterr().err == "going on\n"
