"""Objectives on scored pairs: a query, one document, how relevant it is (`rel`, 0 to 1), and how much that counts.

    weighted_mse   the squared difference of cosine and relevance, as in sentence-transformers' CosineSimilarityLoss
    cosent         the order of the batch's cosines (Su 2022, CoSENT; sentence-transformers' CoSENTLoss)
    bixse          binary cross entropy on graded labels, with the batch's other documents as irrelevant ones
                   (Tsirigotis et al. 2025, BiXSE, arXiv 2508.06781)

A prediction is scale * cosine + bias. weighted_mse has scale 1 and bias 0, unless they are learned: cosines of models
that were trained contrastively lie in a narrow band, which a relevance does not. B are the pairs of this process's
batch, D dimensions; all losses are computed in fp32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from FlagEmbedding.abc.finetune.embedder import AbsEmbedderModel
from FlagEmbedding.finetune.embedder.encoder_only.base import BiEncoderOnlyEmbedderModel
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from torch.nn.functional import binary_cross_entropy_with_logits, normalize
from transformers import PreTrainedModel

from embedtune.core.errors import ParameterError
from embedtune.mining.mined_rows import MinedRow
from embedtune.models.settings import Settings
from embedtune.training.batches import Batch
from embedtune.training.objectives.contrastive import false_negative_mask, refuse_wide_dims
from embedtune.training.objectives.objective import Features, LossTerms

RIGHT = 0.25  # a prediction that is so close to the relevance counts as right, in the accuracy of weighted_mse
LEAST_SCALE = 0.5  # to begin with
SCALE, BIAS = "score_scale", "score_bias"  # of the embedder: what `learn_scale` trains


@dataclass(frozen=True)
class ScoredPairs:
    """A loss over the cosines of pairs, by its name: weighted_mse, cosent or bixse.

    cosent multiplies cosines by 1 / `temperature`. With `learn_scale`, weighted_mse trains a scale and a bias, which
    begin with `scale` and `bias` (see `start_of`); bixse always does, as SigLIP (Zhai et al. 2023).
    """

    objective: str = "weighted_mse"
    temperature: float = 0.05
    learn_scale: bool = False
    matryoshka_dims: Sequence[int] = ()
    scale: float = 1.0
    bias: float = 0.0

    def check(self, batch_size: int, processes: int, group_size: int) -> None:
        """Raise ParameterError if a batch of one pair has no order, or no other document."""
        if batch_size == 1 and self.objective in ("cosent", "bixse"):
            raise ParameterError(
                "per_device_train_batch_size",
                f"1 leaves `objective: {self.objective}` nothing to compare a pair with; raise it",
            )

    def embedder(self, backbone: PreTrainedModel, settings: Settings) -> AbsEmbedderModel:
        """FlagEmbedding's model around `backbone`, with scale and bias where they are trained.

        Raises ParameterError if `matryoshka_dims` exceed the model's width, and if its vectors are not normalised: it
        would be trained on cosines and rank by inner products.
        """
        if not settings.normalize:
            raise ParameterError("normalize", f"`objective: {self.objective}` learns cosines; write true")
        refuse_wide_dims(self.matryoshka_dims, backbone.config.hidden_size)
        embedder = BiEncoderOnlyEmbedderModel(
            backbone, sentence_pooling_method=settings.pooling, normalize_embeddings=settings.normalize
        ).train()
        if self.objective == "bixse" or (self.objective == "weighted_mse" and self.learn_scale):
            for name, value in ((SCALE, self.scale), (BIAS, self.bias)):
                embedder.register_parameter(name, torch.nn.Parameter(torch.tensor(value, device=backbone.device)))
        return embedder

    def sides(self, batch: Batch) -> dict[str, Features]:
        """Queries (B, tokens) and documents (B, tokens)."""
        return {"queries": batch["queries"], "passages": batch["passages"]}

    def weight(self, batch: Batch) -> float:
        """The sum of the pairs' weights."""
        return float(batch["weights"].sum())

    def loss(self, embedder: AbsEmbedderModel, embeddings: Mapping[str, torch.Tensor], batch: Batch) -> LossTerms:
        """The weighted sum of the pairs' losses; for cosent, the batch's loss times the sum of its weights."""
        queries, passages = embeddings["queries"], embeddings["passages"]
        assert batch["rels"] is not None, "the training set was made of scored pairs"
        rels, weights = batch["rels"].to(queries.device), batch["weights"].to(queries.device)
        scale, bias = getattr(embedder, SCALE, None), getattr(embedder, BIAS, None)
        terms = []
        for size in sorted({*self.matryoshka_dims, queries.shape[1]}):  # the whole comes last
            q, p = (normalize(side[:, :size], dim=-1) for side in (queries, passages))
            if self.objective == "bixse":
                assert scale is not None and bias is not None, "bixse learns them"
                excluded = self._judged_elsewhere(batch, queries.device)
                terms.append(bixse(scale * (q @ p.T) + bias, rels, weights, excluded))
                continue
            scores = (q * p).sum(-1)
            if scale is not None and bias is not None:
                scores = scale * scores + bias
            elif self.objective == "cosent":
                scores = scores / self.temperature
            terms.append((weighted_mse if self.objective == "weighted_mse" else cosent)(scores, rels, weights))
        losses, rights = zip(*terms, strict=True)
        return LossTerms(torch.stack(losses).mean() * weights.sum(), self.weight(batch), rights[-1] * weights.sum())

    def _judged_elsewhere(self, batch: Batch, device: torch.device) -> torch.Tensor:
        """A mask (B, B): true where a document of another pair is one that the query was judged with."""
        target = torch.arange(len(batch["documents"]), device=device)
        return false_negative_mask(batch["relevant"].to(device), batch["documents"].to(device), target, 1)


def fitted_scale(
    cosines: NDArray[np.floating], rels: NDArray[np.floating], weights: NDArray[np.floating]
) -> tuple[float, float]:
    """(scale, bias) with the least weighted squared difference of scale * cosine + bias and relevance; all (n,).

    The scale is LEAST_SCALE at least, so that something is learned where cosines say nothing of relevances.
    """
    slope = float(np.polyfit(cosines, rels, 1, w=np.sqrt(weights))[0]) if np.ptp(cosines) > 0 else 0.0
    scale = max(LEAST_SCALE, slope)
    return scale, float(np.average(rels - scale * cosines, weights=weights))


def start_of(rows: Sequence[MinedRow], objective: str, temperature: float) -> tuple[float, float]:
    """The (scale, bias) that training begins with, by the cosines of the rows' model.

    weighted_mse: `fitted_scale`. bixse: 1 / `temperature`, and the bias at which predictions are relevances in the
    mean.
    """
    cosines = np.array([row.mining_score for row in rows], dtype=np.float64)
    rels, weights = np.array([row.rel for row in rows]), np.array([row.weight for row in rows])
    if objective == "weighted_mse":
        return fitted_scale(cosines, rels, weights)
    scale, mean = 1 / temperature, float(np.clip(np.average(rels, weights=weights), 1e-3, 1 - 1e-3))
    lowest, highest = (float(logit(mean) - scale * cosine) for cosine in (cosines.max(), cosines.min()))
    if lowest == highest:
        return scale, lowest
    return scale, brentq(lambda b: np.average(expit(scale * cosines + b), weights=weights) - mean, lowest, highest)


def weighted_mse(scores: torch.Tensor, rels: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum of w * (score - rel)^2 over the sum of w, share of the weight that is within RIGHT); all (B,)."""
    errors = scores - rels
    right = (weights * (errors.abs() <= RIGHT)).sum() / weights.sum()
    return (weights * errors.square()).sum() / weights.sum(), right.detach()


def cosent(scores: torch.Tensor, rels: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(log(1 + sum of w_i w_j exp(score_j - score_i) over all i, j with rel_i > rel_j), share of these in order).

    All of shape (B,); scores are already scaled. With weights of 1 it is sentence-transformers' CoSENTLoss.
    """
    better = rels[:, None] > rels[None, :]
    both = weights[:, None] * weights[None, :]
    differences = scores[None, :] - scores[:, None] + both.log()
    zero = torch.zeros(1, device=scores.device, dtype=scores.dtype)
    loss = torch.logsumexp(torch.cat([zero, differences[better]]), dim=0)
    total = (both * better).sum()
    ordered = (both * better * (scores[:, None] > scores[None, :])).sum() / total.clamp_min(1e-12)
    return loss, ordered.detach()


def bixse(
    logits: torch.Tensor, rels: torch.Tensor, weights: torch.Tensor, excluded: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean weighted binary cross entropy of a row, share of the weight whose relevance is within RIGHT).

    `logits` (B, B) are of each query with each document; on the diagonal the label is `rels` (B,), elsewhere 0.
    `excluded` (B, B) is true where a pair has another judgment, and is not counted. Each row is summed over its
    documents and weighs `weights` (B,).
    """
    labels = torch.diag(rels)
    losses = binary_cross_entropy_with_logits(logits, labels, reduction="none").masked_fill(excluded, 0.0)
    right = (weights * ((logits.diagonal().sigmoid() - rels).abs() <= RIGHT)).sum() / weights.sum()
    return (weights * losses.sum(1)).sum() / weights.sum(), right.detach()
