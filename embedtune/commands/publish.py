"""Push models/release, the fine-tuned model with its model card, to a repository of the Hugging Face hub.

This needs a token with write access: HF_TOKEN, or `hf auth login`. HF_ENDPOINT sets the address of another hub.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from embedtune.config.paths import PARAMS, RELEASE, VERDICT
from embedtune.config.reading import load_params
from embedtune.core import json_files
from embedtune.core.errors import EmbedTuneError

KEPT = (".gitattributes",)  # files that the hub itself creates


def publish(repository: str, *, private: bool, message: str) -> str:
    """Make the repository hold the files of models/release, and no others but KEPT, by one commit; return its URL.

    A repository that does not exist is created, as `private` or with its owner's default visibility. Raises
    EmbedTuneError if the name is not valid, `private` is asked of a public repository, the hub refuses the card or the
    commit, or the hub cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

    api = HfApi()
    text = (RELEASE / "README.md").read_text(encoding="utf-8").replace(f'"{RELEASE}"', f'"{repository}"')
    try:
        ModelCard(text).validate(repo_type="model")  # before anything is created
        api.create_repo(repository, private=True if private else None, exist_ok=True, repo_type="model")
        if private and not api.model_info(repository).private:
            raise EmbedTuneError(
                f"{repository} exists and is public; make it private on the hub, or leave --private out"
            )
        paths = {str(path.relative_to(RELEASE)): path for path in sorted(RELEASE.rglob("*")) if path.is_file()}
        contents: dict[str, Path | bytes] = {**paths, "README.md": text.encode()}
        gone = [name for name in api.list_repo_files(repository) if name not in contents and name not in KEPT]
        pushed = api.create_commit(
            repository,
            [
                *(CommitOperationAdd(name, content) for name, content in contents.items()),
                *(CommitOperationDelete(name) for name in gone),
            ],
            commit_message=message,
            repo_type="model",
        )
    except HFValidationError as error:
        raise EmbedTuneError(f"{repository}: expected NAME/REPOSITORY ({error})") from error
    except ValueError as error:
        raise EmbedTuneError(f"{RELEASE / 'README.md'}: the hub refuses it: {error}") from error
    except RuntimeError as error:
        raise EmbedTuneError(
            f"{error} {error.__cause__}; run it again, what is there already is not sent twice"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        hint = "; set HF_TOKEN to a token that may write there" if status in (401, 403) else ""
        raise EmbedTuneError(f"{api.endpoint}/{repository}: the hub answered {status}{hint} ({error})") from error
    except HTTPError as error:
        raise EmbedTuneError(f"{api.endpoint} cannot be reached ({error}); see HF_ENDPOINT") from error
    return str(pushed.repo_url)


def check_gate() -> None:
    """Raise EmbedTuneError unless the released model passed the gate, under the rules that params.yaml has now."""
    found, params = json_files.read_json(RELEASE / VERDICT.name), load_params()
    asked = {
        n: [json_files.rounded(rule.min_gain), json_files.rounded(rule.confidence)] for n, rule in params.gate.items()
    }
    judged = {name: [rule["min_gain"], rule["confidence"]] for name, rule in found["rules"].items()}
    release = params.release
    if (release.system, release.baseline, asked) != (found["system"], found["baseline"], judged):
        raise EmbedTuneError(
            f"the gate judged other systems, or by other rules, than {PARAMS} now names; run `dvc repro`"
        )
    if not found["passed"]:
        raise EmbedTuneError("the gate is shut (`make gate` says why); --although-the-gate-is-shut pushes all the same")


def main(arguments: list[str]) -> None:
    """Push the released model, unless the gate is shut."""
    parser = argparse.ArgumentParser(prog="embedtune publish", description=f"Push {RELEASE} to a Hugging Face hub.")
    parser.add_argument("repository", help="NAME/REPOSITORY on the hub")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--message", default="Upload a model fine-tuned with embedtune", help="of the commit")
    parser.add_argument("--although-the-gate-is-shut", action="store_true", help="push a model that failed the gate")
    given = parser.parse_args(arguments)
    if not (RELEASE / "README.md").exists():
        raise EmbedTuneError(f"{RELEASE}: holds no released model; run `dvc repro`")
    if not given.although_the_gate_is_shut:
        check_gate()
    print(publish(given.repository, private=given.private, message=given.message))
