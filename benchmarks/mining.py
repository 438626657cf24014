"""Mining against FlagEmbedding's hn_mine.py and sentence-transformers' mine_hard_negatives, on STARD's law questions.

    HN_MINE=/path/to/hn_mine.py python -m benchmarks.mining        writes results/mining.json

hn_mine.py is scripts/hn_mine.py of FlagOpen/FlagEmbedding, which its package leaves out; without HN_MINE it is skipped.
The same model (the sample's), the same documents (heads of 512 tokens of ../shared/data/stard-laws) and the same
negatives asked for: ten of ranks 2 to 20. `cold` is segment, encode_base and mine; `warm` is mine alone, as where
encode_base exists. Each run is a fresh process, imports and all; medians of interleaved rounds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import interleaved, write_result
from benchmarks.pipeline import LAWS, clone

ROUNDS = 3
NEGATIVES, RANKS, MAX_LEN = 10, (2, 20), 512
PARAMETERS: dict[str, dict[str, Any]] = {
    "dataset": {"source": "local", "path": str(LAWS)},
    "segment": {"max_tokens": MAX_LEN, "max_passages": 1},
    "mine": {"negatives": NEGATIVES, "hard_share": 1.0, "hard_ranks": list(RANKS), "positive_passage": "first"},
}
STAGES = {"cold": [["segment"], ["encode", "base"], ["mine", "finetuned"]], "warm": [["mine", "finetuned"]]}


def stage(project: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", f"stages.{arguments[0]}", *arguments[1:]]
    subprocess.run(command, cwd=project, check=True, capture_output=True)


def rows(project: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """FlagEmbedding's rows without negatives, and the corpus' texts."""
    from embedtune.data.corpus import read_corpus, read_queries

    texts = {document.id: document.text for document in read_corpus(project / "data" / "corpus.jsonl")}
    queries = read_queries(project / "data" / "queries", project / "data" / "qrels", "train")
    return [{"query": q.text, "pos": [texts[d] for d in q.relevant()], "neg": []} for q in queries], [*texts.values()]


def hn_mine(project: Path) -> None:
    """FlagEmbedding's script, on files that `prepare` wrote."""
    flags = {
        "input_file": project / "flag.jsonl",
        "output_file": project / "flag-mined.jsonl",
        "candidate_pool": project / "pool.jsonl",
        "range_for_sampling": f"{RANKS[0] - 1}-{RANKS[1]}",
        "negative_number": NEGATIVES,
        "embedder_name_or_path": project / "models" / "base",
        "embedder_model_class": "encoder-only-base",
        "pooling_method": "mean",
        "embedder_query_max_length": 64,
        "embedder_passage_max_length": MAX_LEN,
        "use_fp16": False,
        "devices": "cpu",
        "batch_size": 32,
    }
    arguments = [part for key, value in flags.items() for part in (f"--{key}", str(value))]
    done = subprocess.run([sys.executable, os.environ["HN_MINE"], *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])


def sentence_transformers(project: Path) -> None:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    asked, corpus = rows(project)
    model = SentenceTransformer(str(project / "models" / "base"), device="cpu")
    model.max_seq_length = MAX_LEN
    pairs = [(row["query"], text) for row in asked for text in row["pos"]]
    mine_hard_negatives(
        Dataset.from_dict({"query": [q for q, _ in pairs], "answer": [a for _, a in pairs]}),
        model,
        corpus=corpus,
        range_min=RANKS[0] - 1,
        range_max=RANKS[1],
        num_negatives=NEGATIVES,
        sampling_strategy="random",
        batch_size=32,
        use_faiss=True,
        verbose=False,
    )


def contend(contender: str, project: Path) -> None:
    """Run one contender and print its seconds."""
    started = time.perf_counter()
    if contender in STAGES:
        for arguments in STAGES[contender]:
            stage(project, *arguments)
    elif contender == "hn_mine":
        hn_mine(project)
    else:
        sentence_transformers(project)
    print(json.dumps({"seconds": time.perf_counter() - started}), flush=True)


def prepare(project: Path) -> None:
    from embedtune.core import json_files

    clone(project, PARAMETERS)
    for arguments in (["download"], ["base_model"], ["convert"], *STAGES["cold"]):
        if arguments[0] == "mine":
            stage(project, "reranker")
        stage(project, *arguments)
    asked, corpus = rows(project)
    json_files.write_json_lines(project / "flag.jsonl", asked)
    json_files.write_json_lines(project / "pool.jsonl", ({"text": text} for text in corpus))


def main() -> None:
    if len(sys.argv) > 1:
        contend(sys.argv[1], Path(sys.argv[2]))
        return
    peers = [*(["hn_mine"] if "HN_MINE" in os.environ else []), "sentence_transformers"]
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch) / "project"
        prepare(project)
        medians = interleaved("benchmarks.mining", ["cold", "warm", *peers], [str(project)], ROUNDS)
    seconds = {name: figures["seconds"] for name, figures in medians.items()}
    write_result(
        "mining",
        {
            "rounds": ROUNDS,
            "median_seconds": {name: round(value, 2) for name, value in seconds.items()},
            "times_faster": {
                way: {peer: round(seconds[peer] / seconds[way], 1) for peer in peers} for way in ("cold", "warm")
            },
        },
    )


if __name__ == "__main__":
    main()
