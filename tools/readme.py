"""Write the tables of both READMEs and of docs/ from what they describe; a test keeps them current.

    python -m tools.readme

A table stands between `<!-- NAME -->` and `<!-- /NAME -->`: `stages` is from dvc.yaml, `systems` and the first
row of `results` from the committed metrics/, the others from benchmarks/results/.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tools.benchmark_tables import indexes_table, methods_table, real_model_table, retrieval_table, speed_table
from tools.parameters_page import PAGE, parameters_page
from tools.pipeline_tables import results_table, stages_table, systems_table
from tools.size_table import hours_table

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh.md")
PAGES = (*READMES, "docs/benchmarks.md", "docs/sizes.md", "docs/stages.md")
TABLES: dict[str, Callable[[bool], str]] = {
    "stages": stages_table,
    "results": results_table,
    "systems": systems_table,
    "methods": methods_table,
    "retrieval": retrieval_table,
    "indexes": indexes_table,
    "speed": speed_table,
    "real_model": real_model_table,
    "hours": hours_table,
}


def renewed(text: str, chinese: bool) -> str:
    """`text` with each table between its marks made anew."""
    for name, table in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if pattern.search(text):
            made = table(chinese)
            text = pattern.sub(lambda match, made=made: match[1] + made + "\n" + match[2], text)  # type: ignore[misc]
    return text


def main() -> None:
    """Renew the tables in place."""
    for name in PAGES:
        path = ROOT / name
        path.write_text(renewed(path.read_text(encoding="utf-8"), "zh" in name), encoding="utf-8")
    PAGE.write_text(parameters_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
