"""evaluate: search with one model's vectors and measure the rankings (`python -m stages.evaluate base`)."""

import sys
from pathlib import Path

from embedtune import cli, embeddings, files
from embedtune.config import load_params
from embedtune.corpus import read_queries
from embedtune.measures import per_query_scores, write_curve, write_run
from embedtune.passages import open_passages
from embedtune.search import rank_documents


def main() -> None:
    """Write data/runs/<name>.trec, data/runs/<name>.per_query.csv, metrics/<name>.json and its curve."""
    params = load_params()
    name = sys.argv[1]
    split, cutoffs = params.evaluate.split, sorted(set(params.evaluate.cutoffs))
    vectors = Path("data/embeddings") / name
    passages = open_passages(Path("data/passages"))
    queries = read_queries(Path("data/queries"), Path("data/qrels"), split)
    rankings = rank_documents(
        embeddings.open_vectors(vectors, embeddings.query_file(split)),
        embeddings.open_vectors(vectors, embeddings.PASSAGES),
        passages.document,
        passages.document_ids,
        max(cutoffs),
        params.evaluate.index,
    )
    scores = per_query_scores(queries, rankings, passages.document_ids, cutoffs)
    means = {str(measure): float(mean) for measure, mean in scores.mean().items()}
    runs = Path("data/runs")
    write_run(runs / f"{name}.trec", queries, rankings, passages.document_ids, name)
    with files.whole_file(runs / f"{name}.per_query.csv") as partial:
        scores.to_csv(partial)
    write_curve(Path("metrics/plots") / f"{name}.csv", means, cutoffs)
    files.write_json(Path("metrics") / f"{name}.json", means)
    cli.say(
        f"evaluate: wrote metrics/{name}.json ({len(queries)} {split} queries, {len(passages.document_ids)} documents)"
    )


if __name__ == "__main__":
    cli.run(main)
