"""What the tests against peers share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.golden.training import Data, changed_model, make_data


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models: threads would cost more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, sample_model: Path) -> Data:
    return make_data(tmp_path_factory.mktemp("training-data"), sample_model)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, sample_model: Path) -> Path:
    """The sample model without dropout, and with position embeddings that matter."""
    return changed_model(tmp_path_factory.mktemp("model"), sample_model, dropout=0.0)


@pytest.fixture(scope="session")
def base_with_dropout(tmp_path_factory: pytest.TempPathFactory, sample_model: Path) -> Path:
    """The same with dropout of 0.1."""
    return changed_model(tmp_path_factory.mktemp("model-with-dropout"), sample_model, dropout=0.1)
