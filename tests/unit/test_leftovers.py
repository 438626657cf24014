"""What a system that was renamed or removed left in metrics/, and what `dvc plots` shows then."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from dvc.parsing import DataResolver
from dvc.repo import Repo

from embedtune.config.leftovers import BY_CUTOFF, leftovers, remove
from embedtune.config.paths import mining_metrics, training_metrics
from embedtune.evaluation import results

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("base", "bm25", "finetuned", "legal", "fused"):
        for file in (
            f"metrics/{name}.json",
            f"metrics/plots/{name}/by_cutoff.csv",
            f"metrics/plots/{name}/by_slice.csv",
        ):
            write(Path(file))
    for name in ("finetuned", "legal"):
        for path in (mining_metrics(name), training_metrics(name)):
            write(path)
        write(Path(f"metrics/plots/mining/{name}.csv"))
        write(Path(f"metrics/plots/training/{name}.csv"))
    write(Path("metrics/plots/mixing/mixed.csv"))
    for own in (
        "metrics/notes.json",
        "metrics/comparison.json",
        "metrics/plots/rejection.csv",
        "metrics/plots/own/x.csv",
    ):
        write(Path(own))
    return tmp_path


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")


def test_what_a_renamed_round_left_is_found_whole_and_nothing_else(project: Path) -> None:
    found = leftovers(["legal", "fused"])
    assert [str(path) for path in found] == [
        "metrics/finetuned.json",
        "metrics/mining/finetuned.json",
        "metrics/plots/finetuned",
        "metrics/plots/mining/finetuned.csv",
        "metrics/plots/mixing/mixed.csv",
        "metrics/plots/training/finetuned.csv",
        "metrics/training/finetuned.json",
    ]
    kept = {path for path in project.rglob("*") if path.is_file() and "finetuned" not in str(path)}
    for path in found:
        remove(path)
    assert {path for path in project.rglob("*") if path.is_file()} == kept - {
        project / "metrics/plots/mixing/mixed.csv"
    }
    assert leftovers(["legal", "fused"]) == []


def test_a_systems_plots_are_known_by_the_file_that_evaluation_writes() -> None:
    assert BY_CUTOFF == results.BY_CUTOFF


def test_of_a_project_without_results_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert leftovers([]) == []


@pytest.mark.parametrize("release", [("finetuned", "base"), ("legal", "base"), ("bm25", "base")])
def test_the_plots_of_dvc_yaml_are_of_systems_that_params_has(release: tuple[str, str], tmp_path: Path) -> None:
    """As DVC itself resolves them, for any name of the released system."""
    system, baseline = release
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    params = params.replace("  system: finetuned\n", f"  system: {system}\n").replace("finetuned:", f"{system}:")
    (tmp_path / "params.yaml").write_text(params, encoding="utf-8")
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    with Repo.init(str(tmp_path), no_scm=True) as repo:
        definition = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
        plots = DataResolver(repo, str(tmp_path), definition).resolve_plots()
    drawn = set()
    for plot in plots:
        for name, how in plot.items():
            drawn |= set(how["y"]) if isinstance(how.get("y"), dict) else {name}
    of_systems = {Path(path).parts[2] for path in drawn if len(Path(path).parts) == 4}
    assert of_systems == {system, baseline, "bm25"}
    assert {path for path in drawn if len(Path(path).parts) == 3} == {
        "metrics/plots/training",
        "metrics/plots/mining",
        "metrics/plots/reliability.csv",
        "metrics/plots/rejection.csv",
    }
