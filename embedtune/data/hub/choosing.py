"""Which of a repository's files are fetched."""

from __future__ import annotations

import re
from collections.abc import Callable

from embedtune.core.errors import EmbedTuneError

MODEL_FILES = re.compile(
    r"config\.json|modules\.json|config_sentence_transformers\.json|sentence_[\w-]+_config\.json|\d+_\w+/config\.json"
    r"|tokenizer[\w.]*\.json|special_tokens_map\.json|added_tokens\.json|vocab\.(txt|json)|merges\.txt|[^/]+\.model"
)


def choose_model_files(names: list[str]) -> list[str]:
    """Select the files of an encoder: configuration, tokenizer, sentence-transformers modules, weights.

    The weights are those that transformers would load: safetensors rather than PyTorch's .bin, a single file rather
    than shards with their index, never ONNX, OpenVINO, TensorFlow or Flax. Raises EmbedTuneError without a config.json
    or weights.
    """
    weights = _weights(names, "")
    if "config.json" not in names:
        raise EmbedTuneError("no config.json; choose a repository that holds a transformers model")
    if not weights:
        raise EmbedTuneError(
            "no model.safetensors or pytorch_model.bin, whole or in shards; choose a repository with PyTorch weights"
        )
    modules = sorted({name.split("/")[0] + "/" for name in names if re.fullmatch(r"\d+_\w+/config\.json", name)})
    module_weights = [name for module in modules for name in _weights(names, module)]
    return sorted([name for name in names if MODEL_FILES.fullmatch(name)] + weights + module_weights)


def _weights(names: list[str], folder: str) -> list[str]:
    for stem, suffix in [("model", "safetensors"), ("pytorch_model", "bin")]:
        index = f"{folder}{stem}.{suffix}.index.json"
        if f"{folder}{stem}.{suffix}" in names:
            return [f"{folder}{stem}.{suffix}"]
        if index in names:
            shard = re.compile(rf"{re.escape(folder)}[^/]+-\d+-of-\d+\.{suffix}")
            return [index] + [name for name in names if shard.fullmatch(name)]
    return []


def choose_mldr_files(language: str) -> Callable[[list[str]], list[str]]:
    """A `choose` function for `fetch_files` that selects the four files of one language of MLDR.

    That function raises EmbedTuneError if one of them is missing.
    """

    def choose(names: list[str]) -> list[str]:
        wanted = [f"mldr-v1.0-{language}/{part}.jsonl.gz" for part in ("train", "dev", "test", "corpus")]
        missing = [name for name in wanted if name not in names]
        if missing:
            found = sorted({match[1] for name in names if (match := re.match(r"mldr-v1\.0-([^/]+)/corpus\.", name))})
            there = f"there is MLDR in {', '.join(found)}" if found else "the repository holds no MLDR corpus at all"
            raise EmbedTuneError(f"no {', '.join(missing)}; {there}: choose another language or revision")
        return wanted

    return choose
