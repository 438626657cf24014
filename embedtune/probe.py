"""A general data set on which to see what tuning forgot, whole: every document is ranked for every question.

What probe_data.py writes: <probe>/corpus.jsonl, queries/probe.jsonl, qrels/probe.tsv, passages/; none of it where there
is no probe.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from embedtune.corpus import PROBE, read_queries
from embedtune.dev_evaluation import DevSet, prepare
from embedtune.model import Settings
from embedtune.passages import open_passages


def open_probe(directory: Path, tokenizer: Tokenizer, settings: Settings, query_max_len: int) -> DevSet | None:
    """The questions and all documents of what `write_probe` wrote; None where there is no probe."""
    if not (directory / "corpus.jsonl").exists():
        return None
    queries = read_queries(directory / "queries", directory / "qrels", PROBE)
    passages = open_passages(directory / "passages")
    documents = np.arange(len(passages.document_ids))
    return prepare(queries, passages, documents, tokenizer, settings, query_max_len, name="probe")
