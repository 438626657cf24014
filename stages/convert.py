"""convert: convert the raw data set to BEIR's layout, add the splits that it lacks, and count its contents."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedtune.config import paths
from embedtune.config.schema import Dataset
from embedtune.core import cli, files, json_files
from embedtune.core.errors import naming
from embedtune.data.convert import CorpusWriter, convert
from embedtune.data.corpus import write_qrels, write_queries
from embedtune.data.equal_texts import equal_documents, is_judged_unlike, judge_alike, own_documents
from embedtune.data.judgments import judgment_counts
from embedtune.data.layouts.opening import SCORED, open_layout
from embedtune.data.layouts.rows import BadRows
from embedtune.data.leaks import find_leaks, trained_document_counts, without_leaks
from embedtune.data.splits import complete_splits, shuffle_questions
from stages.running import run, stage_params


def main() -> None:
    """Write data/corpus.jsonl, data/queries, data/qrels, data/skipped.jsonl and metrics/data.json."""
    params = stage_params()
    dataset = params.dataset
    scored_sample = dataset.source == "sample" and dataset.format == SCORED
    layout_format = dataset.format if dataset.source == "local" or scored_sample else "mldr"
    language = dataset.language if dataset.source != "sample" else "zh"
    raw, source = paths.RAW, Path(dataset.path)
    original = raw if dataset.source != "local" else source if source.is_dir() else source.parent
    with contextlib.ExitStack() as outputs:
        skipped_path = outputs.enter_context(files.atomic_file(paths.SKIPPED))
        skipped = outputs.enter_context(skipped_path.open("wb"))
        corpus_path = outputs.enter_context(files.atomic_file(paths.CORPUS))
        corpus_file = outputs.enter_context(corpus_path.open("wb"))
        queries_directory = outputs.enter_context(files.atomic_directory(paths.QUERIES))
        qrels_directory = outputs.enter_context(files.atomic_directory(paths.QRELS))
        outputs.enter_context(naming(str(raw), str(original)))

        set_aside = skipped if dataset.on_bad_row == "skip" else None
        bad_rows, corpus = BadRows(set_aside, renamed=(str(raw), str(original))), CorpusWriter(corpus_file)
        layout = open_layout(raw, layout_format, language, bad_rows, dataset.repeated)
        questions, counts = convert(layout, corpus, bad_rows)
        graded = layout.scored or dataset.relevant_from is not None
        for query in (query for queries in questions.values() for query in queries if graded):
            query.relevant_from = dataset.relevant_from or 0.0
        if not bad_rows.count:
            skipped.write(b"\n")  # a blank line, which is no row: DVC warns of an output without a byte
        equals = equal_documents(corpus.fingerprints)
        if dataset.judge_equal_documents_alike:
            judge_alike((query for queries in questions.values() for query in queries), equals)
        splits, split_counts = complete_splits(
            questions,
            dataset.split_shares.model_dump(),
            dataset.dev_queries,
            dataset.seed,
            "question" if dataset.split_by == "auto" and layout.scored else dataset.split_by,
            dataset.leak_similarity,
        )
        if dataset.shuffle_train_questions:
            shuffle_questions(splits["train"], dataset.seed)
        leak_counts, leaking = find_leaks(splits, dataset.leak_similarity)
        if dataset.remove_leaks:
            for split, positions in leaking.items():
                splits[split] = without_leaks(split, splits[split], positions)
                split_counts |= {f"{split}_queries": len(splits[split]), f"{split}_queries_removed": len(positions)}
        text_counts: dict[str, int] = {"documents_with_equal_text": len(equals)}
        for split, queries in splits.items():
            own = own_documents(queries, corpus.fingerprints, corpus.bodies)
            unlike = sum(is_judged_unlike(query, equals) for query in queries)
            text_counts |= {
                f"{split}_queries_with_equal_documents": unlike,
                f"{split}_queries_that_are_documents": sum(map(bool, own)),
            }
            if dataset.ignore_identical_text:
                for query, documents in zip(queries, own, strict=True):
                    query.ignored = documents
            write_queries(queries_directory, split, queries)
            write_qrels(qrels_directory, split, queries)
    grades = judgment_counts(splits) if graded else {}
    found = counts | split_counts | leak_counts | trained_document_counts(splits) | text_counts | grades
    json_files.write_json(paths.DATA_COUNTS, found)
    sizes = ", ".join(f"{len(queries)} {split}" for split, queries in splits.items())
    cli.say(f"convert: wrote {counts['documents']} documents to {paths.CORPUS}; questions: {sizes}")
    leaks = {split: len(positions) for split, positions in leaking.items()}
    for remark in (
        *about_files(found, layout.unread),
        *about_splits(found, leaks, dataset),
        *about_texts(found, dataset),
        *about_judgments(found, dataset),
    ):
        cli.say(f"convert: {remark}")


def about_files(found: dict[str, Any], unread: list[str]) -> Iterator[str]:
    """Yield what is to be known of rows and files that were not taken as they are."""
    if found["rows_skipped"]:
        yield f"set aside {found['rows_skipped']} bad rows in {paths.SKIPPED}"
    if unread:
        yield f"files beside the data that are not read: {', '.join(unread[:10])}{' …' * (len(unread) > 10)}"
    if found["unread_keys"]:
        keys = ", ".join(f"{key} ({count} rows)" for key, count in found["unread_keys"].items())
        yield f"keys of rows that are not read: {keys}"
    if "prompt" in found["unread_keys"]:
        yield "every question gets model.query_instruction, whatever its row's prompt is"
    if 0 < found["documents_added"] < found["documents"]:
        yield f"{found['documents_added']} documents of rows are not in the corpus; they are added to it"
    if found["documents_differing"]:
        yield f"{found['documents_differing']} texts of rows differ from the corpus's, which is taken"


def about_splits(found: dict[str, Any], leaks: dict[str, int], dataset: Dataset) -> Iterator[str]:
    """Yield where dev and test come from, and which questions leak."""
    for split in ("dev", "test"):
        moved, count = found[f"{split}_queries_from_train"], found[f"{split}_queries"]
        if not moved:
            continue
        own = count + found.get(f"{split}_queries_removed", 0) - moved
        why = (
            f"{split} has {own} questions of its own, fewer than dataset.dev_queries ({dataset.dev_queries}): {moved} "
            "more are taken from train"
            if own
            else f"{moved} {split} questions are taken from train"
        )
        yield (
            f"{why}, by {found['split_by']} (dataset.split_by: {dataset.split_by}); "
            f"{found[f'{split}_share_with_trained_documents']:.0%} of {split}'s ask for a document that training "
            "questions ask for too"
        )
    for split, of, others in (("train", "training", "dev or test"), ("dev", "dev", "test")):
        if leaks[split]:
            what = (
                f"removed from {split}"
                if dataset.remove_leaks
                else f"left in {split} (dataset.remove_leaks: true would remove them)"
            )
            yield f"{leaks[split]} {of} questions are (nearly) asked in {others} too; {what}"


def about_texts(found: dict[str, Any], dataset: Dataset) -> Iterator[str]:
    """Yield how many questions ask for one of several equal documents, and how many are documents themselves."""
    unlike, own = (
        ", ".join(f"{found[f'{split}_{what}']} {split}" for split in ("train", "dev", "test"))
        for what in ("queries_with_equal_documents", "queries_that_are_documents")
    )
    if any(found[f"{split}_queries_with_equal_documents"] for split in ("train", "dev", "test")):
        yield (
            f"{found['documents_with_equal_text']} documents have the text of another; some questions ({unlike}) have "
            "only one of them as relevant, and no system can tell which; "
            "dataset.judge_equal_documents_alike: true judges them alike"
        )
    if any(found[f"{split}_queries_that_are_documents"] for split in ("train", "dev", "test")):
        yield f"some questions ({own}) are themselves documents, which are not relevant to them; " + (
            "each is left out of its question's rankings and negatives"
            if dataset.ignore_identical_text
            else "every system ranks such a document first; dataset.ignore_identical_text: true leaves it out"
        )


def about_judgments(found: dict[str, Any], dataset: Dataset) -> Iterator[str]:
    """Yield what the judgments are, where they are graded, and how many questions have nothing to find."""
    if "judgments" not in found:
        return
    yield (
        f"{found['judgments']} judgments from {found['judgment_min']:g} to {found['judgment_max']:g}, of which "
        f"{found['judgments_relevant']} are relevant (dataset.relevant_from: {dataset.relevant_from or 'above 0'})"
    )
    bare = ", ".join(f"{found[f'{split}_queries_without_relevant']} {split}" for split in ("train", "dev", "test"))
    if any(found[f"{split}_queries_without_relevant"] for split in ("train", "dev", "test")):
        yield (
            f"some questions ({bare}) have no relevant document; recall and MRR count them as not found, and the "
            "contrastive objective leaves them out"
        )


if __name__ == "__main__":
    run(main, "dataset")
