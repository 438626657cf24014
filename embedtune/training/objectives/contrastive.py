"""The training objective: InfoNCE over embeddings, and its variants.

Shapes: B queries of this process, G passages per group (a query's positive and its negatives), P candidate passages
(B * G of this process, or W * B * G of W processes), D dimensions. Scores and softmax are FlagEmbedding's, in fp32.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from FlagEmbedding.abc.finetune.embedder import AbsEmbedderModel
from FlagEmbedding.finetune.embedder.encoder_only.base import BiEncoderOnlyEmbedderModel
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from embedtune.compute import distributed
from embedtune.core.errors import ParameterError
from embedtune.models.settings import Settings
from embedtune.training.batches import Batch
from embedtune.training.objectives.objective import Features, LossTerms

IGNORED = float("-inf")
SCORES = 2**25  # scores that are in memory at a time: 128 MB


@dataclass(frozen=True)
class Candidates:
    """The labels of the candidate passages: positives, excluded passages, a teacher's scores.

    `target` (B,), int64, is the column of each query's positive, the first of its group's `group_size` adjacent
    columns. `excluded` (B, P), bool, is true where a passage is known to be relevant but is not the positive; None:
    nowhere. `teacher` (B, G) has a teacher's scores of the group, positive first; None: no distillation.
    """

    target: torch.Tensor
    group_size: int
    excluded: torch.Tensor | None = None
    teacher: torch.Tensor | None = None

    def of(self, queries: slice) -> Candidates:
        """The candidates of a slice of the queries."""
        excluded, teacher = (None if x is None else x[queries] for x in (self.excluded, self.teacher))
        return Candidates(self.target[queries], self.group_size, excluded, teacher)


@dataclass(frozen=True)
class Distillation:
    """How a teacher's scores of a query's group are learned, and which `share` of the loss that is.

    `how` is kl: the cross entropy against the softmax of its scores / `temperature`, FlagEmbedding's `kl_div`; or
    margin_mse: the squared difference of student and teacher in how far each negative scores below the positive
    (Hofstätter et al. 2020, arXiv 2010.02666), the student's scores being divided by its temperature, the teacher's by
    `temperature`.
    """

    how: str = "kl"
    share: float = 0.5
    temperature: float = 1.0

    def loss(self, embedder: AbsEmbedderModel, teacher: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The loss of the student's `scores` (B, G), positive first, against the `teacher`'s (B, G)."""
        targets = teacher / self.temperature
        if self.how == "kl":
            loss: torch.Tensor = embedder.distill_loss("kl_div", targets.softmax(-1), scores, scores.shape[1])
            return loss
        margins, wanted = (scores[:, :1] - scores[:, 1:]), (targets[:, :1] - targets[:, 1:])
        return (margins - wanted).square().mean()


@dataclass(frozen=True)
class Contrastive:
    """InfoNCE with in-batch negatives, as params.yaml's section `train` has it.

    `negatives` is group (a query's own mined negatives), in_batch (all passages of this process's batch) or
    cross_device (those of all processes). Where a batch has a teacher's scores, `distillation_share` of the loss is
    `distillation` (kl or margin_mse, see `contrastive_loss`).
    """

    temperature: float = 0.02
    negatives: str = "cross_device"
    mask_false_negatives: bool = True
    false_negative_margin: float | None = None
    matryoshka_dims: Sequence[int] = ()
    teacher_temperature: float = 1.0
    distillation: str = "kl"
    distillation_share: float = 0.5

    def check(self, batch_size: int, processes: int, group_size: int) -> None:
        """Raise ParameterError if a question's positive would be its only candidate."""
        candidates = group_size
        if self.negatives != "group":
            candidates *= batch_size * (processes if self.negatives == "cross_device" else 1)
        if candidates == 1:
            raise ParameterError(
                "per_device_train_batch_size",
                f"{batch_size} with groups of 1 passage and `negatives: {self.negatives}` leaves nothing to tell a "
                "positive from, and trains nothing; raise it, or `train_group_size`",
            )

    def embedder(self, backbone: PreTrainedModel, settings: Settings) -> AbsEmbedderModel:
        """FlagEmbedding's model around `backbone`. Raises ParameterError if `matryoshka_dims` exceed its width."""
        refuse_wide_dims(self.matryoshka_dims, backbone.config.hidden_size)
        return BiEncoderOnlyEmbedderModel(
            backbone,
            temperature=self.temperature,
            sentence_pooling_method=settings.pooling,
            normalize_embeddings=settings.normalize,
        ).train()

    def sides(self, batch: Batch) -> dict[str, Features]:
        """Queries (B, tokens) and passages (B * G, tokens)."""
        return {"queries": batch["queries"], "passages": batch["passages"]}

    def weight(self, batch: Batch) -> float:
        """The number of queries: each counts alike, whatever batch it is in."""
        return float(len(batch["query_ids"]))

    def loss(self, embedder: AbsEmbedderModel, embeddings: Mapping[str, torch.Tensor], batch: Batch) -> LossTerms:
        """The sum of the queries' losses. Passages are gathered from all processes for cross_device negatives."""
        queries, passages = embeddings["queries"], embeddings["passages"]
        everywhere = distributed.all_gather_with_gradient(passages) if self.negatives == "cross_device" else passages
        loss, correct = contrastive_loss(
            embedder,
            queries,
            everywhere,
            self._candidates(batch, len(everywhere), queries.device),
            matryoshka_dims=self.matryoshka_dims,
            distillation=Distillation(self.distillation, self.distillation_share, self.teacher_temperature),
            group_only=self.negatives == "group",
            false_negative_margin=self.false_negative_margin,
            query_chunk_size=max(1, SCORES // len(everywhere)),
        )
        return LossTerms(loss * len(queries), self.weight(batch), correct)

    def _candidates(self, batch: Batch, count: int, device: torch.device) -> Candidates:
        """The labels of `count` candidate passages for the queries of this process."""
        queries = len(batch["query_ids"])
        group = len(batch["documents"]) // queries
        across = count > len(batch["documents"])
        first = distributed.rank() * queries if across else 0
        target = (first + torch.arange(queries, device=device)) * group
        excluded = None
        if self.mask_false_negatives:  # by document, and by text: other documents may have a relevant one's text
            for relevant, candidates in (
                (batch["relevant"], batch["documents"]),
                (batch["relevant_texts"], batch["texts"]),
            ):
                candidates = candidates.to(device, non_blocking=True)
                everywhere = distributed.all_gather(candidates) if across else candidates
                known = false_negative_mask(relevant.to(device, non_blocking=True), everywhere, target, group)
                excluded = known if excluded is None else excluded | known
        teacher = None if batch["scores"] is None else batch["scores"].to(device)
        return Candidates(target, group, excluded, teacher)


def refuse_wide_dims(matryoshka_dims: Sequence[int], width: int) -> None:
    """Raise ParameterError if one of `matryoshka_dims` exceeds `width`, the numbers of the model's vectors."""
    too_wide = [size for size in matryoshka_dims if size > width]
    if too_wide:
        raise ParameterError("matryoshka_dims", f"the model's vectors have {width} numbers, fewer than {too_wide[0]}")


def contrastive_loss(
    embedder: AbsEmbedderModel,
    queries: torch.Tensor,
    passages: torch.Tensor,
    candidates: Candidates,
    *,
    matryoshka_dims: Sequence[int] = (),
    distillation: Distillation = Distillation(),
    group_only: bool = False,
    false_negative_margin: float | None = None,
    query_chunk_size: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean loss, number of queries whose positive scores highest) for embeddings `queries` (B, D), `passages` (P, D).

    The loss is InfoNCE (van den Oord et al. 2018): the cross entropy of a query's scores, divided by the temperature,
    against its positive. With `group_only`, the candidates are only the query's own group. With
    `false_negative_margin`, candidates that score above the positive by more than this are excluded; the margin is in
    units of the score before the division by the temperature (GISTEmbed, Solatorio 2024; Qwen3-Embedding, Zhang et al.
    2025). With `matryoshka_dims`, the loss is the mean over the losses on the first m dimensions of the embeddings, for
    each m and for the whole (Kusupati et al. 2022); the count is taken at the whole. Where there is
    a teacher, `distillation` says which share of the loss is the difference from its scores of the group.

    Only `query_chunk_size` rows of the score matrix (B, P) are in memory at a time (None: all). The backward pass
    computes them again (Inf-CL, Cheng et al. 2024, tiles the loss in the same way).
    """
    loss_of = functools.partial(
        _loss_of_all,
        embedder,
        passages=passages,
        matryoshka_dims=matryoshka_dims,
        distillation=distillation,
        group_only=group_only,
        false_negative_margin=false_negative_margin,
    )
    if query_chunk_size is None or query_chunk_size >= len(queries):
        return loss_of(queries, candidates=candidates)
    loss, correct = torch.zeros_like(queries[0, 0]), torch.zeros((), device=queries.device)
    for start in range(0, len(queries), query_chunk_size):
        rows = slice(start, start + query_chunk_size)
        some = queries[rows]
        their_loss, their_correct = checkpoint(
            loss_of, some, candidates=candidates.of(rows), use_reentrant=False, preserve_rng_state=False
        )
        loss = loss + their_loss * (len(some) / len(queries))
        correct = correct + their_correct
    return loss, correct


def _loss_of_all(
    embedder: AbsEmbedderModel,
    queries: torch.Tensor,
    *,
    passages: torch.Tensor,
    candidates: Candidates,
    matryoshka_dims: Sequence[int],
    distillation: Distillation,
    group_only: bool,
    false_negative_margin: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    sizes = sorted({*matryoshka_dims, queries.shape[1]})  # without the whole, its last numbers would not be trained
    losses, correct = [], torch.zeros((), device=queries.device)
    for size in sizes:
        short_queries, short_passages = queries, passages
        if size < queries.shape[1]:
            short_queries, short_passages = queries[:, :size], passages[:, :size]
            if embedder.normalize_embeddings:
                short_queries, short_passages = normalize(short_queries, dim=-1), normalize(short_passages, dim=-1)
        scores = embedder.compute_score(short_queries, short_passages)
        group_scores = _own_group(scores, candidates)
        target = candidates.target
        excluded = candidates.excluded
        if group_only:
            scores, excluded = group_scores, None
            target = torch.zeros_like(target)
        if false_negative_margin is not None:
            above = _margin_mask(scores, target, false_negative_margin / embedder.temperature)
            excluded = above if excluded is None else excluded | above
        if excluded is not None:
            scores = scores.masked_fill(excluded, IGNORED)
        loss = embedder.compute_loss(scores, target)
        if candidates.teacher is not None:
            taught = distillation.loss(embedder, candidates.teacher, group_scores)
            loss = (1 - distillation.share) * loss + distillation.share * taught
        losses.append(loss)
        correct = (scores.argmax(-1) == target).sum()  # the whole comes last
    return torch.stack(losses).mean(), correct


def false_negative_mask(
    relevant: torch.Tensor, documents: torch.Tensor, target: torch.Tensor, group_size: int
) -> torch.Tensor:
    """A mask (B, P), bool: true where another query's candidate is from one of the query's relevant documents.

    `relevant` (B, R) has the numbers of each query's relevant documents (or texts), padded with -1. `documents` (P,)
    has the document (or text) numbers of the candidates, `target` (B,) the column of each query's positive. A query's
    own group is never marked: its negatives were mined for it.
    """
    marked = torch.zeros(len(relevant), len(documents), dtype=torch.bool, device=documents.device)
    for one in relevant.unbind(1):  # one at a time: a query may have hundreds
        marked |= one[:, None] == documents
    columns = torch.arange(len(documents), device=documents.device)
    own = (columns >= target[:, None]) & (columns < target[:, None] + group_size)
    return marked & ~own


def _own_group(scores: torch.Tensor, candidates: Candidates) -> torch.Tensor:
    """The scores (B, G) of each query's own group, positive first."""
    columns = candidates.target[:, None] + torch.arange(candidates.group_size, device=scores.device)
    return scores.gather(1, columns)


def _margin_mask(scores: torch.Tensor, target: torch.Tensor, margin: float) -> torch.Tensor:
    """A mask (B, P), bool: true where a score exceeds the positive's by more than `margin`, never at the positive."""
    with torch.no_grad():
        above = scores > scores.gather(1, target[:, None]) + margin
        return above.scatter(1, target[:, None], False)
