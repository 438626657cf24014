"""BM25 over 20,000 documents of 6,000 characters: embedtune's index on disk beside bm25s's own in memory.

    python -m benchmarks.lexical               writes results/lexical.json (a quarter of an hour)

All three give the same scores (tests/golden/test_lexical_search.py). `bm25s_asked` is bm25s with the terms of the
questions alone, which answers no other question. Each contender indexes, and then searches for every question three
times; a search gives the scores of all documents. Memory is what the process holds itself, mapped files apart.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import in_turn, medians, write_result
from benchmarks.scale import rss_anonymous, write_raw

DOCUMENTS, ROUNDS, PASSES = 20_000, 3, 3
CONTENDERS = ["embedtune", "bm25s", "bm25s_asked"]
Search = Callable[[str], Any]


def embedtune_index(corpus: Path, scratch: Path) -> Search:
    from embedtune.retrieval.bm25 import open_bm25, write_index

    write_index(scratch, texts(corpus))
    return open_bm25(scratch).scores


def bm25s_index(corpus: Path, asked: list[str] | None = None) -> Search:
    import bm25s
    from bm25s.tokenization import Tokenized

    from embedtune.retrieval.terms import terms

    known: dict[str, int] = {"": 0}
    if asked is not None:
        for question in asked:
            for term in terms(question):
                known.setdefault(term, len(known))
        ids = [[known.get(term, 0) for term in terms(text)] for text in texts(corpus)]
    else:
        ids = [[known.setdefault(term, len(known)) for term in terms(text)] for text in texts(corpus)]
    index = bm25s.BM25(method="lucene")
    index.index(Tokenized(ids=ids, vocab=known), show_progress=False)
    return lambda question: index.get_scores_from_ids([known[term] for term in terms(question) if term in known])


def texts(corpus: Path) -> Any:
    from embedtune.core.json_files import read_json_lines

    return (row["text"] for row in read_json_lines(corpus))


def contend(name: str, raw: Path) -> None:
    """Print a contender's figures as a JSON line."""
    from embedtune.core.json_files import read_json_lines

    questions = [row["query"] for split in ("dev", "test") for row in read_json_lines(raw / f"{split}.jsonl")]
    with tempfile.TemporaryDirectory(dir=raw) as scratch:
        started = time.perf_counter()
        if name == "embedtune":
            search = embedtune_index(raw / "corpus.jsonl", Path(scratch))
        else:
            search = bm25s_index(raw / "corpus.jsonl", questions if name == "bm25s_asked" else None)
        built = time.perf_counter() - started
        passes = []
        for _ in range(PASSES):
            started = time.perf_counter()
            for question in questions:
                search(question)
            passes.append(time.perf_counter() - started)
    milliseconds = 1000 * statistics.median(passes) / len(questions)
    print(json.dumps({"seconds": built, "query_ms": milliseconds, "held_bytes": rss_anonymous("self")}), flush=True)


def main() -> None:
    if len(sys.argv) > 1:
        contend(sys.argv[1], Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as scratch:
        raw = Path(scratch) / "raw" / "mldr-v1.0-zh"
        write_raw(raw, DOCUMENTS)
        runs = in_turn("benchmarks.lexical", CONTENDERS, [str(raw)], ROUNDS)
    ratio = statistics.median(
        ours["query_ms"] / theirs["query_ms"] for ours, theirs in zip(runs["embedtune"], runs["bm25s"], strict=True)
    )
    write_result("lexical", {"documents": DOCUMENTS, "contenders": medians(runs), "query_over_bm25s": round(ratio, 2)})


if __name__ == "__main__":
    main()
