"""What is copied of a user's own data, and how what cannot be read is named."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from embedtune.core.errors import ParameterError
from embedtune.data.local import copy_local, unreadable


def a_socket(place: Path) -> None:
    place.unlink(missing_ok=True)
    here = Path.cwd()
    os.chdir(place.parent)  # a socket's path may have some hundred bytes
    try:
        socket.socket(socket.AF_UNIX).bind(place.name)
    finally:
        os.chdir(here)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "own"
    (source / "sub").mkdir(parents=True)
    for name in ("train.jsonl", "sub/more.txt", ".hidden"):
        (source / name).write_text(name, encoding="utf-8")
    return source


ODD: dict[str, tuple[Callable[[Path], None], str]] = {
    "dangling": (lambda place: place.symlink_to("nowhere"), "is a link that leads nowhere; remove or replace it"),
    "self": (lambda place: place.symlink_to(place.name), "is a link that leads nowhere; remove or replace it"),
    "loop": (lambda place: place.symlink_to("../.."), "is a link to a directory that it lies in itself; remove it"),
    "pipe": (os.mkfifo, "is a pipe, a socket or a device; put a file in its place"),
    "socket": (a_socket, "is a pipe, a socket or a device; put a file in its place"),
    "device": (
        lambda place: place.symlink_to("/dev/zero"),
        "is a pipe, a socket or a device; put a file in its place",
    ),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", ["notes", ".notes"])
def test_what_cannot_be_read_is_named(tmp_path: Path, folder: Path, kind: str, name: str) -> None:
    make, problem = ODD[kind]
    deep = folder / "sub" / "deeper"
    deep.mkdir()
    make(deep / name)
    assert list(unreadable(folder)) == [f"{deep / name} {problem}"]
    if kind in ("pipe", "dangling", "self"):  # in place of the directory
        make(folder.parent / "instead")
        assert list(unreadable(folder.parent / "instead")) == [f"{folder.parent / 'instead'} {problem}"]
    (folder / "another").symlink_to("nowhere")
    with pytest.raises(ParameterError) as caught:
        copy_local(folder, tmp_path / "copy")
    assert str(caught.value) == f"path: {folder / 'another'} {ODD['dangling'][1]} (and 1 more)"
    assert not (tmp_path / "copy").exists()


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError) as caught:
        copy_local(tmp_path / "own", tmp_path)
    assert str(caught.value) == f"path: {tmp_path / 'own'} does not exist; give a directory or a file"


def test_what_links_lead_to_is_copied_and_hidden_files_are_not(tmp_path: Path, folder: Path) -> None:
    (folder / "twice").symlink_to("sub")  # to a directory beside it: no loop
    (folder / "dev.jsonl").symlink_to("train.jsonl")
    copy_local(folder, tmp_path / "copy")
    copied = {str(path.relative_to(tmp_path / "copy")): path for path in (tmp_path / "copy").rglob("*")}
    assert set(copied) == {"train.jsonl", "dev.jsonl", "sub", "sub/more.txt", "twice", "twice/more.txt"}
    assert not any(path.is_symlink() for path in copied.values())
    assert copied["dev.jsonl"].read_text(encoding="utf-8") == "train.jsonl"
