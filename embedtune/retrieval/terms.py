"""Tokenisers for lexical matching: character bigrams in scripts without spaces and words elsewhere, or jieba."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f\U00020000-\U0003ffff"  # Han, kana, Thai
_RUNS = re.compile(rf"([{_UNSPACED}]+)|([^\W_{_UNSPACED}]+)")

Terms = Callable[[str], list[str]]


def lexical_tokenizer(tokenizer: str) -> Terms:
    """The function that gives a text's terms: `bigrams` is `terms`, `jieba` segments Chinese into words."""
    if tokenizer == "bigrams":
        return terms
    import jieba

    jieba.setLogLevel(logging.WARNING)  # otherwise it logs to stderr that it builds its dictionary
    return lambda text: [word for word in jieba.lcut(text.lower()) if any(c.isalnum() for c in word)]


def terms(text: str) -> list[str]:
    """The terms of a text in lower case, in order, with repetitions.

    A run of Han, kana or Thai characters gives its character bigrams, or itself if it is a single character. Any other
    run of letters and digits is one word.
    """
    found: list[str] = []
    for match in _RUNS.finditer(text.lower()):
        unspaced, word = match.groups()
        if word or len(unspaced) == 1:
            found.append(match.group())
        else:
            found.extend(unspaced[i : i + 2] for i in range(len(unspaced) - 1))
    return found
