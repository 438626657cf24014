"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # several workers: one thread each, also in what they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")

FIRST = ["test_repro.py::test_a_first_run", "test_sample_is_honest", "test_distributed", "test_resume"]
QUERY_INSTRUCTION = "为这个句子生成表示："


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First what all workers wait for (a finished pipeline), then the longest: no worker ends alone with one."""
    places = {item: next((i for i, name in enumerate(FIRST) if name in item.nodeid), len(FIRST)) for item in items}
    items.sort(key=places.__getitem__)


@pytest.fixture(scope="session")
def sample_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's tiny BERT, prepared: mean pooling, normalised, an instruction for queries, none for passages."""
    from embedtune.base_model import prepare_model  # here, since transformers and torch take seconds to import
    from embedtune.sample.model import write_sample_model

    root = tmp_path_factory.mktemp("sample-model")
    source, target = root / "source", root / "prepared"
    source.mkdir()
    target.mkdir()
    write_sample_model(source)
    prepare_model(
        source, target, pooling="mean", normalize=True, query_instruction=QUERY_INSTRUCTION, passage_instruction=""
    )
    return target
