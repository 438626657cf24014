"""The tokens of a passage as the model reads them: those that the tokenizer gives to instruction and passage together.

Where words stand alone (BERT's tokenizers), they are a range of the document's tokens. Elsewhere they are not: a
SentencePiece tokenizer puts a `▁` before a text that begins anew, and none after an instruction that ends without a
space; a byte-level tokenizer has a word with its space. So each passage is tokenised again, behind what precedes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer


@dataclass(frozen=True)
class PassageTokens:
    """Token ids without those of what stands before, and where each token begins in the passage's text.

    `joined`: a token is of both, or the tokens before depend on the passage, so that the passage was tokenised alone.
    """

    ids: list[int]
    starts: list[int]
    joined: bool


def words_stand_alone(tokenizer: Tokenizer, instruction: str) -> bool:
    """Whether a word's tokens depend on nothing beside it, the end of `instruction` included."""
    if not isinstance(tokenizer.model, WordPiece) or not isinstance(tokenizer.pre_tokenizer, BertPreTokenizer):
        return False
    together, apart = (_ids(tokenizer, text) for text in (f"{instruction}a", instruction))
    return together == apart + _ids(tokenizer, "a")


def instruction_tokens(tokenizer: Tokenizer, instruction: str) -> list[int]:
    """The token ids of an instruction before any text. White space at its end belongs to the text's first token."""
    return _ids(tokenizer, instruction.rstrip())


def tokens_behind(tokenizer: Tokenizer, before: Sequence[str], texts: Sequence[str]) -> list[PassageTokens]:
    """The tokens of each of `texts` behind the text of the same place in `before`, an instruction or a title."""
    encodings = tokenizer.encode_batch([a + b for a, b in zip(before, texts, strict=True)], add_special_tokens=False)
    own = {text: instruction_tokens(tokenizer, text) for text in set(before)}
    found: list[PassageTokens] = []
    for encoding, context, text in zip(encodings, before, texts, strict=True):
        if not text:
            found.append(PassageTokens([], [], joined=False))
            continue
        edge, ids, offsets = len(context.rstrip()), encoding.ids, encoding.offsets
        first = next((i for i, (_, end) in enumerate(offsets) if end > edge), len(ids)) if edge else 0
        if ids[:first] == own[context] and all(start >= edge for start, _ in offsets[first:][:1]):
            found.append(
                PassageTokens(ids[first:], [start - len(context) for start, _ in offsets[first:]], joined=False)
            )
        else:
            alone = tokenizer.encode(text, add_special_tokens=False)
            found.append(PassageTokens(alone.ids, [start for start, _ in alone.offsets], joined=True))
    return found


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids
