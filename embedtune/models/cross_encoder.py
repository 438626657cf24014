"""Score (question, passage) pairs with a cross-encoder: a model that reads both texts and outputs one score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from embedtune.core.errors import EmbedTuneError, ParameterError
from embedtune.core.progress import quiet_transformers
from embedtune.models.lengths import max_tokens


class CrossEncoder:
    """A reranker such as BAAI/bge-reranker-base: transformers' sequence classification with a single output.

    `max_tokens` is the maximum length of a pair, special tokens included.
    """

    def __init__(self, directory: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Raises EmbedTuneError when the directory cannot be loaded, has more outputs than one or lacks weights."""
        quiet_transformers()
        try:
            self.model, loading = AutoModelForSequenceClassification.from_pretrained(
                directory, dtype=dtype, local_files_only=True, trust_remote_code=False, output_loading_info=True
            )
            self.tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # whatever transformers meets in these files, the files are the reason
            raise EmbedTuneError(f"{directory}: cannot be loaded as a cross-encoder: {error}") from error
        if self.model.config.num_labels != 1 or loading["missing_keys"]:
            raise EmbedTuneError(
                f"{directory}: expected a cross-encoder with one output, such as BAAI/bge-reranker-base; "
                f"it has {self.model.config.num_labels} outputs and lacks {len(loading['missing_keys'])} weights"
            )
        self.max_tokens = max_tokens(self.model.base_model, self.tokenizer)
        self.model.to(device).eval()

    @torch.inference_mode()
    def scores(self, question: str, passages: list[str], max_len: int, batch_size: int) -> NDArray[np.float32]:
        """The model's outputs (logits): the higher, the better the passage answers the question; fp32, (passages,).

        Pairs are truncated to `max_len` tokens, the longer text first. Batches are formed by length, longest first.
        Raises ParameterError when `max_len` exceeds the model's maximum length.
        """
        if max_len > self.max_tokens:
            raise ParameterError(
                "max_len", f"expected at most {self.max_tokens}, the longest pair that the model reads, got {max_len}"
            )
        order = sorted(range(len(passages)), key=lambda i: -len(passages[i]))
        result = np.zeros(len(passages), dtype=np.float32)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            features = self.tokenizer(
                [question] * len(rows),
                [passages[i] for i in rows],
                truncation="longest_first",
                max_length=max_len,
                padding=True,
                return_tensors="pt",
            ).to(self.model.device)
            result[rows] = self.model(**features).logits[:, 0].float().cpu().numpy()
        return result
