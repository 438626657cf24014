"""Read and check params.yaml. All problems of a file are reported together, each with its key and value."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pydantic
import yaml

from embedtune.config.cross_checks import check_together
from embedtune.config.errors import explained
from embedtune.config.renamed import renamed
from embedtune.config.schema import Params
from embedtune.core.errors import EmbedTuneError, Problems


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml.

    Raises EmbedTuneError if the file is missing or not valid YAML; else naming every unknown, missing or invalid key.
    """
    content = _read_yaml(path)
    problems = Problems()
    for where, what in renamed(content):
        problems.add(f"{path}: {where}", what)
    try:
        params = Params.model_validate(content)
    except pydantic.ValidationError as errors:
        for where, what in explained(errors, content, Params).items():
            problems.add(f"{path}: {where}", what)
        problems.raise_if_any()
        raise
    check_together(params, path, problems)
    problems.raise_if_any()
    return params


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses duplicate keys in a section, of which PyYAML silently keeps the last, and keys that are not scalars."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a name", problem_mark=key_node.start_mark)
            if key_node.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key '{key_node.value}' stands twice in one section", problem_mark=key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> Any:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except FileNotFoundError as error:
        raise EmbedTuneError(f"{path}: no such file; run this in the project's root") from error
    except UnicodeDecodeError as error:
        raise EmbedTuneError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise EmbedTuneError(f"{path}{line}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise EmbedTuneError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise EmbedTuneError(f"{path}: expected sections such as `dataset:` and `train:`, got {content!r}")
    return content
