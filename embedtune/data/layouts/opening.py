"""Open a data set in any of the supported layouts.

    mldr      [mldr-v1.0-<language>/]{train,dev,test,corpus}.jsonl[.gz]
              {query_id, query, positive_passages: [{docid, title, text}], negative_passages: [...]};
              {docid, title, text}
    beir      corpus.jsonl[.gz] {_id, title, text}, queries.jsonl[.gz] {_id, text}, qrels/{train,dev,test}.tsv
    triplets  {train,dev,test,corpus}.jsonl[.gz], {query, pos: [text], neg: [text]} (FlagEmbedding's format)
    pairs     {train,dev,test,corpus}.jsonl[.gz], {query, pos_doc: text}
    scored    {train,dev,test}[_data].{jsonl,jsonl.gz,json,csv}, {key, query, doc: text, rel: 0 to 1, weight}

A corpus beside triplets or pairs has rows {text}, {title, text}, with or without a docid or an _id; their rows name its
documents by their texts. In the layouts other than beir, the only .jsonl[.gz] file of a directory beside the corpus is
the train split, whatever its name. An invalid row goes to `BadRows`.
"""

from __future__ import annotations

from pathlib import Path

from embedtune.core.errors import EmbedTuneError
from embedtune.data.layouts.beir import open_beir
from embedtune.data.layouts.jsonl import open_jsonl
from embedtune.data.layouts.rows import BadRows, Layout
from embedtune.data.layouts.scored import open_scored

SCORED = "scored"
FORMATS = ("mldr", "beir", "triplets", "pairs", SCORED)


def open_layout(root: Path, layout_format: str, language: str, bad_rows: BadRows, repeated: str = "fail") -> Layout:
    """Open the data set in the directory `root`. Raises EmbedTuneError without that directory or the layout's files.

    `repeated` is for scored pairs that stand more than once: fail, mean or last (see scored.py).
    """
    if not root.is_dir():
        raise EmbedTuneError(f"{root}: no such directory")
    if layout_format == "beir":
        return open_beir(root, bad_rows)
    if layout_format == SCORED:
        return open_scored(root, bad_rows, repeated)
    return open_jsonl(root, layout_format, language, bad_rows)
