"""The general data set: questions outside the domain of the training, to see what tuning forgot.

All its documents are ranked for every query, without a pool. write_general_data.py writes corpus.jsonl,
queries/general.jsonl, qrels/general.tsv and passages/ to its directory. None of them exists if none is configured.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from embedtune.data.corpus import GENERAL, read_queries
from embedtune.data.passages import open_passages
from embedtune.evaluation.dev_evaluation import EvaluationSet, prepare_evaluation_set
from embedtune.models.settings import Settings


def open_general_data(
    directory: Path, tokenizer: Tokenizer, settings: Settings, query_max_len: int
) -> EvaluationSet | None:
    """An EvaluationSet of all queries and documents that `write_general_data` wrote to `directory`; None without them.

    Raises ParameterError if the query instruction leaves no room for a query in `query_max_len` tokens.
    """
    if not (directory / "corpus.jsonl").exists():
        return None
    queries = read_queries(directory / "queries", directory / "qrels", GENERAL)
    passages = open_passages(directory / "passages")
    documents = np.arange(len(passages.document_ids))
    return prepare_evaluation_set(queries, passages, documents, tokenizer, settings, query_max_len, name="general data")
