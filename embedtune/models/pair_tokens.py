"""A query and a document as one sequence, as the tokenizer itself joins a pair: BERT's is `[CLS] q [SEP] d [SEP]`.

The two must go in as a pair. One string "q [SEP] d" gives BERT the same ids, but token types of all 0, and XLM-R does
not know the literal. Texts are tokenised once, each by itself, and joined later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from embedtune.core.errors import EmbedTuneError, ParameterError

QUERY_SHARE = (3, 4)  # of a pair's tokens, that a query may have; FlagEmbedding's reranker cuts it there too
PROBES = ("Who built it? 谁建的？", "Nobody knows. 没有人知道。")


@dataclass(frozen=True)
class PairFrame:
    """The special tokens before, between and after a pair's texts, and the token type of each part.

    `types` are those of prefix, query, middle, document and suffix; special tokens of a part share one.
    """

    prefix: NDArray[np.int64]
    middle: NDArray[np.int64]
    suffix: NDArray[np.int64]
    types: tuple[int, int, int, int, int]

    @property
    def length(self) -> int:
        """The number of special tokens."""
        return len(self.prefix) + len(self.middle) + len(self.suffix)

    def ids(self, query: NDArray[np.integer], document: NDArray[np.integer], max_len: int) -> NDArray[np.int64]:
        """The token ids (n,) of a pair of at most `max_len` tokens.

        The document is cut, and a query of more than QUERY_SHARE of the tokens.
        """
        query, document = self._cut(query, document, max_len)
        parts = (self.prefix, query, self.middle, document, self.suffix)
        return np.concatenate([part.astype(np.int64) for part in parts])

    def token_types(self, query: NDArray[np.integer], document: NDArray[np.integer], max_len: int) -> NDArray[np.int64]:
        """The token types (n,) of the tokens of `ids`."""
        query, document = self._cut(query, document, max_len)
        counts = [len(part) for part in (self.prefix, query, self.middle, document, self.suffix)]
        return np.repeat(np.array(self.types, dtype=np.int64), counts)

    def _cut(
        self, query: NDArray[np.integer], document: NDArray[np.integer], max_len: int
    ) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
        query = query[: query_tokens(max_len)]
        return query, document[: max(0, max_len - self.length - len(query))]

    def lengths(self, queries: NDArray[np.integer], documents: NDArray[np.integer], max_len: int) -> NDArray[np.int64]:
        """The numbers of tokens of pairs, by those of their texts; all of shape (n,)."""
        taken = self.length + np.minimum(queries, query_tokens(max_len)).astype(np.int64)
        return taken + np.minimum(documents, np.maximum(0, max_len - taken))


def query_tokens(max_len: int) -> int:
    """The most tokens of a query in a pair of `max_len` tokens."""
    return max_len * QUERY_SHARE[0] // QUERY_SHARE[1]


def pair_frame(tokenizer: Tokenizer) -> PairFrame:
    """What the tokenizer puts around a pair.

    Raises EmbedTuneError if it joins texts otherwise than by special tokens around what each text has by itself.
    """
    probe = tokenizer.encode("a", "b")
    sides = np.array([-1 if side is None else side for side in probe.sequence_ids])
    if not {0, 1} <= set(sides.tolist()):
        raise EmbedTuneError("the tokenizer does not join two texts; take another model, or train one that does")
    ids, types = np.array(probe.ids, dtype=np.int64), probe.type_ids
    first, last = np.flatnonzero(sides == 0), np.flatnonzero(sides == 1)
    between = slice(first[-1] + 1, last[0])
    frame = PairFrame(
        prefix=ids[: first[0]],
        middle=ids[between],
        suffix=ids[last[-1] + 1 :],
        types=(
            types[0],
            types[first[0]],
            types[first[-1] + 1] if between.stop > between.start else 0,
            types[last[0]],
            types[-1],
        ),
    )
    query, document = (np.array(tokenizer.encode(text, add_special_tokens=False).ids) for text in PROBES)
    own = tokenizer.encode(*PROBES)
    joined, kinds = (part(query, document, 10_000).tolist() for part in (frame.ids, frame.token_types))
    if joined != own.ids or kinds != own.type_ids:
        raise EmbedTuneError("the tokenizer joins two texts in a way that embedtune does not know; take another model")
    return frame


def check_pair_length(frame: PairFrame, max_len: int, longest: int) -> None:
    """Raise ParameterError unless pairs of `max_len` tokens have room for a document and the model reads so many."""
    if max_len > longest:
        raise ParameterError(
            "max_len", f"expected at most {longest}, the longest pair that the model reads, got {max_len}"
        )
    if max_len - frame.length - query_tokens(max_len) < 1:
        raise ParameterError("max_len", f"{max_len} leaves no room for a document; raise it")


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> list[NDArray[np.int64]]:
    """The token ids of each text without special tokens, int64, shape (n,)."""
    return [np.array(e.ids, dtype=np.int64) for e in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
