r"""Classes of Unicode characters that `re` has no name for, as ranges to stand between the brackets of a pattern.

Python's `\w` and `str.isalnum` leave out combining marks, which half of the world's scripts write vowels with: without
them the Hindi for "boy" and for "girl" are the same letters, and a Hindi word is a row of single consonants.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

# Characters that show nothing themselves and part no words: the soft hyphen, joiners, marks of direction, variation
# selectors. The zero-width space (U+200B) is none of them: it is what stands between words in some scripts.
INVISIBLE = "\u00ad\u034f\u061c\u200c-\u200f\u2060\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef"
_INVISIBLE = re.compile(f"[{INVISIBLE}]")


def without_invisible(text: str) -> str:
    """The text without its INVISIBLE characters."""
    return text if text.isascii() else _INVISIBLE.sub("", text)


def _ranges(characters: Iterable[int]) -> Iterator[str]:
    """Yield runs of consecutive code points as `a-b`; `characters` are ascending."""
    first = last = -2
    for character in characters:
        if character != last + 1:
            if first >= 0:
                yield f"{chr(first)}-{chr(last)}"
            first = character
        last = character
    yield f"{chr(first)}-{chr(last)}"


# Combining marks (Unicode's general category M), the variation selectors apart. All stand below U+20000.
MARKS = "".join(
    _ranges(c for c in range(0x300, 0x20000) if unicodedata.category(chr(c))[0] == "M" and not _INVISIBLE.match(chr(c)))
)
