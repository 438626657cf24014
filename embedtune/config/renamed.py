"""Keys of params.yaml that earlier versions had: what each is called now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

SECTIONS = {
    "hybrid": "gone; `release: {system: ..., baseline: base}` names what is judged and released, `fusions` what is "
    "fused with BM25, and `fuse.rank_constant` is its constant",
    "mix": "is called mixtures now, and `shares` are its `weights`: {mixed: {model: finetuned, weights: [0, 0.5, 1]}}",
    "probe": "is called general_data now",
    "reranker": "gone; a ready cross-encoder is an entry of `rerankers` with `objective: none` (docs/rerankers.md), "
    "and `rounds.<name>.teacher` names the one that chooses a round's positives",
}
KEYS = {
    ("train", "sub_batch_size"): "gone; a batch is cut into chunks by itself, and train.tokens_in_memory limits their "
    "memory (say 16 sequences of 512 tokens: 8192)",
    ("lexical", "depth"): "gone; evaluate.depth says how many documents every ranking keeps and a fusion reads",
}


def renamed(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (key path, message) for every old key or value, and take it out of `content`."""
    for section, message in SECTIONS.items():
        if section in content:
            del content[section]
            yield section, message
    for (section, key), message in KEYS.items():
        if isinstance(content.get(section), dict) and key in content[section]:
            del content[section][key]
            yield f"{section}.{key}", message
    rounds = content.get("rounds")
    rounds = rounds if isinstance(rounds, dict) else {}
    for name, start in rounds.items():
        if isinstance(start, str):
            rounds[name] = {"from": start, "teacher": "none"}
            yield f"rounds.{name}", f"is a section now; write {name}: {{from: {start}, teacher: none}}"
    train = content.get("train")
    if isinstance(train, dict) and isinstance(train.get("distillation"), bool):
        yield (
            "train.distillation",
            "says how now: kl or margin_mse; `teacher: dataset` in `rounds` is what true was, and none what false was",
        )
        train["distillation"] = "kl"
    mine = content.get("mine")
    if isinstance(mine, dict) and mine.get("positive_passage") == "head":
        mine["positive_passage"] = "first"
        yield "mine.positive_passage", "head is called first now"
    if isinstance(mine, dict) and mine.get("positive_passage") == "reranker":
        mine["positive_passage"] = "teacher"
        yield (
            "mine.positive_passage",
            "reranker is called teacher now; name one of `rerankers` in `rounds.<name>.teacher`",
        )
