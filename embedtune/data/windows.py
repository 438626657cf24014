"""Cut a document into overlapping token ranges that end at word boundaries, or at sentence and paragraph ends."""

from __future__ import annotations

import bisect
import re
import unicodedata
from collections.abc import Iterator

from tokenizers import Encoding

LONG_WORD = 16  # tokens; a range may begin inside a longer word (unspaced text may be one word to a tokenizer)
SENTENCE_END = re.compile(r"(?:[。！？!?…；]|\.(?=\s))[”’\"'」』）)]*|\n")
UNSPACED = re.compile(  # a character of a script that puts no space between words, or of its punctuation
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf"  # Thai to Khmer
    "\u2e80-\u2fdf\u3000-\u30ff\u3100-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf"  # Han, kana, Yi
    "\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]"  # rarer Han, and characters of full width
)
CLOSING = 4  # characters, such as quotes and brackets, that may stand between a sentence's end and the next token

Window = tuple[int, int]


def windows(
    encoding: Encoding,
    size: int,
    overlap: int,
    limit: int | None,
    *,
    later_size: int | None = None,
    text: str = "",
    boundaries: str = "word",
    unspaced: bool = False,
) -> Iterator[Window]:
    """Yield token ranges [start, end) of at most `size` tokens that cover the encoding; at most `limit` ranges.

    Ranges after the first have at most `later_size` tokens, if that is given. Each range begins and ends at a word
    boundary, unless a word is too long for that. It begins `overlap` tokens before the end of its predecessor, or a few
    more to reach the start of a word. With `unspaced`, any character of a script without spaces begins a word, even
    where the tokenizer takes a whole run of them for one. With `boundaries` sentence, a range ends at the end
    of a paragraph in its last quarter, else at the end of a sentence in its second half, and begins with a sentence if
    one begins close by. A last range of less than half the size is extended backwards to full size, because the tail of
    a document alone carries little meaning. A text without tokens gives one empty range. `text` is
    the encoding's; `unspaced` and sentences need it. No range begins or ends inside
    a character, unless there is nothing else.
    """
    count = len(encoding)
    words = _Words(encoding, text if unspaced else "")
    sentences = _Sentences(encoding, text) if boundaries == "sentence" else None
    start = end = produced = 0
    while True:
        lowest = max(start + size // 2, end)
        end = count if start + size >= count else _end_before(words, sentences, start + size, lowest)
        yield start, end
        produced += 1
        if end == count or produced == limit:
            return
        size = later_size or size
        lowest = max(start, end - size, end - overlap - max(overlap, LONG_WORD))  # earlier: a nearly equal passage
        start = max(_start_before(words, sentences, end - overlap, lowest), start + 1) if overlap else end
        if count - start < size // 2:
            start = words.next_start(count - size, start)


class _Words:
    """Finds the tokens that begin a word: the tokenizer's own words, and with a text the characters of some scripts."""

    def __init__(self, encoding: Encoding, text: str) -> None:
        self.encoding, self.text = encoding, text

    def last_start(self, token: int, lowest: int) -> int:
        """The last token in (lowest, token] that begins a word, else one that begins a character, else `token`."""
        return self._first(range(token, lowest, -1), token)

    def next_start(self, token: int, highest: int) -> int:
        """The first token in [token, highest) that begins a word, else one that begins a character, else `token`."""
        return self._first(range(token, highest), token)

    def _first(self, tokens: range, otherwise: int) -> int:
        found = next((i for i in tokens if self._begins_word(i)), None)
        return next((i for i in tokens if self._begins_character(i)), otherwise) if found is None else found

    def _begins_word(self, token: int) -> bool:
        if token == 0 or self.encoding.token_to_word(token) != self.encoding.token_to_word(token - 1):
            return True
        if not self.text or not self._begins_character(token):
            return False
        start = characters(self.encoding, token)[0]
        after, before = self.text[start : start + 1], self.text[start - 1 : start]
        return bool(UNSPACED.match(after) or UNSPACED.match(before)) and unicodedata.category(after)[0] != "M"

    def _begins_character(self, token: int) -> bool:
        return token == 0 or characters(self.encoding, token)[0] >= characters(self.encoding, token - 1)[1]


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


def _end_before(words: _Words, sentences: _Sentences | None, token: int, lowest: int) -> int:
    """The end of a range that may reach `token`: after a paragraph, else a sentence, else a word, above `lowest`."""
    ends = sentences.ends(lowest, token) if sentences else []
    late = token - (token - lowest) // 2
    paragraphs = [place for place, kind in ends if kind == "paragraph" and place > late]
    if paragraphs or ends:
        return paragraphs[-1] if paragraphs else ends[-1][0]
    return words.last_start(token, lowest)


def _start_before(words: _Words, sentences: _Sentences | None, token: int, lowest: int) -> int:
    """The start of a range at or shortly before `token`: at a sentence, else at a word, above `lowest`."""
    ends = sentences.ends(lowest, token) if sentences else []
    return ends[-1][0] if ends else words.last_start(token, lowest)


def characters(encoding: Encoding, token: int) -> Window:
    """The character range [start, end) of a token in its text."""
    span = encoding.token_to_chars(token)
    assert span is not None, "a token of a text without special tokens has characters"
    return span
