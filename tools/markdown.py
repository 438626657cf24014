"""What the READMEs' tables share: their form, and the names of the runs."""

from __future__ import annotations

RUNS = {
    "sample": ("generated sample, `params.yaml` as shipped", "自带生成样本（`params.yaml` 原样）"),
    "sample, questions re-paired at random": ("the same, questions re-paired at random", "同上，问题随机错配（对照）"),
    "stard-laws": ("STARD: lay questions over Chinese laws", "STARD：普通人的法律提问，检索法条"),
}


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
