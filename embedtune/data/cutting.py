"""Cut tokenised documents into passages: where each begins and ends, and the tokens that the model reads of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Encoding, Tokenizer

from embedtune.data.corpus import Document
from embedtune.data.passage_tokens import PassageTokens, tokens_behind
from embedtune.data.windows import Window, characters, windows

MOST_SPARE = 4  # a quarter of a passage at most is spared for the tokens that its text has more by itself


@dataclass(frozen=True)
class Shape:
    """What passages are to be like; lengths in tokens. The parameters of `write_passages` describe them.

    `size` is that of a passage without special tokens and instruction. `words_stand_alone`: see passage_tokens.py.
    """

    size: int
    overlap: int
    limit: int | None
    boundaries: str
    title_tokens: int
    instruction: str
    words_stand_alone: bool


@dataclass(frozen=True)
class Cut:
    """A document in passages.

    `ids` are token ids, of which passage p has those in the range `tokens[p]`; its text has the characters in the range
    `characters[p]`. The first `title` tokens, which end at the character `title_end`, are the title that later passages
    carry along. `room` is the number of tokens that the passages may have after which the document goes on, `unused`
    how many of them they have not. `joined` passages are tokenised apart from their instruction, which would share a
    token with them; `dropped` is the number of tokens that a passage had too many.
    """

    ids: list[int]
    tokens: list[Window]
    characters: list[Window]
    title: int
    title_end: int
    room: int
    unused: int
    joined: int = 0
    dropped: int = 0


def cut_documents(
    documents: Sequence[Document], encodings: Sequence[Encoding], tokenizer: Tokenizer, shape: Shape
) -> list[Cut]:
    """The passages of each document, whose text (or the head of it) has the encoding of the same place."""
    if shape.words_stand_alone:
        return [_cut_tokens(*document, shape) for document in zip(documents, encodings, strict=True)]
    return _cut_texts(documents, encodings, tokenizer, shape)


def _cut_tokens(document: Document, encoding: Encoding, shape: Shape) -> Cut:
    """Passages as ranges of the document's own tokens."""
    title = _title_tokens(document, encoding, shape)
    spans = _windows(document, encoding, shape, title, spare=(0, 0))
    places = [_place(document.text, encoding, span) for span in spans]
    room, unused = _filled(document, places, [end - start for start, end in spans], shape, title)
    title_end = characters(encoding, title - 1)[1] if title else 0
    return Cut(encoding.ids[: spans[-1][1]], spans, places, title, title_end, room, unused)


def _cut_texts(
    documents: Sequence[Document], encodings: Sequence[Encoding], tokenizer: Tokenizer, shape: Shape
) -> list[Cut]:
    """Passages tokenised again, each behind its instruction or title. Those that come out too long are cut anew."""
    found: dict[int, Cut] = {}
    spare = dict.fromkeys(range(len(documents)), (0, 1))  # fewer tokens of the first passage, and of later ones
    most = shape.size // MOST_SPARE
    while spare:
        places = {number: _places(documents[number], encodings[number], shape, spare[number]) for number in spare}
        pieces = iter(_tokenised([documents[number] for number in spare], list(places.values()), tokenizer, shape))
        longer: dict[int, Window] = {}
        for number, (given, later) in spare.items():
            own = list(itertools.islice(pieces, len(places[number])))
            first = own[0].starts[: shape.title_tokens] if own else []
            title = _title_length(documents[number].title, shape.title_tokens, first)
            excess = _excess(own, shape, title)
            if any(excess) and max(given, later) < most:
                longer[number] = (min(most, given + excess[0]), min(most, later + excess[1]))
            else:
                found[number] = _joined_up(documents[number], own, places[number], shape, title)
        spare = longer
    return [found[number] for number in range(len(documents))]


def _places(document: Document, encoding: Encoding, shape: Shape, spare: Window) -> list[Window]:
    title = _title_tokens(document, encoding, shape)
    return [_place(document.text, encoding, span) for span in _windows(document, encoding, shape, title, spare)]


def _tokenised(
    documents: Sequence[Document], places: Sequence[list[Window]], tokenizer: Tokenizer, shape: Shape
) -> list[PassageTokens]:
    """The tokens of all passages of the documents, in order, each behind what the model reads before it."""
    before, texts = [], []
    for document, own in zip(documents, places, strict=True):
        carried = f"{document.title} " if shape.title_tokens and document.title else shape.instruction
        before += [shape.instruction if number == 0 else carried for number in range(len(own))]
        texts += [document.text[start:end] for start, end in own]
    return tokens_behind(tokenizer, before, texts)


def _excess(passages: Sequence[PassageTokens], shape: Shape, title: int) -> Window:
    """How many tokens too many the first passage has, and the longest of the later ones."""
    first = len(passages[0].ids) - shape.size
    later = max((len(passage.ids) for passage in passages[1:]), default=0) - (shape.size - title)
    return max(0, first), max(0, later)


def _joined_up(
    document: Document, passages: Sequence[PassageTokens], places: list[Window], shape: Shape, title: int
) -> Cut:
    allowed = [shape.size if number == 0 else shape.size - title for number in range(len(passages))]
    kept = [passage.ids[:most] for passage, most in zip(passages, allowed, strict=True)]
    ends = list(itertools.accumulate(len(ids) for ids in kept))
    room, unused = _filled(document, places, [len(ids) for ids in kept], shape, title)
    return Cut(
        ids=list(itertools.chain.from_iterable(kept)),
        tokens=list(zip([0, *ends], ends, strict=False)),
        characters=places,
        title=title,
        title_end=_title_end(document.text, passages[0].starts, title) if title else 0,
        room=room,
        unused=unused,
        joined=sum(passage.joined for passage in passages),
        dropped=sum(len(passage.ids) for passage in passages) - (ends[-1] if ends else 0),
    )


def _filled(
    document: Document, places: Sequence[Window], lengths: Sequence[int], shape: Shape, title: int
) -> tuple[int, int]:
    """The tokens that passages may have which the document does not end in, and how many of them they have not."""
    ends = not any(lengths) or not document.text[places[-1][1] :].strip()
    cut = len(places) - ends
    allowed = [shape.size if number == 0 else shape.size - title for number in range(cut)]
    return sum(allowed), sum(allowed) - sum(lengths[:cut])


def _windows(document: Document, encoding: Encoding, shape: Shape, title: int, spare: Window) -> list[Window]:
    text = "" if shape.words_stand_alone and shape.boundaries == "word" else document.text
    cut = windows(
        encoding,
        shape.size - spare[0],
        shape.overlap,
        shape.limit,
        later_size=shape.size - title - spare[1],
        text=text,
        boundaries=shape.boundaries,
        unspaced=not shape.words_stand_alone,
    )
    return list(cut)


def _place(text: str, encoding: Encoding, span: Window) -> Window:
    """The characters of a range of tokens, without white space around them."""
    start, end = span
    if start == end:
        return 0, 0
    first, last = characters(encoding, start)[0], characters(encoding, end - 1)[1]
    while first < last and text[first].isspace():
        first += 1
    while first < last and text[last - 1].isspace():
        last -= 1
    return first, last


def _title_end(text: str, starts: Sequence[int], title: int) -> int:
    """The character at which the first `title` tokens of a text end; tokens begin at the characters `starts`."""
    return len(text[: starts[title]].rstrip()) if title < len(starts) else len(text)


def _title_tokens(document: Document, encoding: Encoding, shape: Shape) -> int:
    """The number of the encoding's first tokens that are the title to carry along."""
    if not document.title or not shape.title_tokens:
        return 0
    starts = [characters(encoding, number)[0] for number in range(min(shape.title_tokens, len(encoding)))]
    return _title_length(document.title, shape.title_tokens, starts)


def _title_length(title: str, most: int, starts: Sequence[int]) -> int:
    """The number of tokens that belong to the title, at most `most`; `starts` are the characters where they begin."""
    if not title or not most:
        return 0
    return next((number for number, start in enumerate(starts) if start >= len(title)), min(most, len(starts)))
