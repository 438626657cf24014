"""Score (query, document) pairs with a cross-encoder: a model that reads both texts at once and gives one number."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from embedtune.core.errors import EmbedTuneError
from embedtune.core.progress import quiet_transformers
from embedtune.models.attention import attend_by_matrix_products
from embedtune.models.encode import evaluating, forward
from embedtune.models.kinds import HEADS
from embedtune.models.lengths import max_tokens
from embedtune.models.pair_tokens import PairFrame, check_pair_length, pair_frame, tokenize

BATCH_TOKENS = 2_048  # tokens in one forward pass, padding included; a GPU is faster with more
TYPES = "token_type_ids"


@dataclass(frozen=True)
class CrossEncoder:
    """A model with its tokenizer, which scores pairs by the weights that it has then: it may be in training.

    `pad_id` is the id that pads a batch, `typed` whether the model takes token types, `max_tokens` the length of the
    longest pair that it reads, special tokens included.
    """

    model: PreTrainedModel
    tokenizer: Tokenizer
    frame: PairFrame
    pad_id: int
    typed: bool
    max_tokens: int

    def tokenize(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """The token ids of each text without special tokens, int64, shape (n,)."""
        return tokenize(self.tokenizer, texts)

    def scores(
        self,
        pairs: Sequence[tuple[int, int]],
        queries: Sequence[NDArray[np.integer]],
        documents: Sequence[NDArray[np.integer]],
        *,
        max_len: int,
        batch_tokens: int = BATCH_TOKENS,
        description: str = "score",
    ) -> NDArray[np.float32]:
        """The logits (n,) of the pairs of (query number, document number): the higher, the more relevant; fp32.

        `queries` and `documents` are of `tokenize`. Documents are cut so that a pair has at most `max_len` tokens. A
        batch has pairs of similar length, of `batch_tokens` tokens with padding. Raises ParameterError when `max_len`
        exceeds what the model reads, and EmbedTuneError as `forward` does.
        """
        check_pair_length(self.frame, max_len, self.max_tokens)
        counts = np.array([len(queries[q]) for q, _ in pairs]), np.array([len(documents[d]) for _, d in pairs])
        lengths = self.frame.lengths(*counts, max_len)
        out = np.empty((len(pairs), 1), dtype=np.float32)

        def ids(number: int) -> NDArray[np.int64]:
            query, document = pairs[number]
            return self.frame.ids(queries[query], documents[document], max_len)

        def types(number: int) -> NDArray[np.int64]:
            query, document = pairs[number]
            return self.frame.token_types(queries[query], documents[document], max_len)

        with evaluating(self.model):
            forward(
                self.model,
                ids,
                lengths,
                out,
                read=lambda output, mask: output.logits.float(),
                pad_id=self.pad_id,
                batch_tokens=batch_tokens,
                types=types if self.typed else None,
                description=description,
                unit=" pairs",
            )
        return out[:, 0]

    def scores_of_texts(
        self, query: str, documents: Sequence[str], *, max_len: int, batch_tokens: int = BATCH_TOKENS
    ) -> NDArray[np.float32]:
        """The logits (n,) of one query with documents, as `scores`."""
        pairs = [(0, number) for number in range(len(documents))]
        tokens = self.tokenize([query]), self.tokenize(documents)
        return self.scores(pairs, *tokens, max_len=max_len, batch_tokens=batch_tokens)


def cross_encoder_of(model: PreTrainedModel, directory: Path) -> CrossEncoder:
    """A model with the tokenizer in `directory`.

    Raises EmbedTuneError for a tokenizer that is not a fast one, or joins pairs in an unknown way.
    """
    loaded = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    if not loaded.is_fast:
        raise EmbedTuneError(f"{directory}: has no tokenizer.json; a cross-encoder needs a fast tokenizer")
    tokenizer = loaded.backend_tokenizer
    tokenizer.no_padding()
    tokenizer.no_truncation()
    try:
        frame = pair_frame(tokenizer)
    except EmbedTuneError as error:
        raise EmbedTuneError(f"{directory}: {error}") from error
    typed, pad_id = TYPES in loaded.model_input_names, loaded.pad_token_id or 0
    backbone = getattr(model, "base_model", model)
    return CrossEncoder(model, tokenizer, frame, pad_id, typed, max_tokens(backbone, loaded))


def load_cross_encoder(directory: Path, device: torch.device, dtype: torch.dtype = torch.float32) -> CrossEncoder:
    """The cross-encoder in `directory`: transformers' sequence classification with one output, BAAI/bge-reranker-base.

    In fp16 and bf16 the head computes in fp32: bf16 has too few digits to tell near scores apart. Raises EmbedTuneError
    when the directory cannot be loaded, has more outputs than one or lacks weights.
    """
    quiet_transformers()
    try:
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            directory, dtype=dtype, local_files_only=True, trust_remote_code=False, output_loading_info=True
        )
    except Exception as error:  # whatever transformers meets in these files, the files are the reason
        raise EmbedTuneError(f"{directory}: cannot be loaded as a cross-encoder: {error}") from error
    if model.config.num_labels != 1 or loading["missing_keys"]:
        raise EmbedTuneError(
            f"{directory}: expected a cross-encoder with one output, such as BAAI/bge-reranker-base; "
            f"it has {model.config.num_labels} outputs and lacks {len(loading['missing_keys'])} weights"
        )
    model.config.use_cache = False  # a decoder would cache keys and values that nothing uses
    model = model.to(device).eval()
    if dtype == torch.bfloat16:
        attend_by_matrix_products(model)
    if dtype != torch.float32:
        head_in_fp32(model)
    return cross_encoder_of(model, directory)


def head_in_fp32(model: torch.nn.Module) -> None:
    """Let the layers that turn the last hidden state into a score compute in fp32, under autocast too."""
    for name in HEADS:
        head = getattr(model, name, None)
        if head is not None:
            head.float().forward = functools.partial(_in_fp32, head.forward)


def _in_fp32(compute: Callable[..., torch.Tensor], *inputs: torch.Tensor, **named: Any) -> torch.Tensor:
    with torch.autocast(inputs[0].device.type, enabled=False):
        return compute(*(x.float() if x.is_floating_point() else x for x in inputs), **named)
