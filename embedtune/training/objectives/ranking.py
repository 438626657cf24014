"""Objectives of a cross-encoder: a loss over the logits of a query's documents, each with a relevance and a weight.

    listwise   cross entropy of the group's softmax against each document's share of the relevance (ListNet, Cao et al.
               2007); with one positive it is the loss of FlagEmbedding's reranker
    pairwise   log(1 + exp(worse - better)) of each two documents of different relevance, by how much they differ
               (RankNet, Burges et al. 2005, whose documents are relevant or not)
    mse        squared difference of logit and relevance
    bce        binary cross entropy of the logit and the relevance

P are the documents of all groups of a batch. Losses are computed in fp32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, softplus
from transformers import PreTrainedModel

from embedtune.core.errors import ParameterError
from embedtune.training.network import PairScorer
from embedtune.training.objectives.objective import Features, LossTerms
from embedtune.training.objectives.scored_pairs import RIGHT, weighted_mse
from embedtune.training.pair_data import PairBatch

COMPARED = ("listwise", "pairwise")  # these compare documents of a query
PROBABILITY = "bce"  # the sigmoid of its logits is what was learned; of the others, logits are scores as they are


@dataclass(frozen=True)
class Ranking:
    """A loss over the logits of a query's documents, by its name: listwise, pairwise, mse or bce."""

    objective: str = "listwise"

    def check(self, batch_size: int, processes: int, group_size: int) -> None:
        """Raise ParameterError if a group of one document leaves nothing to compare it with."""
        if group_size == 1 and self.objective in COMPARED:
            raise ParameterError(
                "train_group_size",
                f"1 leaves `objective: {self.objective}` nothing to compare a document with; raise it",
            )

    def embedder(self, backbone: PreTrainedModel, settings: object) -> PairScorer:
        """The module that gives the pairs' logits, around a cross-encoder, in training mode."""
        return PairScorer(backbone).train()

    def sides(self, batch: PairBatch) -> dict[str, Features]:
        """The pairs of all groups (P, tokens)."""
        return {"pairs": batch["pairs"]}

    def weight(self, batch: PairBatch) -> float:
        """The sum of the weights: of groups (listwise), of pairs of documents (pairwise), of documents (mse, bce)."""
        if self.objective == "listwise":
            return float(_group_weights(batch).sum())
        if self.objective == "pairwise":
            return float(_weights_of_pairs(batch).sum())
        return float(batch["weights"].sum())

    def loss(self, embedder: PairScorer, embeddings: Mapping[str, torch.Tensor], batch: PairBatch) -> LossTerms:
        """The weighted sum of the losses."""
        logits = embeddings["pairs"][:, 0]
        rels, weights = batch["rels"].to(logits.device), batch["weights"].to(logits.device)
        if self.objective == "listwise":
            own = _group_weights(batch).to(logits.device)
            total, correct = listwise(logits, rels, weights, batch["groups"].to(logits.device), own)
        elif self.objective == "pairwise":
            total, correct = pairwise(logits, _weights_of_pairs(batch).to(logits.device))
        else:
            total, correct = (mse if self.objective == "mse" else bce)(logits, rels, weights)
        return LossTerms(total, self.weight(batch), correct.detach())


def listwise(
    logits: torch.Tensor, rels: torch.Tensor, weights: torch.Tensor, groups: torch.Tensor, group_weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum over groups of weight times cross entropy, weight of the groups that score a most relevant document first).

    `logits`, `rels`, `weights` and `groups` are of shape (P,), `group_weights` (B,). A document's target is its
    relevance times its weight, as a share of its group's sum.
    """
    own = groups == torch.arange(len(group_weights), device=groups.device)[:, None]
    logs = logits.expand(own.shape).masked_fill(~own, float("-inf")).log_softmax(1)
    targets = (rels * weights).expand(own.shape) * own
    targets = targets / targets.sum(1, keepdim=True).clamp_min(torch.finfo(targets.dtype).tiny)
    losses = -(targets * logs.masked_fill(~own, 0.0)).sum(1)
    most = rels.expand(own.shape).masked_fill(~own, float("-inf")).amax(1)
    first = rels[logs.argmax(1)] >= most
    return (group_weights * losses).sum(), (group_weights * first).sum()


def pairwise(logits: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(weighted sum of log(1 + exp(worse - better)), weight of the pairs in order); `weights` (P, P), 0 for no pair."""
    differences = logits[:, None] - logits[None, :]
    return (weights * softplus(-differences)).sum(), (weights * (differences > 0)).sum()


def mse(logits: torch.Tensor, rels: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(weighted sum of (logit - rel)^2, weight of the documents within RIGHT); all (P,)."""
    loss, right = weighted_mse(logits, rels, weights)
    return loss * weights.sum(), right * weights.sum()


def bce(logits: torch.Tensor, rels: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(weighted sum of the binary cross entropy, weight of the documents whose sigmoid is within RIGHT); all (P,)."""
    losses = binary_cross_entropy_with_logits(logits, rels, reduction="none")
    return (weights * losses).sum(), (weights * ((logits.sigmoid() - rels).abs() <= RIGHT)).sum()


def _weights_of_pairs(batch: PairBatch) -> torch.Tensor:
    """(P, P): for the more relevant of two documents of a query, the difference of relevances times both weights."""
    rels, weights, groups = batch["rels"], batch["weights"], batch["groups"]
    differences = (rels[:, None] - rels[None, :]).clamp_min(0.0) * (groups[:, None] == groups[None, :])
    return differences * weights[:, None] * weights[None, :]


def _group_weights(batch: PairBatch) -> torch.Tensor:
    """(B,): the mean weight of a group's documents; 0 for a group without a relevant one, which has no target."""
    own = batch["groups"] == torch.arange(len(batch["query_ids"]))[:, None]
    weights, rels = batch["weights"].expand(own.shape), batch["rels"].expand(own.shape)
    mean = (own * weights).sum(1) / own.sum(1)
    return torch.where((own * rels).sum(1) > 0, mean, 0.0)
