"""mine: choose each training question's positive passages and draw its negatives."""

from pathlib import Path

from embedtune import cli, embeddings, files
from embedtune.config import load_params
from embedtune.corpus import read_queries
from embedtune.mine import Pool, Recipe, mine, mined_rows, mining_counts, used_passages
from embedtune.passages import open_passages, read_texts
from embedtune.positives import positive_chooser
from embedtune.search import rank_documents


def main() -> None:
    """Write data/mined/train.jsonl and metrics/mining.json."""
    params = load_params()
    corpus, vectors = Path("data/corpus.jsonl"), Path("data/embeddings/base")
    recipe = Recipe(
        source=params.mine.source,
        negatives=params.mine.negatives,
        hard_share=params.mine.hard_share,
        hard_ranks=params.mine.hard_ranks,
        random_ranks=params.mine.random_ranks,
        seed=params.mine.seed,
    )
    passages = open_passages(Path("data/passages"))
    queries = read_queries(Path("data/queries"), Path("data/qrels"), "train")
    query_vectors = embeddings.open_vectors(vectors, embeddings.query_file("train"))
    passage_vectors = embeddings.open_vectors(vectors, embeddings.PASSAGES)
    rankings = rank_documents(query_vectors, passage_vectors, passages.document, passages.document_ids, recipe.depth)
    number_of = {document_id: number for number, document_id in enumerate(passages.document_ids)}
    pool = Pool(queries, rankings, query_vectors, passage_vectors, passages, number_of)
    choose = positive_chooser(params.mine.positive_passage, queries, query_vectors, passage_vectors, passages, corpus)
    mined = list(mine(pool, choose, recipe))
    numbers = used_passages(mined)
    texts = dict(zip(numbers.tolist(), read_texts(corpus, passages, numbers), strict=True))
    counts = mining_counts(pool, mined, recipe)
    with files.whole_directory(Path("data/mined")) as target:
        files.write_json_lines(target / "train.jsonl", mined_rows(pool, mined, texts))
    files.write_json(Path("metrics/mining.json"), counts)
    cli.say(
        f"mine: wrote {counts['questions']} questions with {counts['negatives']} negatives to data/mined/train.jsonl"
    )


if __name__ == "__main__":
    cli.run(main)
