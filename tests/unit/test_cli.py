"""How programs end: what users can mend is one message, and a closed pipe is nobody's error."""

import subprocess
import sys

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
