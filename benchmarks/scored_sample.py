"""The generated scored pairs, over three seeds: is there something to learn, and nothing once questions are shuffled?

    python -m benchmarks.scored_sample    writes results/scored_sample.json (half an hour)

Each seed is a run of profile `scored` in a clone of HEAD. NDCG@10 of a test question's judged documents, of the base
model, the tuned one, BM25, a cross-encoder over BM25's results, and of `overlap`: ridge regression of the relevance on
how many characters, pairs and triples of characters a question and a document share, learned on the training pairs. In
the control, training questions get the judged documents of other questions.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import write_result
from benchmarks.pipeline import change_params, clone, repro

SEEDS = (42, 1, 2)
MEASURE = "judged_ndcg@10"
LONGEST = 3  # characters of a shingle


def overlap(question: str, document: str) -> list[float]:
    """For each length of shingle, the share of the question's that the document has, and their Jaccard similarity."""
    found = []
    for size in range(1, LONGEST + 1):
        ours, theirs = ({text[i : i + size] for i in range(len(text) - size + 1)} for text in (question, document))
        common = len(ours & theirs)
        found += [common / max(1, len(ours)), common / max(1, len(ours | theirs))]
    return found


def overlap_ndcg(project: Path) -> float:
    """The mean NDCG of test questions whose judged documents are ordered by the regression on overlap."""
    from sklearn.linear_model import Ridge
    from sklearn.metrics import ndcg_score

    from embedtune.data.corpus import read_corpus, read_queries

    texts = {document.id: document.text for document in read_corpus(project / "data" / "corpus.jsonl")}
    splits = {s: read_queries(project / "data/queries", project / "data/qrels", s) for s in ("train", "test")}

    def features(query: Any) -> NDArray[np.float64]:
        return np.array([overlap(query.text, texts[document]) for document in query.judgments])

    weights = [query.weights.get(document, 1.0) for query in splits["train"] for document in query.judgments]
    rels = [rel for query in splits["train"] for rel in query.judgments.values()]
    model = Ridge().fit(np.concatenate([features(query) for query in splits["train"]]), rels, sample_weight=weights)
    scores = [
        ndcg_score([list(query.judgments.values())], [model.predict(features(query))], k=10) for query in splits["test"]
    ]
    return float(np.mean(scores))


def run(project: Path, seed: int, shuffled: bool) -> dict[str, Any]:
    """One run: the systems' means, and the gains with their standard errors.

    They are of the tuned model over base, and of the cross-encoder over the order that it re-orders.
    """
    from embedtune.evaluation.per_query import read_scores
    from embedtune.evaluation.results import PER_QUERY

    subprocess.run([sys.executable, "-m", "embedtune", "profile", "scored"], cwd=project, check=True)
    change_params(project, {"dataset": {"seed": seed, "shuffle_train_questions": shuffled}})
    seconds = repro(project)
    compared = json.loads((project / "metrics" / "comparison.json").read_text())[MEASURE]
    reranked, found = (read_scores(project / "data/runs" / name / PER_QUERY)[MEASURE] for name in ("reranked", "bm25"))
    gains = (reranked - found).to_numpy()
    return {
        "seconds": round(seconds),
        **{name: compared[name] for name in ("base", "finetuned", "bm25", "reranked", "gain", "gain_standard_error")},
        "reranked_gain": round(float(gains.mean()), 6),
        "reranked_gain_standard_error": round(float(gains.std(ddof=1) / len(gains) ** 0.5), 6),
        "overlap": round(overlap_ndcg(project), 6),
    }


def main() -> None:
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for shuffled in (False, True):
            for seed in SEEDS:
                name = f"{'shuffled, ' * shuffled}seed {seed}"
                results[name] = run(
                    clone(Path(scratch) / name.replace(", ", "-").replace(" ", "-"), {}), seed, shuffled
                )
                print(f"{name}: {results[name]}", file=sys.stderr, flush=True)
                write_result("scored_sample", {"measure": MEASURE, "results": results})


if __name__ == "__main__":
    main()
