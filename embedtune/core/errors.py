"""The exceptions that users see, and a collector that reports all problems of an input at once."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from embedtune.core.visible import visible

SHOWN_PROBLEMS = 20  # about a screenful; the message gives the number of the rest
SHOWN_CHARACTERS = 200  # of a value that a message repeats
LONGEST_LINE = 2_000  # characters of a line of a message


class EmbedTuneError(Exception):
    """A problem that the user can fix. The text names the place, what was found there and what would be right.

    The text names parameters in backticks without their section, such as `max_tokens`. A caller that knows the section
    (a stage, for example) can add it.
    """


class ParameterError(EmbedTuneError):
    """A parameter has an invalid value. `parameter` is its name, `problem` says what was found and what is valid."""

    def __init__(self, parameter: str, problem: str) -> None:
        super().__init__(f"{parameter}: {problem}")
        self.parameter, self.problem = parameter, problem


@contextlib.contextmanager
def naming(folder: str, name: str) -> Iterator[None]:
    """Let EmbedTuneErrors from inside say the path `name` where they say `folder`, of which it was copied."""
    try:
        yield
    except EmbedTuneError as error:
        pattern = re.compile(rf"(?<![\w./-]){re.escape(folder)}(?=[/:])")
        error.args = tuple(pattern.sub(lambda _: name, text) for text in error.args)
        raise


def shown(value: object) -> str:
    """A value as Python writes it, for a message: on one line, and cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # of a whole number of more digits than Python converts
        return "a whole number of thousands of digits"
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"


def message_line(text: str) -> str:
    """`text` as one line of a message: control characters and line ends are written as escapes, and it is cut."""
    text = text if len(text) <= LONGEST_LINE else f"{text[: LONGEST_LINE - 1]}…"
    return visible(text).replace("\n", "\\n")


class Problems:
    """Collects the problems of one input, so that one run reports all of them."""

    def __init__(self) -> None:
        self.count = 0
        self._shown: list[str] = []

    def add(self, where: str, what: str, shown: bool = True) -> None:
        """Record one problem: `where` is a file with its line or key, `what` says what is wrong and how to fix it.

        One that is not `shown` is counted alone.
        """
        self.count += 1
        if shown and len(self._shown) < SHOWN_PROBLEMS:
            self._shown.append(f"{message_line(where)}: {message_line(what)}")

    def text(self) -> str:
        """The problems, one per line: the first `SHOWN_PROBLEMS`, then the number of the others."""
        more = self.count - len(self._shown)
        return "\n".join([*self._shown, *([f"… and {more} more"] if more else [])])

    def raise_if_any(self, hint: str = "") -> None:
        """Raise EmbedTuneError listing the problems, with `hint` as its last line; do nothing if there are none."""
        if self.count:
            raise EmbedTuneError("\n".join(part for part in (self.text(), hint) if part))
