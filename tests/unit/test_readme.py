"""What the READMEs say is what the project does: tables renewed, files and commands that exist."""

import re
from pathlib import Path

import pytest
import yaml

from embedtune.config.reading import parse_params
from tests.unit.committed import OTHER_DATA, OWN_WORK, ROOT
from tools.code_dependencies import file_of
from tools.parameters_page import DEFAULTS, PAGE, parameters_page
from tools.readme import PAGES, READMES, renewed

DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))


@pytest.mark.skipif(bool(OWN_WORK) or OTHER_DATA, reason="the tables show the shipped run, metrics/ another")
@pytest.mark.parametrize("name", PAGES)
def test_tables_are_current(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == renewed(text, "zh" in name), "run `python -m tools.readme`"


def test_every_table_is_there() -> None:
    tables = {
        name: re.findall(r"<!-- (\w+) -->\n\|", (ROOT / name).read_text(encoding="utf-8"))
        for name in (*READMES, "docs/benchmarks.md", "docs/stages.md")
    }
    assert tables["docs/benchmarks.md"] == ["systems", "methods", "retrieval", "indexes", "speed", "real_model"]
    assert tables["docs/stages.md"] == ["stages"]
    assert all(tables[name] == ["results"] for name in READMES)


def test_the_page_of_parameters_is_current_and_has_them_all() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == parameters_page(), "run `python -m tools.readme`"
    for section, keys in parse_params(DEFAULTS.read_text(encoding="utf-8"), DEFAULTS).items():
        assert f"\n## {section}\n" in page
        for key in keys if isinstance(keys, dict) else ():
            assert f"\n| `{key}` | " in page, (section, key)


@pytest.mark.parametrize("name", READMES)
def test_a_readme_fits_on_two_screens_and_no_cell_is_longer_than_a_line(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 135
    assert max(map(len, lines)) <= 130


def test_every_stage_is_named_in_both() -> None:
    stages = {file_of(name) for name in DVC["stages"]}
    for name in READMES:
        text = (ROOT / name).read_text(encoding="utf-8")
        section = text[text.rindex("| --- | --- |") :]
        assert set(re.findall(r"`(\w+)`", section[: section.index("](docs/stages.md)")])) == stages


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_pages_are_linked_from_the_readme_and_link_to_what_exists(page: Path) -> None:
    assert all(f"](docs/{page.name})" in (ROOT / name).read_text(encoding="utf-8") for name in READMES)
    for path in re.findall(r"\]\(([\w./-]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / path).is_file(), path


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
    for path in re.findall(r"\]\(([\w./-]+)\)", text):
        assert (ROOT / path).is_file()
