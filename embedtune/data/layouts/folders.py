"""Find the files of a data set, plain or gzipped, and guess the layout of its folder for error messages."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from embedtune.data.layouts.rows import BadRows, json_rows

ROW_KEYS = {"mldr": "positive_passages", "triplets": "pos", "pairs": "pos_doc", "scored": "rel"}  # of a format's rows

DATA_FILES = (".jsonl", ".json", ".tsv", ".csv", ".parquet")


def find(folder: Path, name: str) -> Path | None:
    """The file `<name>.jsonl` or `<name>.jsonl.gz` of the folder, or None if there is neither."""
    return next((path for path in (folder / f"{name}.jsonl", folder / f"{name}.jsonl.gz") if path.is_file()), None)


def other_layout(folder: Path, declared: str) -> str:
    """A part of an error message: the layout that the folder seems to have, or "" if it is unknown or `declared`."""
    found = ""
    if (folder / "qrels").is_dir() and find(folder, "queries"):
        found = "beir"
    elif any(folder.glob("mldr-v1.0-*/")):
        found = "mldr"
    elif train := find(folder, "train"):
        first = next((content for _, _, content in json_rows(train, BadRows(None))), {})
        found = next((name for name, key in ROW_KEYS.items() if key in first), "")
    return f"it looks like `format: {found}`; " if found not in ("", declared) else ""


def unread_files(folder: Path, read: Collection[Path]) -> list[str]:
    """The names of the data files in a folder that are not in `read`, sorted."""
    present = sorted(path for path in folder.iterdir() if path.name.removesuffix(".gz").endswith(DATA_FILES))
    return [path.name for path in present if path not in read]


def listing(folder: Path) -> str:
    """The first ten names in the folder and the number of the others, for an error message."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") or "nothing"
