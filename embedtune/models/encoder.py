"""An embedding model ready to embed: queries, passages, or ready token sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from embedtune.compute.device import pick_device
from embedtune.core.errors import ParameterError
from embedtune.models.encode import encode, evaluating, load_backbone, pad_token_id
from embedtune.models.settings import Settings, read_settings
from embedtune.models.tokenization import frame, load_tokenizer, tokenize_queries

BATCH_TOKENS = 2_048  # tokens in one forward pass, padding included; a GPU is faster with more
BACKENDS = ("torch",)


@dataclass(frozen=True)
class Encoder:
    """A model with its tokenizer, and the settings that say how it embeds.

    `pad_id` is the id that pads a batch (padding is masked). The weights are those that `model` has when it embeds: it
    may be in training.
    """

    model: PreTrainedModel
    tokenizer: Tokenizer
    settings: Settings
    pad_id: int

    @property
    def dimension(self) -> int:
        """The number of dimensions of an embedding."""
        return int(self.model.config.hidden_size)

    def encode_queries(
        self, texts: Sequence[str], max_len: int | None = None, batch_tokens: int = BATCH_TOKENS
    ) -> NDArray[np.float16]:
        """The embeddings (n, d) of queries, each with the model's query instruction, cut to `max_len` tokens.

        `max_len` None is the longest text that the model reads. Raises ParameterError if the instruction leaves no
        room for a query, and EmbedTuneError as `encode_tokens` does.
        """
        longest = max_len or self.settings.max_tokens
        tokens = tokenize_queries(self.tokenizer, list(texts), self.settings.query_instruction, longest)
        return self._encoded(tokens, batch_tokens, "queries")

    def encode_passages(
        self, texts: Sequence[str], max_len: int | None = None, batch_tokens: int = BATCH_TOKENS
    ) -> NDArray[np.float16]:
        """The embeddings (n, d) of passages, each with the model's passage instruction, cut to `max_len` tokens.

        `max_len` None is the longest text that the model reads. Raises ParameterError if the instruction leaves no
        room for a passage, and EmbedTuneError as `encode_tokens` does.
        """
        longest = max_len or self.settings.max_tokens
        instruction = self.settings.passage_instruction
        tokens = tokenize_queries(self.tokenizer, list(texts), instruction, longest, kind="passage")
        return self._encoded(tokens, batch_tokens, "passages")

    def longer_than(self, texts: Sequence[str], max_len: int | None = None, *, queries: bool = False) -> int:
        """How many texts are longer than `max_len` tokens, instruction included, and would be cut."""
        settings = self.settings
        instruction = settings.query_instruction if queries else settings.passage_instruction
        room = (max_len or settings.max_tokens) - frame(self.tokenizer).length
        contents = self.tokenizer.encode_batch([instruction + text for text in texts], add_special_tokens=False)
        return sum(len(content.ids) > room for content in contents)

    def encode_tokens(
        self,
        sequence: Callable[[int], NDArray[np.integer]],
        lengths: NDArray[np.integer],
        out: NDArray[np.floating],
        *,
        batch_tokens: int,
        rows: NDArray[np.integer] | None = None,
        first: int = 0,
        stored: Callable[[int, int], None] = lambda done, batch_tokens: None,
        description: str = "encode",
    ) -> int:
        """Write the embeddings of n token sequences to the rows of `out`, shape (n, d); see `encode.encode`.

        The model's dropout is off meanwhile. Returns the token budget of a batch at the end: memory may have run out.
        """
        with evaluating(self.model):
            return encode(
                self.model,
                sequence,
                lengths,
                out,
                pooling=self.settings.pooling,
                normalized=self.settings.normalize,
                pad_id=self.pad_id,
                batch_tokens=batch_tokens,
                rows=rows,
                first=first,
                stored=stored,
                description=description,
            )

    def _encoded(self, tokens: list[NDArray[np.int64]], batch_tokens: int, what: str) -> NDArray[np.float16]:
        out = np.empty((len(tokens), self.dimension), dtype=np.float16)
        lengths = np.array([len(sequence) for sequence in tokens], dtype=np.int64)
        self.encode_tokens(tokens.__getitem__, lengths, out, batch_tokens=batch_tokens, description=f"encode {what}")
        return out


def load_encoder(
    directory: Path,
    *,
    backend: str = "torch",
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Encoder:
    """The encoder in the directory that `prepare_model` wrote, on `device` (None: see `pick_device`).

    Raises EmbedTuneError if the directory holds none, and ParameterError for a `backend` that there is not.
    """
    if backend not in BACKENDS:
        raise ParameterError("backend", f"expected one of {', '.join(BACKENDS)}, got {backend}")
    settings, tokenizer = read_settings(directory), load_tokenizer(directory)
    model = load_backbone(directory, dtype, device or pick_device())
    return Encoder(model, tokenizer, settings, pad_token_id(directory))
