"""Mixtures of two models: their weights by plain arithmetic, how a weight is chosen, what the general data set is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from embedtune.core.errors import EmbedTuneError
from embedtune.evaluation.dev_evaluation import EvaluationSet
from embedtune.evaluation.general_data import open_general_data
from embedtune.evaluation.write_general_data import write_general_data
from embedtune.models.encode import load_backbone
from embedtune.models.encoder import load_encoder
from embedtune.models.interpolation import Mixture
from embedtune.models.settings import read_settings
from embedtune.models.tokenization import load_tokenizer
from embedtune.training.mixture import Sweep, sweep
from tests.golden.mining import CHARACTERS
from tests.golden.training import changed_model

CPU = torch.device("cpu")
WEIGHTS = [0.0, 0.25, 0.5, 1.0]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """The base model with other weights."""
    target = changed_model(tmp_path_factory.mktemp("tuned"), base, dropout=0.0)
    model = load_backbone(target, torch.float32, CPU)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    model.save_pretrained(target)
    return target


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_weights_are_mixed_in_proportion(base: Path, tuned: Path, weight: float) -> None:
    mixture = Mixture(base, tuned, CPU)
    mixture.set(0.9)  # what was set before does not matter
    mixed = mixture.set(weight).model.state_dict()
    theirs, ours = (load_backbone(path, torch.float32, CPU).state_dict() for path in (base, tuned))
    for name, value in mixed.items():
        expected = (1 - weight) * theirs[name].double().numpy() + weight * ours[name].double().numpy()
        np.testing.assert_allclose(value.numpy(), expected, atol=1e-6)


def test_models_of_other_sizes_are_refused(base: Path, tuned: Path, tmp_path: Path) -> None:
    model = load_backbone(base, torch.float32, CPU)
    model.resize_token_embeddings(17)
    model.save_pretrained(tmp_path)
    with pytest.raises(EmbedTuneError, match="have different weights, which cannot be mixed"):
        Mixture(base, tmp_path, CPU)


def swept(
    base: Path, tuned: Path, monkeypatch: pytest.MonkeyPatch, in_domain: list[list[float]], general: list[float] | None
) -> Sweep:
    """A sweep whose measures are these, one a weight: a value for each dev question, and their mean on general data."""
    dev, other = object.__new__(EvaluationSet), object.__new__(EvaluationSet)
    seen: dict[int, int] = {id(dev): 0, id(other): 0}

    def score(self: EvaluationSet, *_: object, **__: object) -> pd.DataFrame:
        number = seen[id(self)]
        seen[id(self)] += 1
        values = in_domain[number] if self is dev else [(general or [])[number]] * 2
        return pd.DataFrame({"ndcg@10": values})

    monkeypatch.setattr(EvaluationSet, "score", score)
    return sweep(
        Mixture(base, tuned, CPU),
        WEIGHTS,
        dev,
        None if general is None else other,
        batch_tokens=512,
        metric="ndcg@10",
    )


def test_dev_chooses_the_weight(base: Path, tuned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = swept(base, tuned, monkeypatch, [[0.1] * 50, [0.5] * 50, [0.4] * 50, [0.3] * 50], None)
    assert found.chosen == 0.25
    assert found.table["weight"].tolist() == WEIGHTS
    assert found.table["in_domain"].tolist() == pytest.approx([0.1, 0.5, 0.4, 0.3])
    assert list(found.table) == ["weight", "in_domain"]


def test_of_weights_that_dev_cannot_tell_apart_the_general_data_choose(
    base: Path, tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last two are alike but for noise, the first ones are worse; the general data like the first best."""
    noise = np.random.default_rng(0).normal(0, 0.2, 50)
    values = [[0.1] * 50, [0.2] * 50, (0.5 + noise).tolist(), (0.5 - noise).tolist()]
    means = [float(np.mean(v)) for v in values[2:]]
    worse_on_dev = WEIGHTS[2 + int(np.argmin(means))]
    general = [0.9, 0.8, 0.7 if worse_on_dev == 0.5 else 0.5, 0.7 if worse_on_dev == 1.0 else 0.5]
    found = swept(base, tuned, monkeypatch, values, general)
    assert found.chosen == worse_on_dev
    assert found.table["general"].tolist() == pytest.approx(general)


def write_beir(root: Path, split: str) -> None:
    (root / "qrels").mkdir(parents=True)
    rng = np.random.default_rng(2)
    rows = [{"_id": f"d{i}", "title": "", "text": "".join(rng.choice(CHARACTERS, 12))} for i in range(12)]
    lines = {"corpus": rows, "queries": [{"_id": f"q{i}", "text": rows[i]["text"]} for i in range(4)]}
    for name, content in lines.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
        (root / f"{name}.jsonl").write_text(text, encoding="utf-8")
    judged = "".join(f"q{i}\td{i}\t1\n" for i in range(3)) + "lost\td0\t1\n"
    (root / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")


@pytest.mark.parametrize("split", ["test", "train"])
def test_the_general_data_set_ranks_all_documents_for_its_questions(base: Path, tmp_path: Path, split: str) -> None:
    write_beir(tmp_path / "source", split)
    settings, tokenizer = read_settings(base), load_tokenizer(base)
    (tmp_path / "general").mkdir()
    counts = write_general_data(tmp_path / "source", tmp_path / "general", tokenizer, settings, max_tokens=16)
    assert counts == {"questions": 3, "documents": 12, "rows_skipped": 1}
    skipped = json.loads((tmp_path / "general" / "skipped.jsonl").read_text(encoding="utf-8"))
    assert "names the query 'lost', which queries.jsonl lacks" in skipped["reason"]
    general = open_general_data(tmp_path / "general", tokenizer, settings, 16)
    assert general is not None
    table = general.score(load_encoder(base), batch_tokens=512, cutoffs=[1, 12])
    assert table.index.tolist() == ["q0", "q1", "q2"]
    assert table["recall@12"].tolist() == [1, 1, 1]
    assert table["recall@1"].sum() >= 2, "a document's own text finds it, but for the instruction"


def test_a_general_data_set_in_another_layout_is_named(base: Path, tmp_path: Path) -> None:
    (tmp_path / "general").mkdir()
    with pytest.raises(EmbedTuneError, match=r"`path` needs corpus.jsonl, .* give a directory in BEIR's layout"):
        write_general_data(tmp_path, tmp_path / "general", load_tokenizer(base), read_settings(base), max_tokens=16)


def test_without_general_data_there_is_none(base: Path, tmp_path: Path) -> None:
    assert open_general_data(tmp_path, load_tokenizer(base), read_settings(base), 16) is None
