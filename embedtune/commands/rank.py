"""Rank the documents for a question with the released system, and show the first ones.

    embedtune rank "哪些情形合同无效？"
    embedtune rank --depth 3 --json "..."

The system is the one in models/release; vectors, indexes and passages are those in data/ that it was measured with.
"""

from __future__ import annotations

import argparse
import functools
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from embedtune.comparison.calibration import probability
from embedtune.comparison.release import RERANKER
from embedtune.config import paths
from embedtune.core import cli, json_files
from embedtune.core.errors import EmbedTuneError
from embedtune.core.visible import json_text, one_line
from embedtune.data.passages import open_passages
from embedtune.models.vector_store import open_store
from embedtune.retrieval.answers import Answer, answer
from embedtune.retrieval.dense import Vectors
from embedtune.retrieval.searcher import Searcher, VectorsOf
from embedtune.retrieval.system import SYSTEM, Description, check_parts, dense_part, open_searcher

SHOWN = 200  # characters of a passage


def released_system() -> Description:
    """The description of the released system. Raises EmbedTuneError if nothing was released."""
    if not (paths.RELEASE / SYSTEM).exists():
        raise EmbedTuneError(f"{paths.RELEASE}: holds no released system; run `dvc repro`, or `dvc pull`")
    description: Description = json_files.read_json(paths.RELEASE / SYSTEM)
    return description


def encoder_of(description: Description) -> VectorsOf | None:
    """The function that embeds queries with the released model; None for a system without one."""
    dense = dense_part(description)
    if dense is None:
        return None
    from embedtune.models.encoder import load_encoder  # torch takes seconds to load

    encoder = load_encoder(paths.RELEASE)

    @functools.cache
    def embedded(*texts: str) -> Vectors:
        return encoder.encode_queries(texts, dense["query_max_len"])

    return lambda queries: embedded(*(query.text for query in queries))


def reranked(vectors_of: VectorsOf | None, candidates: Searcher, description: Description) -> Searcher:
    """The searcher that puts the documents of `candidates` in order with the released cross-encoder."""
    from embedtune.compute.device import pick_device  # torch takes seconds to load
    from embedtune.models.cross_encoder import BATCH_TOKENS, load_cross_encoder
    from embedtune.retrieval.rerank import PassageReader, RerankedSearcher

    chooser = dense_part(description)
    assert chooser is not None and vectors_of is not None, "a reranked system chooses passages by a model"
    stored = open_store(Path(chooser["vectors"]["path"])).passages
    reader = PassageReader(
        open_passages(paths.PASSAGES), paths.CORPUS, vectors_of, stored, description["read_passages"]
    )
    model = load_cross_encoder(paths.RELEASE / RERANKER, pick_device())
    return RerankedSearcher(candidates, reader, model, description["depth"], description["max_len"], BATCH_TOKENS)


def table(found: list[Answer], calibration: dict[str, Any]) -> str:
    """The answers for the terminal; with a calibration, how likely the first of them is right."""
    lines = []
    for rank, one in enumerate(found, start=1):
        lines.append(f"{rank:>3}  {one.score:.4f}  {one.document}")
        lines.append(f"     {textwrap.shorten(one_line(one.passage), SHOWN, placeholder='…')}")
    if found and "method" in calibration:
        likely = float(probability(calibration, np.array([found[0].score]))[0])
        by = f"whatever its score, since {calibration['flat']}" if "flat" in calibration else "by its score"
        lines.append(f"The first document is right with a probability of {likely:.2f}, {by} (learned on dev).")
    return "\n".join(lines) if found else "nothing was found"


def main(arguments: list[str]) -> None:
    """Print the first documents for the question."""
    parser = argparse.ArgumentParser(prog="embedtune rank", description=f"Rank documents with {paths.RELEASE}.")
    parser.add_argument("question")
    parser.add_argument("--depth", type=int, default=10, metavar="N", help="how many documents to show (10)")
    parser.add_argument("--json", action="store_true", help="print JSON, with whole passages")
    given = parser.parse_args(arguments)
    if given.depth < 1:
        raise EmbedTuneError(f"--depth: expected 1 or more, got {given.depth}")
    description, root = released_system(), Path()
    for needed in (paths.PASSAGES, paths.CORPUS):
        if not needed.exists():
            raise EmbedTuneError(f"{needed}: is not here, and the system needs it; `dvc pull` or `dvc repro` brings it")
    check_parts(description, root, only=("vectors", "index", "passages", "terms"))
    vectors_of = encoder_of(description)
    searcher = open_searcher(description, root, vectors_of, functools.partial(reranked, vectors_of))
    found = answer(searcher, given.question, given.depth, open_passages(paths.PASSAGES), paths.CORPUS)
    if given.json:
        rows = [{"rank": rank, **vars(one)} for rank, one in enumerate(found, start=1)]
        print(json_text(rows))
        return
    cli.show(table(found, json_files.read_json(paths.RELEASE / paths.CALIBRATION.name)))
