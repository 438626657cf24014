"""The committed dvc.lock and metrics are of the committed code and parameters, and they show a gain."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from tests.unit.committed import OTHER_DATA, OWN_WORK, ROOT, STAGES

pytestmark = pytest.mark.skipif(
    bool(OWN_WORK), reason="there are uncommitted changes, which no committed run can be of"
)


@pytest.mark.parametrize("stage", STAGES)
def test_code_and_metrics_are_those_of_the_last_run(stage: str) -> None:
    files = [*STAGES[stage]["deps"], *STAGES[stage]["outs"]]
    tracked = [file for file in files if file["path"].startswith(("embedtune/", "stages/", "metrics/"))]
    changed = [file["path"] for file in tracked if digest(ROOT / file["path"]) != file["md5"]]
    assert changed == [], "run `dvc repro` with the shipped params.yaml and commit dvc.lock and metrics/"


def ours(file: Path) -> bool:
    """Whether DVC counts a file of a directory: .dvcignore leaves Python's caches out."""
    return file.is_file() and "__pycache__" not in file.parts


def digest(path: Path) -> str:
    """The checksum that DVC gives a file, or a directory."""
    if path.is_dir():
        names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if ours(file))
        entries = [{"md5": digest(path / name), "relpath": name} for name in names]
        return hashlib.md5(json.dumps(entries).encode()).hexdigest() + ".dir"
    return hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else "absent"


def test_the_lock_file_has_stages_of_the_dag_alone() -> None:
    """An entry under a name that dvc.yaml has no more would stay for ever: DVC does not take it out."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name in STAGES:
        stage, repeated, _ = name.partition("@")
        assert stage in stages and bool(repeated) == ("foreach" in stages[stage]), name


@pytest.mark.skipif(OTHER_DATA, reason="the committed run is of a user's own data, which promise no gain")
def test_the_gain_is_more_than_four_standard_errors() -> None:
    comparison = json.loads((ROOT / "metrics" / "comparison.json").read_text())
    for measure in ("recall@10", "ndcg@10"):
        assert comparison[measure]["gain"] > 4 * comparison[measure]["gain_standard_error"]
