"""convert: convert the raw data set to BEIR's layout, add the splits that it lacks, and count its contents."""

import contextlib
from pathlib import Path

from embedtune.config import paths
from embedtune.config.reading import load_params
from embedtune.core import cli, files, json_files
from embedtune.data.convert import CorpusWriter, convert
from embedtune.data.corpus import write_qrels, write_queries
from embedtune.data.layouts.opening import open_layout
from embedtune.data.layouts.rows import BadRows
from embedtune.data.leaks import find_leaks, trained_document_counts, without_leaks
from embedtune.data.splits import complete_splits, shuffle_questions
from stages.running import run


def main() -> None:
    """Write data/corpus.jsonl, data/queries, data/qrels, data/skipped.jsonl and metrics/data.json."""
    params = load_params()
    layout_format = params.dataset.format if params.dataset.source == "local" else "mldr"
    language = params.dataset.language if params.dataset.source != "sample" else "zh"
    with contextlib.ExitStack() as outputs:
        skipped_path = outputs.enter_context(files.atomic_file(paths.SKIPPED))
        skipped = outputs.enter_context(skipped_path.open("wb"))
        corpus_path = outputs.enter_context(files.atomic_file(paths.CORPUS))
        corpus_file = outputs.enter_context(corpus_path.open("wb"))
        queries_directory = outputs.enter_context(files.atomic_directory(paths.QUERIES))
        qrels_directory = outputs.enter_context(files.atomic_directory(paths.QRELS))

        raw, source = paths.RAW, Path(params.dataset.path)
        original = raw if params.dataset.source != "local" else source if source.is_dir() else source.parent
        set_aside = skipped if params.dataset.on_bad_row == "skip" else None
        bad_rows = BadRows(set_aside, renamed=(str(raw), str(original)))
        layout = open_layout(raw, layout_format, language, bad_rows)
        questions, counts = convert(layout, CorpusWriter(corpus_file), bad_rows)
        if not bad_rows.count:
            skipped.write(b"\n")  # a blank line, which is no row: DVC warns of an output without a byte
        shares = params.dataset.split_shares.model_dump()
        splits, split_counts = complete_splits(
            questions, shares, params.dataset.dev_queries, params.dataset.seed, params.dataset.split_by
        )
        if params.dataset.shuffle_train_questions:
            shuffle_questions(splits["train"], params.dataset.seed)
        leak_counts, leaking = find_leaks(splits, params.dataset.leak_similarity)
        if params.dataset.remove_leaks:
            splits["train"] = without_leaks(splits["train"], leaking)
            split_counts |= {"train_queries": len(splits["train"]), "train_queries_removed": len(leaking)}
        for split, queries in splits.items():
            write_queries(queries_directory, split, queries)
            write_qrels(qrels_directory, split, queries)
    trained = trained_document_counts(splits)
    json_files.write_json(paths.DATA_COUNTS, counts | split_counts | leak_counts | trained)
    sizes = ", ".join(f"{len(queries)} {split}" for split, queries in splits.items())
    cli.say(f"convert: wrote {counts['documents']} documents to {paths.CORPUS}; questions: {sizes}")
    for split in ("dev", "test"):
        if split_counts[f"{split}_queries_from_train"]:
            moved, share = split_counts[f"{split}_queries_from_train"], trained[f"{split}_share_with_trained_documents"]
            cli.say(
                f"convert: {moved} {split} questions are taken from train, by {split_counts['split_by']} "
                f"(dataset.split_by: {params.dataset.split_by}); {share:.0%} of {split}'s ask for a document that "
                "training questions ask for too"
            )
    if leaking:
        what = (
            "removed from train"
            if params.dataset.remove_leaks
            else "left in train (dataset.remove_leaks: true would remove them)"
        )
        cli.say(f"convert: {len(leaking)} training questions are (nearly) asked in dev or test too; {what}")
    if bad_rows.count:
        cli.say(f"convert: set aside {bad_rows.count} bad rows in {paths.SKIPPED}")


if __name__ == "__main__":
    run(main, "dataset")
