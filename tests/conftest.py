"""Fixtures that several test files share."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

if "PYTEST_XDIST_WORKER" in os.environ:  # several workers: one thread each, also in what they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")

FIRST = [
    *("test_repro.py::test_a_first_run", "test_sample_is_honest", "test_a_training_killed", "test_distributed"),
    *("tests/pipeline", "tests/golden"),
]
TOGETHER = re.compile(r".*test_distributed.py::\w+\[(\d)")  # tests of one number of processes share a costly fixture
QUERY_INSTRUCTION = "为这个句子生成表示："


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First what all workers wait for (a finished pipeline), then the longest: no worker ends alone with one."""
    places = {item: next((i for i, name in enumerate(FIRST) if name in item.nodeid), len(FIRST)) for item in items}
    items.sort(key=places.__getitem__)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Tests go to the workers one by one, in the order above; those that share a costly fixture go to one worker.

    pytest-xdist's own groups (`--dist loadgroup`) do nothing under pytest 9: it renames tests by a field that is gone.
    """
    from xdist.scheduler import LoadScopeScheduling

    class InOrder(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            found = TOGETHER.match(nodeid)
            return f"distributed {found[1]}" if found else nodeid

    config.option.loadscopereorder = False
    return InOrder(config, log)


@pytest.fixture(scope="session")
def sample_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's tiny BERT, prepared: mean pooling, normalised, an instruction for queries, none for passages."""
    from embedtune.models.base_model import prepare_model  # here, since transformers and torch take seconds to import
    from embedtune.models.sample_model import write_sample_model

    root = tmp_path_factory.mktemp("sample-model")
    source, target = root / "source", root / "prepared"
    source.mkdir()
    target.mkdir()
    write_sample_model(source)
    prepare_model(
        source, target, pooling="mean", normalize=True, query_instruction=QUERY_INSTRUCTION, passage_instruction=""
    )
    return target
