"""lexical: rank documents by BM25 for the questions of dev and of the split to evaluate, and measure the latter."""

from collections.abc import Iterator

from embedtune.config import paths
from embedtune.config.reading import load_params
from embedtune.core import cli, files, json_files
from embedtune.data.corpus import read_corpus, read_queries
from embedtune.evaluation.evaluate import evaluate
from embedtune.evaluation.per_query import read_slices
from embedtune.retrieval.bm25 import open_bm25, write_index
from embedtune.retrieval.rankings import write_rankings
from embedtune.retrieval.searcher import LexicalSearcher, StoredSearcher
from stages.running import run


def main() -> None:
    """Write the rankings to data/lexical, and data/runs/bm25, metrics/bm25.json and metrics/plots/bm25."""
    params = load_params()
    split, cutoffs = params.evaluate.split, sorted(set(params.evaluate.cutoffs))
    ids: list[str] = []
    queries = {name: read_queries(paths.QUERIES, paths.QRELS, name) for name in dict.fromkeys(("dev", str(split)))}
    depth = max(params.lexical.depth, *cutoffs)
    with files.atomic_directory(paths.LEXICAL) as target:
        write_index(target, texts(ids), params.lexical.tokenizer, params.lexical.k1, params.lexical.b)
        index = open_bm25(target)
        rankings = {name: LexicalSearcher(index, ids).rank(some, depth) for name, some in queries.items()}
        for name, ranked in rankings.items():
            write_rankings(target, name, ranked)
    searcher, groups = StoredSearcher(rankings, queries, ids), read_slices(paths.SLICES)
    run_to, plots_to = paths.run("bm25"), paths.plots("bm25")
    _, means = evaluate("bm25", searcher, queries[split], cutoffs, groups, run=run_to, plots=plots_to, depth=depth)
    json_files.write_json(paths.metrics("bm25"), means)
    cli.say(f"lexical: wrote {paths.metrics('bm25')} ({len(queries[split])} {split} queries, {len(ids)} documents)")


def texts(ids: list[str]) -> Iterator[str]:
    """Yield the documents' texts in the order of the corpus, and append their ids to `ids`."""
    for document in read_corpus(paths.CORPUS):
        ids.append(document.id)
        yield document.text


if __name__ == "__main__":
    run(main, "lexical")
