"""Convert a data set in BEIR's layout to a general data set (see general_data.py)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer

from embedtune.core.errors import ParameterError
from embedtune.data.convert import CorpusWriter, convert
from embedtune.data.corpus import GENERAL, write_qrels, write_queries
from embedtune.data.layouts.beir import open_beir
from embedtune.data.layouts.rows import BadRows
from embedtune.data.segment import write_passages
from embedtune.models.settings import Settings
from embedtune.models.tokenization import frame

PREFERRED = ("test", "dev", "train")  # the first of these splits that exists gives the queries


def write_general_data(
    source: Path, target: Path, tokenizer: Tokenizer, settings: Settings, max_tokens: int
) -> dict[str, int]:
    """Convert the BEIR data set in `source` to a general data set in `target`; return how much it holds.

    The counts are questions, documents and rows_skipped. Only the beginning of each document is kept: `max_tokens`
    tokens, special tokens and instruction included. Unusable rows are moved to skipped.jsonl. Raises EmbedTuneError if
    the data set is not in BEIR's layout or no row is left, and ParameterError if `max_tokens` leaves no room for text.
    """
    frame_tokens = frame(tokenizer, settings.passage_instruction).length
    if max_tokens <= frame_tokens:
        raise ParameterError(
            "max_tokens",
            f"{max_tokens} leaves no token for text beside special tokens and `passage_instruction` ({frame_tokens})",
        )
    with (target / "skipped.jsonl").open("wb") as skipped, (target / "corpus.jsonl").open("wb") as file:
        bad_rows = BadRows(skipped)
        layout = open_beir(source, bad_rows, PREFERRED, "`path`", "give a directory in BEIR's layout")
        split = next(name for name in PREFERRED if name in layout.splits)
        asked = replace(layout, splits={split: layout.splits[split]})
        questions, counts = convert(asked, CorpusWriter(file), bad_rows)
    for directory in ("queries", "qrels", "passages"):
        (target / directory).mkdir()
    write_queries(target / "queries", GENERAL, questions[split])
    write_qrels(target / "qrels", GENERAL, questions[split])
    write_passages(
        target / "corpus.jsonl",
        tokenizer,
        target / "passages",
        max_tokens=max_tokens,
        frame_tokens=frame_tokens,
        overlap_tokens=0,
        max_passages=1,
        instruction=settings.passage_instruction,
    )
    return {
        "questions": len(questions[split]),
        "documents": counts["documents"],
        "rows_skipped": counts["rows_skipped"],
    }
