"""Parameter files with a person's edits, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from embedtune.config.reading import load_params
from embedtune.core.errors import EmbedTuneError

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = [ROOT / "params.yaml", ROOT / "profiles" / "default.yaml"]

TRAIN_KEYS = ", ".join(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["train"])


def edited(path: Path, edits: dict[str, str | None]) -> Path:
    """Write the shipped parameters to `path`, with `edits`: key path -> YAML as a user types it, None to remove."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    marks = {f"@{i}@": text for i, text in enumerate(edits.values()) if text is not None}
    for i, (key, text) in enumerate(edits.items()):
        *sections, name = key.split(".")
        section = content
        for part in sections:
            section = section[part]
        if text is None:
            del section[name]
        else:
            section[name] = f"@{i}@"
    text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
    for mark, typed in marks.items():
        text = text.replace(f"'{mark}'", typed)
    path.write_text(text, encoding="utf-8")
    return path


def complaint(path: Path) -> str:
    """The whole message about the file, its directory left out."""
    with pytest.raises(EmbedTuneError) as caught:
        load_params(path)
    return str(caught.value).replace(f"{path.parent}/", "")


def complaint_about(tmp_path: Path, edits: dict[str, str | None]) -> str:
    return complaint(edited(tmp_path / "params.yaml", edits))
