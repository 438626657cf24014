"""The name that a stage is called with, by hand or by DVC."""

from __future__ import annotations

import pytest

from embedtune.core.errors import EmbedTuneError
from stages.running import name_given


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "python -m stages.mine: expected one of finetuned, round2, got nothing"),
        (["finetuned", "round2"], "python -m stages.mine: expected one of finetuned, round2, got finetuned round2"),
        (["legal"], "expected one of finetuned, round2, as params.yaml defines them, got legal"),
    ],
)
def test_a_stage_called_with_no_name_or_another_says_which_there_are(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/project/stages/mine.py", *arguments])
    with pytest.raises(EmbedTuneError) as caught:
        name_given(["finetuned", "round2"])
    assert said in str(caught.value)


def test_a_stages_name_is_its_one_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["stages/encode.py", "base"])
    assert (name_given(), name_given(["base"])) == ("base", "base")
    monkeypatch.setattr("sys.argv", ["stages/encode.py"])
    with pytest.raises(EmbedTuneError, match=r"stages\.encode: expected a name, such as base, got nothing"):
        name_given()
