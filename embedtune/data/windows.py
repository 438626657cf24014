"""Cut a document into overlapping token ranges that end at word boundaries, or at sentence and paragraph ends."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator

from tokenizers import Encoding

LONG_WORD = 16  # tokens; a range may begin inside a longer word (unspaced text may be one word to a tokenizer)
SENTENCE_END = re.compile(r"(?:[。！？!?…；]|\.(?=\s))[”’\"'」』）)]*|\n")
CLOSING = 4  # characters, such as quotes and brackets, that may stand between a sentence's end and the next token

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
    """Yield token ranges [start, end) of at most `size` tokens that cover the encoding; at most `limit` ranges.

    Ranges after the first have at most `later_size` tokens, if that is given. Each range begins and ends at a word
    boundary, unless a word is too long for that. It begins `overlap` tokens before the end of its predecessor, or a few
    more to reach the start of a word. With the encoding's `text`, a range ends at the end of a paragraph in its last
    quarter, else at the end of a sentence in its second half, and begins with a sentence if one begins close by. A last
    range of less than half the size is extended backwards to full size, because the tail of a document alone carries
    little meaning. A text without tokens gives one empty range.
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
        lowest = max(start, end - size, end - overlap - max(overlap, LONG_WORD))  # earlier: a nearly equal passage
        start = max(_start_before(encoding, sentences, end - overlap, lowest), start + 1) if overlap else end
        if count - start < size // 2:
            start = _next_word_start(encoding, count - size, start)


class _Sentences:
    """Finds the tokens that follow sentence and paragraph ends, by binary search in the tokens' character offsets."""

    def __init__(self, encoding: Encoding, text: str) -> None:
        self.text, self.offsets = text, encoding.offsets
        self.starts = [start for start, _ in self.offsets]

    def ends(self, lowest: int, highest: int) -> list[tuple[int, str]]:
        """The tokens in (lowest, highest] that follow a sentence or paragraph, with the kind of what they follow."""
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
    """The end of a range that may reach `token`: after a paragraph, else a sentence, else a word, above `lowest`."""
    ends = sentences.ends(lowest, token) if sentences else []
    late = token - (token - lowest) // 2
    paragraphs = [place for place, kind in ends if kind == "paragraph" and place > late]
    if paragraphs or ends:
        return paragraphs[-1] if paragraphs else ends[-1][0]
    return _back_to_word_start(encoding, token, lowest)


def _start_before(encoding: Encoding, sentences: _Sentences | None, token: int, lowest: int) -> int:
    """The start of a range at or shortly before `token`: at a sentence, else at a word, above `lowest`."""
    ends = sentences.ends(lowest, token) if sentences else []
    return ends[-1][0] if ends else _back_to_word_start(encoding, token, lowest)


def _begins_word(encoding: Encoding, token: int) -> bool:
    return token == 0 or encoding.token_to_word(token) != encoding.token_to_word(token - 1)


def _back_to_word_start(encoding: Encoding, token: int, lowest: int) -> int:
    """The last token in (lowest, token] that begins a word, or `token` itself if there is none."""
    return next((i for i in range(token, lowest, -1) if _begins_word(encoding, i)), token)


def _next_word_start(encoding: Encoding, token: int, highest: int) -> int:
    """The first token in [token, highest) that begins a word, or `token` itself if there is none."""
    return next((i for i in range(token, highest) if _begins_word(encoding, i)), token)


def characters(encoding: Encoding, token: int) -> Window:
    """The character range [start, end) of a token in its text."""
    span = encoding.token_to_chars(token)
    assert span is not None, "a token of a text without special tokens has characters"
    return span
