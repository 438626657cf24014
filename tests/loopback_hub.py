"""A small Hugging Face hub on the loopback interface, for tests: what huggingface_hub 2.4 asks, and some misbehaviour.

    with serve_hub({("dataset", "Shitao/MLDR"): {"README.md": b"..."}}, commit="0" * 40) as hub:
        ...  # a program started with HF_ENDPOINT=hub.url
        assert ("GET", "/datasets/Shitao/MLDR/resolve/.../README.md", {...}) in hub.requests

It takes uploads too: repositories that are created, and commits, whose LFS files come first as the LFS protocol has it
(a program under test sets HF_HUB_DISABLE_XET).

Files that end in .gz, .bin or .safetensors are served as LFS files are (SHA-256), all others as git blobs (SHA-1).
LFS files are offered by Xet too, as on the real hub; but like many mirrors this one does not speak Xet.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results

Repositories = dict[tuple[str, str], dict[str, bytes]]  # (dataset or model, owner/name) -> path -> content


def card_problem(text: str) -> str:
    """What is wrong with a card's metadata, by huggingface_hub's own reading; empty where nothing is."""
    found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    if not found:
        return "no metadata"
    metadata = yaml.safe_load(found[1]) or {}
    try:
        if "model-index" in metadata:
            model_index_to_eval_results(metadata["model-index"])
    except (KeyError, TypeError, ValueError) as error:
        return f"model-index: {error!r}"
    return ""


class LoopbackHub:
    """What is served, what was asked, and how to misbehave. `commit` also goes by the name of `main`."""

    def __init__(self, repositories: Repositories, commit: str, token: str | None) -> None:
        self.repositories = repositories
        self.commit = commit
        self.token = token
        self.url = ""
        self.requests: list[tuple[str, str, dict[str, str]]] = []  # method, path, headers with lower-case names
        self.closing = threading.Event()
        self.breaks: dict[str, int] = {}
        self.stalls: dict[str, int] = {}
        self.corrupted: dict[str, bool] = {}
        self.failures: dict[str, tuple[int, str]] = {}
        self.left_out: set[str] = set()  # names of headers that are not sent
        self.links: dict[str, str] = {}  # a question, such as tree -> the address of the next page of its answer
        self.answers: dict[str, bytes] = {}  # a question -> what is answered instead
        self.endless: dict[str, int] = {}  # a file whose body never ends -> how many bytes of it were sent
        self.visibility: dict[str, str | None] = {}  # of a created repository, as it was asked for
        self.commits: list[str] = []  # their messages
        self.uploaded: dict[str, bytes] = {}  # LFS objects by SHA-256

    def break_after(self, path: str, n_bytes: int) -> None:
        """Close the connection after `n_bytes` of the next download of `path`, once."""
        self.breaks[path] = n_bytes

    def stall_after(self, path: str, n_bytes: int) -> None:
        """Send `n_bytes` of the next download of `path`, then nothing more, once."""
        self.stalls[path] = n_bytes

    def corrupt(self, path: str) -> None:
        """From now on serve wrong bytes of the right length for `path`; the listed checksums stay the true ones."""
        self.corrupted[path] = True

    def mend(self, path: str) -> None:
        """Serve the true bytes of `path` again, with no failure."""
        self.corrupted.pop(path, None)
        self.failures.pop(path, None)

    def fail(self, path: str, status: int, error_code: str = "") -> None:
        """From now on answer `status`, with `error_code` as X-Error-Code, to a request for `path`."""
        self.failures[path] = (status, error_code)

    def downloads(self, path: str) -> list[dict[str, str]]:
        """The headers of each GET of the file `path`, in order."""
        return [headers for method, asked, headers in self.requests if method == "GET" and asked.endswith("/" + path)]


@contextlib.contextmanager
def serve_hub(repositories: Repositories, commit: str, token: str | None = None) -> Iterator[LoopbackHub]:
    """Serve `repositories` at `commit` until the block ends; with `token`, only to requests that carry it."""
    hub = LoopbackHub(repositories, commit, token)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def is_lfs(path: str) -> bool:
    """Whether the hub keeps `path` in LFS."""
    return path.endswith((".gz", ".bin", ".safetensors"))


def git_blob_sha1(content: bytes) -> str:
    """The name that git gives to a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def hub_checksum(path: str, content: bytes) -> str:
    """The checksum that the hub lists, and sends as ETag."""
    return hashlib.sha256(content).hexdigest() if is_lfs(path) else git_blob_sha1(content)


def flipped(content: bytes) -> bytes:
    """What is served for a corrupted file: as many bytes, each with its last bit turned."""
    return bytes(byte ^ 1 for byte in content)


def _listing(path: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": git_blob_sha1(content)}
    if is_lfs(path):
        entry["lfs"] = {"oid": hub_checksum(path, content), "size": len(content), "pointerSize": 134}
    return entry


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the client may have had enough of an answer
            super().handle()

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: hub.requests has it all."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, {name.lower(): value for name, value in self.headers.items()}))
        # a store of LFS objects asks for no token, its addresses are given out; nor does the check of a card
        public = self.command == "PUT" or path == "/api/validate-yaml"
        if self.hub.token and not public and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self._refuse(401, message="Invalid username or password.")
        parts = path.strip("/").split("/")
        if path == "/api/validate-yaml":  # of a README.md
            problem = card_problem(json.loads(body)["content"])
            errors = [{"message": problem}] if problem else []
            return self._send_json({"errors": errors, "warnings": []}, status=400 if errors else 200)
        if self.command == "PUT" or path == "/api/repos/create" or path.endswith("/objects/batch"):
            return self._take(parts, body)
        if (
            parts[:2] == ["api", "models"]
            and len(parts) == 4
            and ("model", "/".join(parts[2:])) in self.hub.repositories
        ):
            name = "/".join(parts[2:])
            return self._send_json({"id": name, "private": self.hub.visibility.get(name) == "private", "siblings": []})
        if parts[0] == "api" and len(parts) > 5 and parts[1] in ("datasets", "models"):
            files = self.hub.repositories.get((parts[1][:-1], "/".join(parts[2:4])))
            question, revision = parts[4:6]
        else:
            kind = "dataset" if parts[0] == "datasets" else "model"
            parts = parts[1:] if kind == "dataset" else parts
            files = self.hub.repositories.get((kind, "/".join(parts[:2])))
            question, revision = [*parts[2:4], "", ""][:2]
        if files is None:
            return self._refuse(404, "RepoNotFound", "Repository not found")
        if revision not in (self.hub.commit, "main"):
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if question in self.hub.answers:
            return self._send(200, self.hub.answers[question], {"Content-Type": "application/json"})
        if question == "preupload":
            asked = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": p, "uploadMode": "lfs" if is_lfs(p) else "regular", "shouldIgnore": False} for p in asked]
            return self._send_json({"files": modes})
        if question == "commit":
            return self._commit("/".join(parts[2:4]), files, body)
        if question == "revision":
            siblings = [{"rfilename": name} for name in files]
            return self._send_json({"id": "/".join(parts[2:4]), "sha": self.hub.commit, "siblings": siblings})
        if question == "tree":
            following = {"Link": f'<{self.hub.links["tree"]}>; rel="next"'} if "tree" in self.hub.links else {}
            page = json.dumps([_listing(name, content) for name, content in files.items()]).encode()
            return self._send(200, page, {"Content-Type": "application/json", **following})
        if question == "paths-info":
            wanted = parse_qs(body.decode()).get("paths", [])
            return self._send_json([_listing(name, files[name]) for name in wanted if name in files])
        name = "/".join(parts[4:])
        if question != "resolve" or name not in files:
            return self._refuse(404, "EntryNotFound", "Entry not found")
        if name in self.hub.failures and name in self.hub.endless:
            return self._send_without_end(name, b"no", {}, self.hub.failures[name][0])
        if name in self.hub.failures:
            return self._refuse(*self.hub.failures[name])
        self._send_file(name, files[name])

    def _take(self, parts: list[str], body: bytes) -> None:
        """A new repository, the question where to put LFS objects, or one of them."""
        if self.command == "PUT":
            if hashlib.sha256(body).hexdigest() != parts[-1]:
                return self._refuse(400, message="the object has another checksum")
            self.hub.uploaded[parts[-1]] = body
            return self._send_json({})
        asked = json.loads(body)
        if parts[-1] == "create":
            name = f"{asked['organization']}/{asked['name']}"
            if ("model", name) in self.hub.repositories:
                there = {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"}
                return self._send_json(there, status=409)
            self.hub.repositories[("model", name)] = {}
            self.hub.visibility[name] = asked.get("visibility")
            return self._send_json({"url": f"{self.hub.url}/{name}"})
        objects = [
            {**wanted, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}", "header": {}}}}
            for wanted in asked["objects"]
        ]
        return self._send_json({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, files: dict[str, bytes], body: bytes) -> None:
        """All of a commit, or nothing: an object that was not sent fails before anything is changed."""
        entries = [json.loads(line) for line in body.splitlines()]
        changed: dict[str, bytes] = {}
        for entry in entries:
            value = entry["value"]
            if entry["key"] == "file":
                changed[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                changed[value["path"]] = self.hub.uploaded[value["oid"]]
        for entry in entries:
            if entry["key"] == "deletedFile":
                del files[entry["value"]["path"]]
        files |= changed
        self.hub.commits.append(next(entry["value"]["summary"] for entry in entries if entry["key"] == "header"))
        commit = f"{self.hub.url}/{name}/commit/{self.hub.commit}"
        return self._send_json({"success": True, "commitUrl": commit, "commitOid": self.hub.commit, "hookOutput": ""})

    def _refuse(self, status: int, error_code: str = "", message: str = "") -> None:
        headers = {"X-Error-Code": error_code, "X-Error-Message": message}
        self._send(status, b"", {name: value for name, value in headers.items() if value})

    def _send_json(self, value: object, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send_file(self, name: str, content: bytes) -> None:
        etag = f'"{hub_checksum(name, content)}"'
        headers = {"ETag": etag, "X-Repo-Commit": self.hub.commit, "Accept-Ranges": "bytes"}
        if is_lfs(name):
            xet = {"X-Xet-Hash": "0" * 64, "X-Xet-Refresh-Route": f"{self.hub.url}/xet-read-token"}
            headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(len(content)), **xet}
        if name in self.hub.corrupted:
            content = flipped(content)
        if name in self.hub.endless:
            return self._send_without_end(name, content, headers)
        wanted = self.headers.get("Range")
        if wanted is None:
            return self._send(200, content, headers, name)
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(content):
            return self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(206, content[start:], headers, name)

    def _send_without_end(self, name: str, content: bytes, headers: dict[str, str], status: int = 200) -> None:
        """The true content and then zeros, until the client has had enough."""
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(ConnectionError):
            while not self.hub.closing.is_set():
                self.wfile.write(content)
                self.hub.endless[name] += len(content)
                content = bytes(2**16)

    def _send(self, status: int, body: bytes, headers: dict[str, str], name: str = "") -> None:
        self.send_response(status)
        for header, value in {**headers, "Content-Length": str(len(body))}.items():
            if header not in self.hub.left_out:
                self.send_header(header, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        with contextlib.suppress(ConnectionError):  # the client may have been killed
            if name in self.hub.breaks or name in self.hub.stalls:
                stall = name in self.hub.stalls
                self.wfile.write(body[: (self.hub.stalls if stall else self.hub.breaks).pop(name)])
                self.wfile.flush()
                self.close_connection = True
                if stall:
                    self.hub.closing.wait()
            else:
                self.wfile.write(body)
