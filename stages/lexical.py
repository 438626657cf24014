"""lexical: index the documents' words (BM25), rank documents by them and measure the rankings."""

from collections.abc import Iterator

from embedtune.config import paths
from embedtune.config.systems import BM25
from embedtune.core import cli, files, json_files
from embedtune.data.corpus import read_corpus
from embedtune.evaluation.evaluate import evaluate, figures, read_asked
from embedtune.evaluation.per_query import read_slices
from embedtune.retrieval.bm25 import open_bm25, write_index
from embedtune.retrieval.searcher import LexicalSearcher
from embedtune.retrieval.system import DOCUMENTS, describe_lexical
from stages.running import run, stage_params


def main() -> None:
    """Write data/lexical (the index), data/runs/bm25, metrics/bm25.json and metrics/plots/bm25."""
    params = stage_params()
    split, cutoffs = params.evaluate.split, sorted(set(params.evaluate.cutoffs))
    ids: list[str] = []
    with files.atomic_directory(paths.LEXICAL) as target:
        write_index(target, texts(ids), params.lexical.tokenizer, params.lexical.k1, params.lexical.b)
        json_files.write_json(target / DOCUMENTS, ids)
    queries = read_asked(paths.QUERIES, paths.QRELS, split)
    _, means = evaluate(
        BM25,
        LexicalSearcher(open_bm25(paths.LEXICAL), ids),
        queries,
        split,
        cutoffs,
        read_slices(paths.SLICES),
        depth=params.evaluate.depth,
        system=describe_lexical(paths.LEXICAL),
        run=paths.run(BM25),
        plots=paths.plots(BM25),
    )
    json_files.write_json(paths.metrics(BM25), means)
    told = figures(means, len(queries[split]), split)
    cli.say(f"lexical: {BM25}: {told}, among {len(ids)} documents; wrote {paths.metrics(BM25)}")


def texts(ids: list[str]) -> Iterator[str]:
    """Yield the documents' texts in the order of the corpus, and append their ids to `ids`."""
    for document in read_corpus(paths.CORPUS):
        ids.append(document.id)
        yield document.text


if __name__ == "__main__":
    run(main, "lexical", "evaluate")
