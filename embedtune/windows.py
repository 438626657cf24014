"""Where a document is cut: ranges of its tokens that end between words, or with sentences and paragraphs."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator

from tokenizers import Encoding

LONG_WORD = 16  # tokens; the start of a longer one is not waited for (unspaced text may be one word to a tokenizer)
SENTENCE_END = re.compile(r"(?:[。！？!?…；]|\.(?=\s))[”’\"'」』）)]*|\n")
CLOSING = 4  # characters that may stand between a sentence's end and the token after it: quotes and brackets

Window = tuple[int, int]


def windows(
    encoding: Encoding,
    size: int,
    overlap: int,
    limit: int | None,
    *,
    later_size: int | None = None,
    text: str | None = None,
) -> Iterator[Window]:
    """Token ranges [start, end) of at most `size` tokens that cover the encoding, the first `limit` of them.

    Ranges after the first have at most `later_size` tokens, if that is given. Each begins and ends between words,
    unless a word is too long for that, and begins `overlap` tokens (or a few more, to the start of a word) before its
    predecessor's end. With the encoding's `text`, a range ends at the end of a paragraph in its last quarter, else of a
    sentence in its second half, and begins with a sentence where one begins close by. A last range of less than half
    the size reaches back to be a full one: the tail of a document alone says little. A text without tokens gives one
    empty range.
    """
    count = len(encoding)
    sentences = None if text is None else _Sentences(encoding, text)
    start = end = produced = 0
    while True:
        lowest = max(start + size // 2, end)
        end = count if start + size >= count else _end_before(encoding, sentences, start + size, lowest)
        yield start, end
        produced += 1
        if end == count or produced == limit:
            return
        size = later_size or size
        lowest = max(start, end - size, end - overlap - max(overlap, LONG_WORD))  # further back, all but equal passages
        start = max(_start_before(encoding, sentences, end - overlap, lowest), start + 1) if overlap else end
        if count - start < size // 2:
            start = _next_word_start(encoding, count - size, start)


class _Sentences:
    """Where sentences and paragraphs of a text end, in tokens: a table of the tokens' first characters, searched."""

    def __init__(self, encoding: Encoding, text: str) -> None:
        self.text, self.offsets = text, encoding.offsets
        self.starts = [start for start, _ in self.offsets]

    def ends(self, lowest: int, highest: int) -> list[tuple[int, str]]:
        """Tokens above `lowest`, up to `highest`, that follow the end of a sentence or paragraph, and of which."""
        found = []
        for match in SENTENCE_END.finditer(self.text, self.starts[lowest], self.offsets[highest - 1][1] + CLOSING):
            following = match.end()
            while following < len(self.text) and self.text[following].isspace():
                following += 1
            token = bisect.bisect_left(self.starts, following)
            if lowest < token <= highest and token < len(self.starts):
                found.append((token, "paragraph" if "\n" in self.text[match.start() : following] else "sentence"))
        return found


def _end_before(encoding: Encoding, sentences: _Sentences | None, token: int, lowest: int) -> int:
    """Where a range that may reach `token` ends: after a paragraph, a sentence or a word, above `lowest`."""
    ends = sentences.ends(lowest, token) if sentences else []
    late = token - (token - lowest) // 2
    paragraphs = [place for place, kind in ends if kind == "paragraph" and place > late]
    if paragraphs or ends:
        return paragraphs[-1] if paragraphs else ends[-1][0]
    return _back_to_word_start(encoding, token, lowest)


def _start_before(encoding: Encoding, sentences: _Sentences | None, token: int, lowest: int) -> int:
    """Where a range that is to begin at `token` or shortly before begins: with a sentence or a word, above `lowest`."""
    ends = sentences.ends(lowest, token) if sentences else []
    return ends[-1][0] if ends else _back_to_word_start(encoding, token, lowest)


def _begins_word(encoding: Encoding, token: int) -> bool:
    return token == 0 or encoding.token_to_word(token) != encoding.token_to_word(token - 1)


def _back_to_word_start(encoding: Encoding, token: int, lowest: int) -> int:
    """The nearest token at or before `token` that begins a word, or `token` itself if none does above `lowest`."""
    return next((i for i in range(token, lowest, -1) if _begins_word(encoding, i)), token)


def _next_word_start(encoding: Encoding, token: int, highest: int) -> int:
    """The nearest token at or after `token` that begins a word, or `token` itself if none does below `highest`."""
    return next((i for i in range(token, highest) if _begins_word(encoding, i)), token)


def characters(encoding: Encoding, token: int) -> Window:
    """The characters [start, end) of a token."""
    span = encoding.token_to_chars(token)
    assert span is not None, "a token of a text without special tokens has characters"
    return span
