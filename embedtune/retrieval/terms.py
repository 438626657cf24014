"""Tokenisers for lexical matching: character bigrams in scripts without spaces and words elsewhere, or jieba."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable

from embedtune.core.characters import MARKS, without_invisible

_HAN = "\u4e00-\u9fd5"  # what jieba takes for Chinese
_UNSPACED = (  # Han, kana, Thai, Lao, Myanmar, Khmer; their marks, but not their punctuation
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0eff\U00020000-\U0003ffff"
    "\u1000-\u1049\u1050-\u109f\u1780-\u17d3\u17d7\u17dc-\u17e9"
)
_RUNS = re.compile(rf"([{_UNSPACED}]+)|([^\W_{_UNSPACED}](?:[^\W_{_UNSPACED}]|[{MARKS}])*)")
_NOT_FOR_JIEBA = re.compile(rf"[a-z0-9]*[^\W_a-z0-9{_HAN}](?:[^\W_{_HAN}]|[{MARKS}])*")  # it cuts these into letters

Terms = Callable[[str], list[str]]


def lexical_tokenizer(tokenizer: str) -> Terms:
    """The function that gives a text's terms: `bigrams` is `terms`, `jieba` segments Chinese into words."""
    if tokenizer == "bigrams":
        return terms
    import jieba

    jieba.setLogLevel(logging.WARNING)  # otherwise it logs to stderr that it builds its dictionary

    def words(text: str) -> list[str]:
        text, found, end = _plain(text), [], 0
        for match in _NOT_FOR_JIEBA.finditer(text):
            found += jieba.lcut(text[end : match.start()]) + terms(match.group())
            end = match.end()
        return [word for word in found + jieba.lcut(text[end:]) if any(c.isalnum() for c in word)]

    return words


def terms(text: str) -> list[str]:
    """The terms of a text in lower case and composed (NFC), in order, with repetitions.

    A run of characters of a script without spaces (Han, kana, Thai, Lao, Myanmar, Khmer) gives its character bigrams,
    or itself if it is a single character. Any other run of letters, digits and their combining marks is one word.
    """
    found: list[str] = []
    for match in _RUNS.finditer(_plain(text)):
        unspaced, word = match.groups()
        if word or len(unspaced) == 1:
            found.append(match.group())
        else:
            found.extend(unspaced[i : i + 2] for i in range(len(unspaced) - 1))
    return found


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", without_invisible(text.lower()))
