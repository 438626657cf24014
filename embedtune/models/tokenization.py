"""Tokenisation without torch: load a tokenizer, add special tokens, tokenise queries.

A sequence is `prefix + content + suffix`. The prefix holds the leading special tokens (and a passage's instruction),
the suffix the trailing ones. Content is tokenised without special tokens, which are added later, so that each passage
is tokenised only once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from embedtune.core.errors import EmbedTuneError, ParameterError
from embedtune.data.passage_tokens import instruction_tokens

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Frame:
    """The token ids before and after the content of a sequence, both int64 of shape (n,)."""

    prefix: NDArray[np.int64]
    suffix: NDArray[np.int64]

    @property
    def length(self) -> int:
        """The number of tokens in prefix and suffix together."""
        return len(self.prefix) + len(self.suffix)

    def around(self, content: NDArray[np.integer], max_len: int) -> NDArray[np.int64]:
        """Prefix, content and suffix, the content truncated for `max_len` tokens in all; int64, shape (n,)."""
        return np.concatenate([self.prefix, content[: max_len - self.length].astype(np.int64), self.suffix])


def load_tokenizer(model: Path) -> Tokenizer:
    """The fast tokenizer of a model directory, without padding or truncation. Raises EmbedTuneError without one."""
    path = model / TOKENIZER
    if not path.is_file():
        raise EmbedTuneError(f"{path}: no such file; prepare the model first")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def frame(tokenizer: Tokenizer, instruction: str = "") -> Frame:
    """The special tokens that the tokenizer adds around a text, with the tokens of `instruction` in the prefix.

    White space at the end of an instruction belongs to the text that follows, as in data/passage_tokens.py.
    """
    probe = tokenizer.encode("a", add_special_tokens=True)
    content = [i for i, is_special in enumerate(probe.special_tokens_mask) if not is_special]
    inside = instruction_tokens(tokenizer, instruction) if instruction else []
    return Frame(
        prefix=np.array([*probe.ids[: content[0]], *inside], dtype=np.int64),
        suffix=np.array(probe.ids[content[-1] + 1 :], dtype=np.int64),
    )


def check_room(kind: str, taken: int, max_len: int) -> None:
    """Raise ParameterError if special tokens and instruction, `taken` tokens, leave no room in `max_len` tokens.

    `kind` is query or passage: the parameters named are its instruction and its max_len.
    """
    if taken >= max_len:
        raise ParameterError(
            f"{kind}_instruction",
            f"it takes {taken} of the {max_len} tokens of a {kind}, special tokens included; raise `{kind}_max_len` or "
            "shorten the instruction",
        )


def tokenize_queries(
    tokenizer: Tokenizer, queries: list[str], instruction: str, max_len: int, kind: str = "query"
) -> list[NDArray[np.int64]]:
    """Tokenise `instruction + query` for each query, with special tokens, truncated to `max_len` tokens.

    Returns one int64 array of shape (n,) per query. Raises ParameterError when the instruction leaves no room for a
    query; `kind` passage makes it speak of passages.
    """
    bare = frame(tokenizer)
    taken = bare.length + len(tokenizer.encode(instruction, add_special_tokens=False).ids)
    check_room(kind, taken, max_len)
    encodings = tokenizer.encode_batch([instruction + query for query in queries], add_special_tokens=False)
    return [bare.around(np.array(encoding.ids, dtype=np.int64), max_len) for encoding in encodings]
