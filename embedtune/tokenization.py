"""Tokenizers without torch: loading, the special tokens around a text, and tokenised queries.

A sequence is `prefix + content + suffix`: the prefix holds the leading special tokens (and a passage's instruction),
the suffix the closing ones. Contents are tokenised without special tokens and framed afterwards, so that passages are
tokenised once and for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from embedtune.errors import EmbedTuneError


@dataclass(frozen=True)
class Frame:
    """Token ids put before and after a content, both int64 of shape (n,)."""

    prefix: NDArray[np.int64]
    suffix: NDArray[np.int64]

    @property
    def length(self) -> int:
        """Tokens that the frame takes of every sequence."""
        return len(self.prefix) + len(self.suffix)

    def around(self, content: NDArray[np.integer], max_len: int) -> NDArray[np.int64]:
        """The whole sequence, its content truncated so that it has at most `max_len` tokens; int64, shape (n,)."""
        return np.concatenate([self.prefix, content[: max_len - self.length].astype(np.int64), self.suffix])


def load_tokenizer(model: Path) -> Tokenizer:
    """The model directory's fast tokenizer, neither padding nor truncating. Raises EmbedTuneError without one."""
    path = model / "tokenizer.json"
    if not path.is_file():
        raise EmbedTuneError(f"{path}: no such file; the base_model stage writes it")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def frame(tokenizer: Tokenizer, instruction: str = "") -> Frame:
    """The frame that the tokenizer puts around a text, with the tokens of `instruction` in its prefix."""
    probe = tokenizer.encode("a", add_special_tokens=True)
    content = [i for i, is_special in enumerate(probe.special_tokens_mask) if not is_special]
    inside = tokenizer.encode(instruction, add_special_tokens=False).ids if instruction else []
    return Frame(
        prefix=np.array([*probe.ids[: content[0]], *inside], dtype=np.int64),
        suffix=np.array(probe.ids[content[-1] + 1 :], dtype=np.int64),
    )


def tokenize_queries(
    tokenizer: Tokenizer, queries: list[str], instruction: str, max_len: int
) -> list[NDArray[np.int64]]:
    """Whole sequences of the queries, each `instruction + query` in at most `max_len` tokens; int64, shape (n,) each.

    Raises EmbedTuneError when the instruction leaves no room for a query.
    """
    bare = frame(tokenizer)
    taken = bare.length + len(tokenizer.encode(instruction, add_special_tokens=False).ids)
    if taken >= max_len:
        raise EmbedTuneError(
            f"params.yaml: model.query_instruction takes {taken} of the {max_len} tokens of a query, special tokens "
            "included; raise query_max_len or shorten the instruction"
        )
    encodings = tokenizer.encode_batch([instruction + query for query in queries], add_special_tokens=False)
    return [bare.around(np.array(encoding.ids, dtype=np.int64), max_len) for encoding in encodings]
