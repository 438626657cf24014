"""A data set in BEIR's layout made ready as a probe (see probe.py)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer

from embedtune.convert import CorpusWriter, convert
from embedtune.corpus import PROBE, write_qrels, write_queries
from embedtune.errors import EmbedTuneError
from embedtune.layouts.beir import open_beir
from embedtune.layouts.rows import BadRows
from embedtune.model import Settings
from embedtune.segment import write_passages
from embedtune.tokenization import frame

PREFERRED = ("test", "dev", "train")  # the split whose questions are asked


def write_probe(
    source: Path, target: Path, tokenizer: Tokenizer, settings: Settings, max_tokens: int
) -> dict[str, int]:
    """Write the BEIR data set in `source` to the directory `target`, heads of `max_tokens` tokens; what was counted.

    Rows that cannot be used are set aside in skipped.jsonl. Raises EmbedTuneError where the data set is not in BEIR's
    layout, no row is left, or `max_tokens` leaves no room for text.
    """
    frame_tokens = frame(tokenizer, settings.passage_instruction).length
    if max_tokens <= frame_tokens:
        raise EmbedTuneError(
            f"params.yaml: probe.max_tokens: {max_tokens} leaves no token for text beside special tokens and "
            f"model.passage_instruction ({frame_tokens})"
        )
    with (target / "skipped.jsonl").open("wb") as skipped, (target / "corpus.jsonl").open("wb") as file:
        bad_rows = BadRows(skipped)
        layout = open_beir(source, bad_rows, PREFERRED, "probe.path", "give a directory in BEIR's layout")
        split = next(name for name in PREFERRED if name in layout.splits)
        asked = replace(layout, splits={split: layout.splits[split]})
        questions, counts = convert(asked, CorpusWriter(file), bad_rows)
    for directory in ("queries", "qrels", "passages"):
        (target / directory).mkdir()
    write_queries(target / "queries", PROBE, questions[split])
    write_qrels(target / "qrels", PROBE, questions[split])
    write_passages(
        target / "corpus.jsonl",
        tokenizer,
        target / "passages",
        max_tokens=max_tokens,
        frame_tokens=frame_tokens,
        overlap_tokens=0,
        max_passages=1,
    )
    return {
        "questions": len(questions[split]),
        "documents": counts["documents"],
        "rows_skipped": counts["rows_skipped"],
    }
