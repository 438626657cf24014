"""The one exception that users see, and a collector that reports every problem of an input at once."""

from __future__ import annotations

SHOWN_PROBLEMS = 20  # more than a screenful helps nobody; the count says how many there are


class EmbedTuneError(Exception):
    """A problem the user can mend. The text names the place, what was found there and what would be right."""


class Problems:
    """Collects the problems of one input, so that they are reported together rather than one per run."""

    def __init__(self) -> None:
        self.count = 0
        self._shown: list[str] = []

    def add(self, where: str, what: str) -> None:
        """Record one problem: `where` is a file with its line or key, `what` is what is wrong and how to mend it."""
        self.count += 1
        if self.count <= SHOWN_PROBLEMS:
            self._shown.append(f"{where}: {what}")

    def text(self) -> str:
        """All problems, one a line: the first twenty, then how many more there are."""
        more = self.count - len(self._shown)
        return "\n".join([*self._shown, *([f"… and {more} more"] if more else [])])

    def raise_if_any(self, hint: str = "") -> None:
        """Raise EmbedTuneError listing the problems, with `hint` as its last line; do nothing if there are none."""
        if self.count:
            raise EmbedTuneError("\n".join(part for part in (self.text(), hint) if part))
