"""What lies in a data set's folder: files by name, plain or gzipped, and what the folder looks like."""

from __future__ import annotations

from pathlib import Path

from embedtune.layouts.rows import BadRows, json_rows

ROW_KEYS = {"mldr": "positive_passages", "triplets": "pos", "pairs": "pos_doc"}  # what tells a format's rows apart


def find(folder: Path, name: str) -> Path | None:
    """The file `<name>.jsonl` or `<name>.jsonl.gz` of the folder, if there is one."""
    return next((path for path in (folder / f"{name}.jsonl", folder / f"{name}.jsonl.gz") if path.is_file()), None)


def other_layout(folder: Path, declared: str) -> str:
    """A part of an error message that names the layout the folder seems to be in, where that is not `declared`."""
    found = ""
    if (folder / "qrels").is_dir() and find(folder, "queries"):
        found = "beir"
    elif any(folder.glob("mldr-v1.0-*/")):
        found = "mldr"
    elif train := find(folder, "train"):
        first = next((content for _, _, content in json_rows(train, BadRows(None))), {})
        found = next((name for name, key in ROW_KEYS.items() if key in first), "")
    return f"it looks like dataset.format: {found}; " if found not in ("", declared) else ""


def listing(folder: Path) -> str:
    """The names in the folder, the first ten of them."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") or "nothing"
