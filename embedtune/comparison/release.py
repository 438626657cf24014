"""The directory of the released model: the model, its model card and its result files, ready to load or to publish."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from embedtune.core import json_files
from embedtune.core.errors import EmbedTuneError

ADAPTER_CONFIG = Path("adapter", "adapter_config.json")
RERANKER = "reranker"  # the folder of a reranked system's cross-encoder
CARD = "README.md"  # the model card


def write_release(
    model: Path | None, target: Path, card: str, beside: list[Path], reranker: Path | None = None
) -> None:
    """Write the model, `card` as README.md, and copies of the files `beside` into the directory `target`.

    `reranker` is the cross-encoder of a system that has one; it goes into the folder RERANKER.

    Weights are hard links where the file system supports them, so that they take disk space once. `model` is None for a
    system that has no model, such as a search by words.
    """
    if model:
        ignored = shutil.ignore_patterns(CARD)
        shutil.copytree(model, target, dirs_exist_ok=True, copy_function=_link, ignore=ignored)
    if reranker:
        shutil.copytree(reranker, target / RERANKER, copy_function=_link)
    for file in beside:
        shutil.copy(file, target)
    (target / CARD).write_text(card, encoding="utf-8")


def file_names(release: Path) -> list[str]:
    """The names of all files in the directory of a released model, sorted, with "/" between folder and file."""
    return sorted(path.relative_to(release).as_posix() for path in release.rglob("*") if path.is_file())


def file_hashes(release: Path) -> dict[str, str]:
    """Name -> SHA-256 (64 hex digits) of every file of a released model."""
    return {name: _sha256(release / name) for name in file_names(release)}


def check_files(release: Path, hashes: Mapping[str, str]) -> None:
    """Raise EmbedTuneError unless every file of `file_hashes` is there with the same content.

    The model card alone may differ, since a person may have edited it; but not where it is a symbolic link, which can
    lead to any file. DVC's cache may link all of them.
    """
    for name, expected in hashes.items():
        path = release / name
        if not path.is_file():
            raise EmbedTuneError(f"{path}: is missing, and belongs to the release; run `dvc checkout` or `dvc repro`")
        if (name != CARD or path.is_symlink()) and _sha256(path) != expected:
            raise EmbedTuneError(
                f"{path}: is not what was released and judged; bring it back with `dvc checkout`, or run `dvc repro`"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def name_base_of_adapter(target: Path, base: str | None, revision: str | None) -> None:
    """Name the model that the adapter in the released directory `target` was trained on, if there is an adapter.

    `base` is a model's id on the hub and `revision` its commit or branch; None where it is on no hub. PEFT notes the
    local directory, which on a hub would be the id of somebody else's model.
    """
    path = target / ADAPTER_CONFIG
    if path.is_file():
        config = json_files.read_json(path) | {"base_model_name_or_path": base, "revision": revision}
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def training_history(
    name: str, rounds: Mapping[str, str], mixed: tuple[str, float] | None, method: str, epochs: int | None
) -> str:
    """How a model was trained, in sentences: the training rounds from the base model on, and the weight interpolation.

    Of the base model itself it says that it was not trained.

    `rounds` maps each round to the model that it starts from. If `name` is a mixture, `mixed` is (the round whose
    weights are interpolated with the base model's, the weight of that round from 0 to 1), otherwise None. `epochs` is
    that of the last round.
    """
    if name == "base":
        return "Its weights are the base model's: none of the training is in them."
    chain = [mixed[0] if mixed else name]
    while rounds[chain[0]] != "base":
        chain.insert(0, rounds[chain[0]])
    said = f"{method} training, {epochs} epochs"
    text = f"Trained in {len(chain)} rounds ({' -> '.join(['base', *chain])}; each {said})." if len(chain) > 1 else ""
    text = text or f"Trained in one round ({said})."
    if mixed:
        text += f" {100 * mixed[1]:g} % of its weights are of that model, the rest of the base model."
    return text


def _link(source: str, target: str) -> None:
    """Hard-link weights where the file system supports it; copy other files, which a user may edit."""
    if source.endswith(".safetensors"):
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copy2(source, target)
