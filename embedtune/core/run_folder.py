"""The name of the scratch folder from which a killed run resumes: a hash of everything that its result depends on.

Two runs use the same folder only if their parameters, inputs, code and library versions are all equal. A run therefore
never resumes from a checkpoint of a different run. What the hash is of stands beside the folder, in <folder>.json, by
which `embedtune clean` knows what nothing needs any more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from embedtune.core.files import atomic_file
from embedtune.core.hashes import content_hash

LIBRARIES = (  # their versions can change what a model computes
    *("torch", "transformers", "tokenizers", "FlagEmbedding"),
    *("peft", "bitsandbytes"),  # of adapters; the latter on GPUs alone
)


def describe_run(name: str, parameters: Mapping[str, str], derived: str, inputs: Iterable[Path]) -> str:
    """What a run's result depends on, as JSON: the same text for the same run.

    `name` is that of the model, `parameters` are key of params.yaml -> value as text, and `derived` is what follows
    from them, the data and the machine (device, precision, number of processes). Each of `inputs` is a file or a
    directory, with the code among them; a hash covers its paths and contents, except in __pycache__ directories. The
    versions of `LIBRARIES` are added.
    """
    hashes = {path.as_posix(): content_hash(path) for path in inputs}
    libraries = {library: _version(library) for library in LIBRARIES}
    described = {"name": name, "parameters": dict(parameters), "inputs": hashes}
    described |= {"derived": derived, "libraries": libraries}
    return json.dumps(described, ensure_ascii=False, sort_keys=True)


def run_name(description: str) -> str:
    """The name of the scratch folder of a run: 12 hex digits."""
    return hashlib.sha256(description.encode()).hexdigest()[:12]


def description_file(run: Path) -> Path:
    """Where the description of a scratch folder stands."""
    return run.with_name(f"{run.name}.json")


def write_description(run: Path, description: str, *, finished: bool = False) -> None:
    """Write the description beside the scratch folder `run`; `finished`: nothing in the folder is resumed from."""
    with atomic_file(description_file(run)) as partial:
        content = {"finished": finished, **json.loads(description)}
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def library_versions() -> dict[str, str]:
    """The versions of the LIBRARIES that every training uses, without the suffix of a build such as +cpu."""
    return {library: _version(library).partition("+")[0] for library in LIBRARIES[:4]}


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"
