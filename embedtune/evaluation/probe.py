"""The probe: a general-domain data set that shows what fine-tuning forgot (catastrophic forgetting).

All its documents are ranked for every query, without a pool. probe_data.py writes corpus.jsonl, queries/probe.jsonl,
qrels/probe.tsv and passages/ to the probe's directory. None of them exists if no probe is configured.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from embedtune.data.corpus import PROBE, read_queries
from embedtune.data.passages import open_passages
from embedtune.evaluation.dev_evaluation import EvaluationSet, prepare_evaluation_set
from embedtune.models.settings import Settings


def open_probe(directory: Path, tokenizer: Tokenizer, settings: Settings, query_max_len: int) -> EvaluationSet | None:
    """An EvaluationSet of all queries and documents that `write_probe` wrote to `directory`; None if there is no probe.

    Raises ParameterError if the query instruction leaves no room for a query in `query_max_len` tokens.
    """
    if not (directory / "corpus.jsonl").exists():
        return None
    queries = read_queries(directory / "queries", directory / "qrels", PROBE)
    passages = open_passages(directory / "passages")
    documents = np.arange(len(passages.document_ids))
    return prepare_evaluation_set(queries, passages, documents, tokenizer, settings, query_max_len, name="probe")
