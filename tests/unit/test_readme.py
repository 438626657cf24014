"""What the READMEs say is what the project does: tables renewed, files and commands that exist."""

import re

import pytest

from tests.unit.committed import OTHER_DATA, OWN_WORK, ROOT
from tools.readme import PAGES, READMES, renewed


@pytest.mark.skipif(bool(OWN_WORK) or OTHER_DATA, reason="the tables show the shipped run, metrics/ another")
@pytest.mark.parametrize("name", PAGES)
def test_tables_are_current(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == renewed(text, "zh" in name), "run `python -m tools.readme`"


@pytest.mark.parametrize("name", READMES)
def test_every_table_is_there(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = ["results", "methods", "retrieval", "indexes", "systems", "stages", "speed"]
    assert re.findall(r"<!-- (\w+) -->\n\|", text) == named


def test_both_editions_have_the_same_sections_and_code() -> None:
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in READMES)
    assert len(re.findall(r"^##? ", english, re.MULTILINE)) == len(re.findall(r"^##? ", chinese, re.MULTILINE))
    python = [re.findall(r"```python\n(.*?)```", text, re.DOTALL) for text in (english, chinese)]
    assert [re.sub(r"#.*", "", code) for code in python[0]] == [re.sub(r"#.*", "", code) for code in python[1]]


@pytest.mark.parametrize("name", READMES)
def test_files_that_are_named_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for profile in re.findall(r"`(mldr-zh[\w-]*)`", text):
        assert (ROOT / "profiles" / f"{profile}.yaml").is_file()
    for path in re.findall(r"\]\(([\w./]+)\)", text):
        assert (ROOT / path).is_file()
