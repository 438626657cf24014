"""lexical: search by words (BM25) for the questions of dev and of the split to evaluate, and measure the rankings."""

from collections.abc import Iterator
from pathlib import Path

from embedtune import cli, files
from embedtune.bm25 import Index
from embedtune.config import load_params
from embedtune.corpus import read_corpus, read_queries
from embedtune.lexical import terms_by
from embedtune.lexical_search import rank_by_words, write_rankings
from embedtune.per_query import read_slices
from embedtune.results import write_results

CORPUS = Path("data/corpus.jsonl")


def main() -> None:
    """Write data/lexical, and of the split to evaluate data/runs/bm25.*, metrics/bm25.json, its groups and curve."""
    params = load_params()
    split, cutoffs = params.evaluate.split, sorted(set(params.evaluate.cutoffs))
    ids: list[str] = []
    queries = {
        name: read_queries(Path("data/queries"), Path("data/qrels"), name) for name in dict.fromkeys(("dev", split))
    }
    asked = (query.text for some in queries.values() for query in some)
    index = Index(texts(ids), asked, terms_by(params.lexical.tokenizer), params.lexical.k1, params.lexical.b)
    depth = max(params.lexical.depth, *cutoffs)
    rankings = {name: rank_by_words(index, some, ids, depth) for name, some in queries.items()}
    with files.whole_directory(Path("data/lexical")) as target:
        for name, ranked in rankings.items():
            write_rankings(target, name, ranked)
    groups = read_slices(Path("data/slices.csv"))
    write_results("bm25", queries[split], rankings[split], ids, cutoffs, groups)
    cli.say(f"lexical: wrote metrics/bm25.json ({len(queries[split])} {split} queries, {len(ids)} documents)")


def texts(ids: list[str]) -> Iterator[str]:
    """The documents' texts, in order; their ids are added to `ids`."""
    for document in read_corpus(CORPUS):
        ids.append(document.id)
        yield document.text


if __name__ == "__main__":
    cli.run(main)
