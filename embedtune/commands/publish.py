"""Push models/release, the fine-tuned model with its model card, to a repository of the Hugging Face hub.

Only the files that the stage `release` wrote are sent, and only as it wrote them (metrics/release.json has hashes).

This needs a token with write access: HF_TOKEN, or `hf auth login`. HF_ENDPOINT sets the address of another hub.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from embedtune.comparison.card import CROSS_ENCODER
from embedtune.comparison.release import CARD, RERANKER, check_files, file_names
from embedtune.config.paths import CALIBRATION, PARAMS, RELEASE, RELEASED, VERDICT
from embedtune.config.reading import load_params
from embedtune.core import cli, json_files
from embedtune.core.errors import SHOWN_PROBLEMS, EmbedTuneError
from embedtune.data.hub.errors import check_certificates
from embedtune.data.hub.listing import list_files, resolve_commit

KEPT = (".gitattributes",)  # files that the hub itself creates
OF_A_RELEASE = {VERDICT.name, "system.json", CALIBRATION.name}  # what has all three holds an earlier release


class _Rule(BaseModel):
    model_config = ConfigDict(strict=True)
    min_gain: float
    confidence: float


class _Verdict(BaseModel):
    model_config = ConfigDict(strict=True)
    passed: bool
    system: str
    baseline: str
    rules: dict[str, _Rule]


class _Released(BaseModel):
    model_config = ConfigDict(strict=True)
    files: dict[str, str]


def publish(
    repository: str, contents: Mapping[str, Path | bytes], *, private: bool, message: str, replace: bool
) -> str:
    """Make the repository hold `contents` (name -> file), and nothing else but KEPT, by one commit; return its URL.

    A repository that does not exist is created, as `private` or with its owner's default visibility. Raises
    EmbedTuneError if the name is not valid, `private` is asked of a public repository, the repository holds something
    else than an earlier release and `replace` is not given, the hub refuses the card or the commit, or the hub cannot
    be reached.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi()
    with _hub_errors(repository):
        _check_card(contents[CARD])  # before anything is created
        api.create_repo(repository, private=True if private else None, exist_ok=True, repo_type="model")
        if private and not api.model_info(repository).private:
            raise EmbedTuneError(
                f"{repository} exists and is public; make it private on the hub, or leave --private out"
            )
        commit = resolve_commit(repository, "model", "main")
        there = [name for name in list_files(repository, "model", commit) if name not in KEPT]
        if there and not OF_A_RELEASE.issubset(there) and not replace:
            raise EmbedTuneError(
                f"{repository} exists and holds something else than a release of embedtune: {_shown(there)}; "
                "give another name, or --replace to overwrite and delete these files"
            )
        gone = [name for name in there if name not in contents]
        if gone:
            cli.say(f"publish: deleted from {repository}: {_shown(gone)}")
        pushed = api.create_commit(
            repository,
            [
                *(CommitOperationAdd(name, content) for name, content in contents.items()),
                *(CommitOperationDelete(name) for name in gone),
            ],
            commit_message=message,
            repo_type="model",
        )
    return str(pushed.repo_url)


def released_files(repository: str) -> dict[str, Path | bytes]:
    """The files of models/release that the release is made of, with the card's examples under the repository's name.

    What else lies there is named on stderr. Raises EmbedTuneError if a file is missing or is not what was released.
    """
    if not (RELEASE / CARD).is_file():
        raise EmbedTuneError(f"{RELEASE}: holds no released model; run `dvc repro`")
    if not RELEASED.is_file():
        raise EmbedTuneError(f"{RELEASED}: no such file, which has the hashes of what was released; run `dvc repro`")
    try:
        hashes = _Released.model_validate(json_files.read_json(RELEASED)).files
    except ValidationError as error:
        raise EmbedTuneError(f"{RELEASED}: {_first(error)}; run `dvc repro`") from error
    check_files(RELEASE, hashes)
    strangers = [name for name in file_names(RELEASE) if name not in hashes]
    if strangers:
        cli.say(f"publish: not part of the release, and not sent: {_shown(strangers)}")
    content = (RELEASE / CARD).read_bytes()
    try:
        card = content.decode("utf-8").replace(f'"{RELEASE}"', f'"{repository}"')
        card = card.replace(f'"{RELEASE}/{RERANKER}"', f'snapshot_download("{repository}") + "/{RERANKER}"')
        card = card.replace(CROSS_ENCODER, f"from huggingface_hub import snapshot_download\n{CROSS_ENCODER}")
    except UnicodeDecodeError as error:
        raise EmbedTuneError(f"{RELEASE / CARD}: not UTF-8 text; save the file as UTF-8") from error
    if hashlib.sha256(content).hexdigest() != hashes.get(CARD):
        cli.say(f"publish: {RELEASE / CARD} was edited since the release was made; it is sent as it is")
    return {**{name: RELEASE / name for name in hashes}, CARD: card.encode()}


def check_gate() -> None:
    """Raise EmbedTuneError unless the released model passed the gate, under the rules that params.yaml has now."""
    path, params = RELEASE / VERDICT.name, load_params()
    try:
        found = _Verdict.model_validate(json_files.read_json(path))
    except ValidationError as error:
        raise EmbedTuneError(f"{path}: is no verdict of the gate: {_first(error)}; run `dvc repro`") from error
    asked = {
        name: [json_files.rounded(rule.min_gain), json_files.rounded(rule.confidence)]
        for name, rule in params.gate.items()
    }
    judged = {name: [rule.min_gain, rule.confidence] for name, rule in found.rules.items()}
    release = params.release
    if (release.system, release.baseline, asked) != (found.system, found.baseline, judged):
        raise EmbedTuneError(
            f"the gate judged other systems, or by other rules, than {PARAMS} now names; run `dvc repro`"
        )
    if not found.passed:
        raise EmbedTuneError("the gate is shut (`make gate` says why); --although-the-gate-is-shut pushes all the same")


def _check_card(content: Path | bytes) -> None:
    """Have the hub read the card's metadata. Raises EmbedTuneError if it refuses them, and errors of the connection."""
    from huggingface_hub import ModelCard

    assert isinstance(content, bytes), "the card's text is in memory"
    try:
        ModelCard(content.decode("utf-8")).validate(repo_type="model")
    except (ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise EmbedTuneError(f"{RELEASE / CARD}: the hub refuses it: {error}") from error


@contextlib.contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    """Raise what goes wrong between this machine and the hub as EmbedTuneError."""
    from huggingface_hub import constants, is_offline_mode
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

    check_certificates()
    if is_offline_mode():
        raise EmbedTuneError("HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set, which forbids uploads; unset it")
    try:
        yield
    except HFValidationError as error:
        raise EmbedTuneError(f"{repository}: expected NAME/REPOSITORY ({error})") from error
    except RuntimeError as error:
        raise EmbedTuneError(
            f"{error} {error.__cause__}; run it again, what is there already is not sent twice"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        hint = "; set HF_TOKEN to a token that may write there" if status in (401, 403) else ""
        raise EmbedTuneError(f"{constants.ENDPOINT}/{repository}: the hub answered {status}{hint} ({error})") from error
    except HTTPError as error:
        raise EmbedTuneError(f"{constants.ENDPOINT} cannot be reached ({error}); see HF_ENDPOINT") from error
    except OSError as error:
        raise EmbedTuneError(f"{error.filename or repository}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise EmbedTuneError(
            f"{constants.ENDPOINT} does not answer as a hub does ({type(error).__name__}: {error}); check HF_ENDPOINT, "
            "and the proxy if there is one"
        ) from error


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN_PROBLEMS} more" if len(names) > SHOWN_PROBLEMS else ""
    return ", ".join(map(repr, names[:SHOWN_PROBLEMS])) + more


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'the content'}: {problem['msg']}"


def main(arguments: list[str]) -> None:
    """Push the released model, unless the gate is shut."""
    parser = argparse.ArgumentParser(prog="embedtune publish", description=f"Push {RELEASE} to a Hugging Face hub.")
    parser.add_argument("repository", help="NAME/REPOSITORY on the hub")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--message", default="Upload a model fine-tuned with embedtune", help="of the commit")
    parser.add_argument("--replace", action="store_true", help="overwrite a repository that holds something else")
    parser.add_argument("--although-the-gate-is-shut", action="store_true", help="push a model that failed the gate")
    given = parser.parse_args(arguments)
    if not given.message.strip():
        raise EmbedTuneError("--message is empty; give the commit a text, or leave it out")
    contents = released_files(given.repository)
    if not given.although_the_gate_is_shut:
        check_gate()
    print(publish(given.repository, contents, private=given.private, message=given.message, replace=given.replace))
