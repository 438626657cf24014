"""Readers of the layouts that a data set may come in, each giving the same rows.

    mldr      [mldr-v1.0-<language>/]{train,dev,test,corpus}.jsonl[.gz]
              {query_id, query, positive_passages: [{docid, text}], negative_passages: [...]}, {docid, text}
    beir      corpus.jsonl[.gz] {_id, title, text}, queries.jsonl[.gz] {_id, text}, qrels/{train,dev,test}.tsv
    triplets  {train,dev,test}.jsonl[.gz], {query, pos: [text], neg: [text]} (FlagEmbedding's format)
    pairs     {train,dev,test}.jsonl[.gz], {query, pos_doc: text}

A directory with a single file is a train split, whatever the file's name. A row that cannot be read goes to `BadRows`.
"""

from __future__ import annotations

from pathlib import Path

from embedtune.errors import EmbedTuneError
from embedtune.layouts.beir import open_beir
from embedtune.layouts.jsonl import open_rows
from embedtune.layouts.rows import BadRows, Layout

FORMATS = ("mldr", "beir", "triplets", "pairs")


def open_layout(root: Path, layout_format: str, language: str, bad_rows: BadRows) -> Layout:
    """Open the data set in the directory `root`. Raises EmbedTuneError when it is not in that layout."""
    if not root.is_dir():
        raise EmbedTuneError(f"{root}: no such directory; the download stage makes it")
    if layout_format == "beir":
        return open_beir(root, bad_rows)
    return open_rows(root, layout_format, language, bad_rows)
