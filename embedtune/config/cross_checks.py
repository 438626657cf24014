"""Checks of params.yaml that the schema cannot express, mostly between several keys."""

from __future__ import annotations

import graphlib
import math
import re
from collections.abc import Callable
from pathlib import Path

from embedtune.config.schema import CONTRASTIVE, GateRule, Params, defined_systems
from embedtune.config.systems import BASE, BESIDE, DATASET, NONE, RESERVED, embedding_models
from embedtune.config.types import MOST_RESAMPLES, RESAMPLES_BEYOND
from embedtune.core.errors import Problems
from embedtune.evaluation.slice_names import BOUNDS, group_names


def check_together(params: Params, path: Path, problems: Problems) -> None:
    """Add to `problems` every key that breaks one of these rules; `path` is the file that the messages name."""

    def refuse(key: str, what: str) -> None:
        problems.add(f"{path}: {key}", what)

    shares = params.dataset.split_shares
    total = shares.train + shares.dev + shares.test
    if not math.isclose(total, 1, abs_tol=1e-6):
        refuse("dataset.split_shares", f"expected train + dev + test to be 1, got {total:g}")
    if params.dataset.format == "scored" and params.dataset.relevant_from and params.dataset.relevant_from > 1:
        refuse("dataset.relevant_from", f"expected at most 1, the highest rel, got {params.dataset.relevant_from:g}")
    if params.segment.overlap_tokens * 2 > params.segment.max_tokens:
        refuse(
            "segment.overlap_tokens",
            f"expected at most half of segment.max_tokens ({params.segment.max_tokens}), "
            f"got {params.segment.overlap_tokens}",
        )
    for key, window in (("hard_ranks", params.mine.hard_ranks), ("random_ranks", params.mine.random_ranks)):
        if window is not None and window[1] is not None and window[0] > window[1]:
            refuse(f"mine.{key}", f"expected the first rank not to be above the last, got {list(window)}")
    _check_systems(params, refuse)
    for measure in params.compare.measures or ():
        _check_measure("compare.measures", measure, params, refuse)
    _check_resamples("compare.confidence", params.compare.confidence, 2, params, refuse)
    for name, rule in params.gate.items():
        _check_rule(name, rule, params, refuse)
    _check_training(params, refuse)
    if params.model.name not in ("sample", "local") and "/" not in params.model.name:
        refuse(
            "model.name",
            f"expected sample, local (the directory in model.path) or a hub id such as BAAI/bge-base-zh-v1.5, "
            f"got {params.model.name!r}",
        )
    if params.model.name.startswith((".", "/", "~")):
        refuse("model.name", f"for a model in a directory write `name: local` and `path: {params.model.name}`")


def _check_training(params: Params, refuse: Callable[[str, str], None]) -> None:
    """Refuse trainings that nothing can come of, and settings that wait for what never happens."""
    train, negatives = params.train, params.mine.negatives
    if isinstance(train.early_stopping_patience, int) and train.eval_strategy == "no":
        refuse(
            "train.early_stopping_patience",
            f"{train.early_stopping_patience} counts evaluations, and train.eval_strategy is no; write epoch or steps "
            "there, or never here",
        )
    if train.objective != CONTRASTIVE:
        _check_scored(params, refuse)
        return
    if train.learn_scale:
        refuse("train.learn_scale", "true is for train.objective: weighted_mse; write false")
    group = min(2, negatives + 1) if train.train_group_size is None else train.train_group_size
    if group - 1 > negatives:
        refuse(
            "train.train_group_size",
            f"expected at most mine.negatives + 1 ({negatives + 1}: one positive and its negatives), got {group}",
        )
    if group == 1:
        if train.negatives == "group":
            refuse(
                "train.negatives",
                "group with groups of 1 passage leaves nothing to tell a positive from, and trains nothing; write "
                "in_batch, or raise train.train_group_size (and mine.negatives)",
            )
        elif train.per_device_train_batch_size == 1 and train.negatives == "in_batch":
            refuse(
                "train.per_device_train_batch_size",
                "1 with groups of 1 passage leaves nothing to tell a positive from, and trains nothing; raise it, or "
                "train.train_group_size (and mine.negatives)",
            )


def _check_scored(params: Params, refuse: Callable[[str, str], None]) -> None:
    """Refuse what an objective on scored pairs does not use, and would ignore without a word."""
    train = params.train
    if train.train_group_size not in (None, 1):
        refuse(
            "train.train_group_size", f"expected 1 or null with train.objective: {train.objective}, which learns pairs"
        )
    if train.learn_scale and train.objective != "weighted_mse":
        refuse("train.learn_scale", f"true is for train.objective: weighted_mse, got {train.objective}; write false")


def _check_systems(params: Params, refuse: Callable[[str, str], None]) -> None:
    """Refuse names that two systems share, and systems that are named and not defined."""
    _check_names(params, refuse)
    earlier = [BASE]
    for name, stage in params.rounds.items():
        if stage.start not in earlier:
            refuse(
                f"rounds.{name}.from", f"expected base or an earlier round ({', '.join(earlier)}), got {stage.start}"
            )
        _check_teacher(name, params, refuse)
        earlier.append(name)
    for name, mixture in params.mixtures.items():
        if mixture.model not in params.rounds:
            known = ", ".join(params.rounds)
            refuse(f"mixtures.{name}.model", f"expected one of rounds ({known}), got {mixture.model}")
    models = embedding_models(params.rounds, params.mixtures)
    for name, fusion in params.fusions.items():
        if fusion.dense not in models:
            refuse(f"fusions.{name}.dense", f"expected an embedding model ({', '.join(models)}), got {fusion.dense}")
    for name in params.rerankers:
        _check_reranker(name, params, refuse)
    _check_circles(params, refuse)
    defined = defined_systems(params)
    for system in params.systems:
        if system not in defined:
            refuse("systems", f"{system} is not defined; there are {', '.join(defined)}")
        if params.systems.count(system) > 1:
            refuse("systems", f"{system} stands twice")
            break
    for role, system in (("system", params.release.system), ("baseline", params.release.baseline)):
        if system not in params.systems:
            refuse(f"release.{role}", f"expected one of systems ({', '.join(params.systems)}), got {system}")
    if params.release.system == params.release.baseline:
        refuse("release.baseline", f"expected another system than release.system, got {params.release.baseline}")


def _check_teacher(name: str, params: Params, refuse: Callable[[str, str], None]) -> None:
    """Refuse a teacher that there is not, and one that has nothing to teach."""
    teacher, where = params.rounds[name].teacher, f"rounds.{name}.teacher"
    if teacher not in (NONE, DATASET, *params.rerankers):
        known = ", ".join((NONE, DATASET, *params.rerankers))
        refuse(where, f"expected none, dataset or one of rerankers ({known}), got {teacher}")
    if params.mine.positive_passage == "teacher" and not any(
        r.teacher in params.rerankers for r in params.rounds.values()
    ):
        refuse("mine.positive_passage", f"teacher needs one of rerankers, and {where} is {teacher}")
    if teacher == NONE:
        return
    if params.train.objective != CONTRASTIVE:
        refuse(where, f"expected none with train.objective: {params.train.objective}, got {teacher}")
    elif params.train.train_group_size == 1 or not params.mine.negatives:
        refuse(where, f"expected none with groups of 1 passage, where there is nothing to score, got {teacher}")


def _check_names(params: Params, refuse: Callable[[str, str], None]) -> None:
    taken = {*RESERVED}
    for section in ("rounds", "mixtures", "fusions", "rerankers"):
        names = getattr(params, section)
        for name in names:
            if name in taken:
                refuse(f"{section}.{name}", f"{name} is the name of another system; choose another")
        taken |= {*names}


def _check_reranker(name: str, params: Params, refuse: Callable[[str, str], None]) -> None:
    """Refuse a reranker of no model or two, over an unknown system, or with nothing to learn from."""
    entry, models = params.rerankers[name], embedding_models(params.rounds, params.mixtures)
    where = f"rerankers.{name}"
    if entry.start not in (NONE, *models):
        refuse(f"{where}.from", f"expected none or an embedding model ({', '.join(models)}), got {entry.start}")
    if (entry.start == NONE) == (entry.model == NONE):
        refuse(
            f"{where}.model",
            f"expected a hub id or local beside `from: none`, or none beside an embedding model, got {entry.model} "
            f"beside `from: {entry.start}`",
        )
    elif entry.model not in (NONE, "local") and not re.fullmatch(r"[^/.~\s][^/\s]*/[^/\s]+", entry.model):
        refuse(
            f"{where}.model", f"expected none, local (the directory in {where}.path) or a hub id, got {entry.model!r}"
        )
    if entry.objective == NONE and entry.start != NONE:
        refuse(f"{where}.objective", f"none is for a ready `model`; a new head on {entry.start} has to be trained")
    candidates = [*models, *BESIDE, *params.fusions]
    if entry.candidates not in candidates:
        refuse(f"{where}.candidates", f"expected one of {', '.join(candidates)}, got {entry.candidates}")
    if entry.depth > max(params.evaluate.depth, *params.evaluate.cutoffs):
        refuse(f"{where}.depth", f"expected at most evaluate.depth ({params.evaluate.depth}), got {entry.depth}")
    if entry.objective in ("listwise", "pairwise") and params.rerank.train_group_size == 1:
        refuse(
            f"{where}.objective", f"{entry.objective} compares documents, and rerank.train_group_size is 1; raise it"
        )
    if entry.objective == NONE or entry.rows == "judged":
        return
    if not params.mine.negatives:
        refuse(f"{where}.rows", "mined rows need mine.negatives of 1 or more, got 0; raise it, or write judged")
    elif params.rerank.train_group_size is not None and params.rerank.train_group_size - 1 > params.mine.negatives:
        refuse(
            "rerank.train_group_size",
            f"expected at most mine.negatives + 1 ({params.mine.negatives + 1}), got {params.rerank.train_group_size}",
        )


def _check_circles(params: Params, refuse: Callable[[str, str], None]) -> None:
    """Refuse systems each of which waits for another's results or weights."""
    needs: dict[str, set[str]] = {name: {stage.start, stage.teacher} for name, stage in params.rounds.items()}
    needs |= {name: {mixture.model} for name, mixture in params.mixtures.items()}
    needs |= {name: {fusion.dense} for name, fusion in params.fusions.items()}
    needs |= {name: {entry.start, entry.candidates} for name, entry in params.rerankers.items()}
    named = [*params.rounds, *params.mixtures, *params.fusions, *params.rerankers]
    if len(needs) < len(named):
        return  # a name that stands twice is refused as such
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        refuse("rounds", f"these wait for each other: {' <- '.join(error.args[1])}; take one of them out of the circle")


def _check_measure(key: str, measure: str, params: Params, refuse: Callable[[str, str], None]) -> None:
    scored = params.dataset.format == "scored" and params.dataset.source != "mldr"
    graded = scored or params.dataset.relevant_from is not None
    kinds = ["recall", "ndcg", "mrr", *(["judged_ndcg"] if graded else [])]
    measures = [f"{kind}@{cutoff}" for cutoff in params.evaluate.cutoffs for kind in kinds]
    if measure not in measures:
        refuse(key, f"evaluate.cutoffs gives no measure {measure}, but {', '.join(measures)}")


def _check_rule(name: str, rule: GateRule, params: Params, refuse: Callable[[str, str], None]) -> None:
    """Refuse a gate rule on a measure or slice that `evaluate` does not compute: before a run trains, not after."""
    measure, _, group = (part.strip() for part in name.partition(" in "))
    _check_measure(f"gate.{name}", measure, params, refuse)
    column, _, value = group.partition("=")
    if group and column not in BOUNDS:
        refuse(f"gate.{name}", f"expected a slice by {', '.join(BOUNDS)}, such as query_length=10-20")
    elif group and value not in group_names(column):
        refuse(f"gate.{name}", f"expected {column}= one of {', '.join(group_names(column))}")
    _check_resamples(f"gate.{name}.confidence", rule.confidence, 1, params, refuse)


def _check_resamples(
    key: str, confidence: float, sides: int, params: Params, refuse: Callable[[str, str], None]
) -> None:
    """Refuse too few resamples: at least RESAMPLES_BEYOND must lie beyond the bound on each of `sides` sides."""
    enough = math.ceil(round(RESAMPLES_BEYOND * sides / (1 - confidence), 6))
    if enough > MOST_RESAMPLES:
        most = 1 - RESAMPLES_BEYOND * sides / MOST_RESAMPLES
        refuse(key, f"expected at most {most:g}, for which {MOST_RESAMPLES} resamples are enough, got {confidence!r}")
    elif params.compare.resamples < enough:
        refuse(
            key,
            f"{params.compare.resamples:,} resamples (compare.resamples) are too few for {confidence:g}; "
            f"{enough:,} are enough",
        )
