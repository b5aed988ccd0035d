"""A stand-in for the Hugging Face Hub over loopback: repos of commits in memory, users by token, faults on order.

It speaks as much of the Hub's API as `huggingface_hub` needs to push, list and download: the same
routes, headers and error codes. Files ending in .safetensors are listed as the Hub lists large ones,
by their sha256, and taken like the small ones. Data sets are repos called `datasets/org/name`, to be read only.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from stand_in_repo import Files, Repo, oid_of, tree


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose "METHOD /path" the pattern is found in."""

    pattern: str
    times: int = 1
    status: int = 0
    """Answer with this status instead."""
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    drop_after: int | None = None
    """Close the connection after so many bytes of the body."""
    reset: bool = False
    """Close it by a reset."""
    delay: float = 0.0
    """Seconds of silence before the answer."""
    spoil: bool = False
    """Send as many bytes, of which the last is another."""
    meanwhile: Callable[[], object] | None = None
    """Called before the request is served as usual."""
    lost: bool = False
    """Serve the request, and close the connection without the answer."""


class StandInHub:
    """The server; use as a context manager. `url` is what HF_ENDPOINT would be."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.users = {"hf_alice_secret": "alice", "hf_bob_secret": "bob"}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        """"METHOD /path" of every request, in order."""
        self.bodies: list[tuple[str, int]] = []
        """A request, and how many bytes of a body it was sent."""
        self.waits: list[float] = []
        """Seconds that a client which is told not to wait would have waited."""
        self.lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("_Bound", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, repo: str, files: Files, **settings: Any) -> Repo:
        """A repo with one commit."""
        made = Repo(repo.partition("/")[0], **settings)
        made.commit(files)
        self.repos[repo] = made
        return made

    def fail(self, pattern: str, **fault: Any) -> Fault:
        self.faults.append(Fault(pattern, **fault))
        return self.faults[-1]

    def count(self, pattern: str) -> int:
        """How many requests the pattern was found in."""
        return sum(re.search(pattern, request) is not None for request in self.requests)

    def sent(self, pattern: str) -> int:
        """Bytes of the bodies that were sent for requests the pattern was found in."""
        return sum(size for request, size in self.bodies if re.search(pattern, request))

    def due(self, request: str) -> Fault | None:
        """The fault for this request, if there is one; it has one time less after."""
        with self.lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.times and re.search(fault.pattern, request):
                    fault.times -= 1
                    return fault
        return None


class Refusal(Exception):  # noqa: N818
    """An answer that is an error."""

    def __init__(self, status: int, code: str = "", text: str = "", commit: str = "") -> None:
        super().__init__(text)
        named = {"X-Error-Code": code, "X-Error-Message": text, "X-Repo-Commit": commit}
        self.status, self.headers = status, {name: value for name, value in named.items() if value}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: StandInHub
    fault: Fault | None = None

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # the client went away

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        fault = self.fault = self.hub.due(f"{self.command} {unquote(path)}")
        if fault:
            time.sleep(fault.delay)
            if fault.status:
                self._answer(fault.status, fault.text.encode(), dict(fault.headers))
                return
            if fault.meanwhile:
                fault.meanwhile()
        try:
            with self.hub.lock:
                status, answer, headers = self._route(path, body)
        except Refusal as refusal:
            status, answer, headers = refusal.status, b"", refusal.headers
        if fault and fault.lost:
            self.close_connection = True
            return
        self._answer(status, answer, headers)

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        fault = self.fault
        if fault and fault.spoil:
            body = body[:-1] + bytes([body[-1] ^ 1])
        breaks_off = fault is not None and fault.drop_after is not None
        body = body[: fault.drop_after] if fault and breaks_off else body
        self.hub.bodies.append((f"{self.command} {unquote(urlsplit(self.path).path)}", len(body)))
        self.wfile.write(body)
        if fault is None or not breaks_off:
            return
        self.wfile.flush()
        self.close_connection = True
        if fault.reset:
            time.sleep(0.1)  # what was written is read before the reset takes it away
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _route(self, path: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        user = self._user()
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            return self._create(json.loads(body), user)
        if path == "/api/validate-yaml":
            return _json({"errors": [], "warnings": []})
        if parts[0] == "api" and len(parts) >= 4:
            kind = "datasets/" if parts[1] == "datasets" else ""
            return self._api(self._repo(kind + "/".join(parts[2:4]), user), parts, body, user)
        if parts[0] == "datasets" and len(parts) > 5 and parts[3] == "resolve":
            return self._resolve(self._repo("/".join(parts[:3]), user), unquote(parts[4]), parts[5:], user)
        if len(parts) > 4 and parts[2] == "resolve":
            return self._resolve(self._repo("/".join(parts[:2]), user), unquote(parts[3]), parts[4:], user)
        raise Refusal(404)

    def _user(self) -> str:
        header = self.headers.get("Authorization", "")
        token = header.removeprefix("Bearer ")
        if header and token not in self.hub.users:
            raise Refusal(401, text="Invalid credentials in Authorization header")
        return self.hub.users.get(token, "")

    def _repo(self, name: str, user: str) -> Repo:
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and user != repo.owner):
            raise Refusal(404 if user else 401, "RepoNotFound", "Repository not found")
        return repo

    def _create(self, asked: dict[str, Any], user: str) -> tuple[int, bytes, dict[str, str]]:
        owner = asked["organization"] or user
        name = f"{owner}/{asked['name']}"
        if not user:
            raise Refusal(401)
        if owner != user:
            raise Refusal(403, text=f"You don't have the rights to create a model under the namespace {owner}")
        if name in self.hub.repos:
            return 409, json.dumps({"error": "You already created it", "url": f"{self.hub.url}/{name}"}).encode(), {}
        private = asked.get("visibility") == "private"
        self.hub.add(name, {".gitattributes": b"*.safetensors filter=lfs\n"}, private=private)
        return _json({"url": f"{self.hub.url}/{name}"})

    def _api(self, repo: Repo, parts: list[str], body: bytes, user: str) -> tuple[int, bytes, dict[str, str]]:
        name, verb = "/".join(parts[2:4]), parts[4] if len(parts) > 4 else "revision"
        if self.command == "POST" and user != repo.owner:
            raise Refusal(403, text="You don't have the rights to write to this repo")
        if verb == "branch":
            repo.branches.setdefault(unquote(parts[5]), repo.branches["main"])
            return _json({})
        if verb == "refs":
            kinds = {"branches": repo.branches, "tags": repo.tags}
            told = {
                kind: [{"name": n, "ref": n, "targetCommit": c} for n, c in held.items()]
                for kind, held in kinds.items()
            }
            return _json(told | {"converts": []})
        revision = unquote(parts[5]) if len(parts) > 5 else "main"
        commit = repo.resolve(revision)
        if not commit:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = repo.commits[commit]
        if verb == "revision":
            return _json({"id": name, "sha": commit, "private": repo.private, "tags": [], "siblings": []})
        if verb == "tree":
            folder = unquote(parts[6]) if len(parts) > 6 else ""
            listed = tree(files, folder, "recursive=true" in self.path.lower())
            if folder and not listed:
                raise Refusal(404, "EntryNotFound")
            return _json(listed)
        if verb == "preupload":
            modes = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return _json({"files": modes})
        if verb == "tag":
            tag = json.loads(body)["tag"]
            if tag in repo.tags:
                raise Refusal(409, text="Reference already exists")
            repo.tags[tag] = commit
            return _json({})
        assert verb == "commit", self.path
        return self._commit(name, revision, body)

    def _commit(self, name: str, revision: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        repo = self.hub.repos[name]
        lines = [json.loads(line) for line in body.splitlines()]
        parent = lines[0]["value"].get("parentCommit")
        if parent and parent != repo.branches.get(revision):
            raise Refusal(412, text="A commit has happened since. Please refresh and try again.")
        added = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
        }
        gone = tuple(line["value"]["path"] for line in lines if line["key"] == "deletedFile")
        sha = repo.commit(added, revision, gone=gone)
        return _json({"commitUrl": f"{self.hub.url}/{name}/commit/{sha}", "commitOid": sha})

    def _resolve(self, repo: Repo, revision: str, path: list[str], user: str) -> tuple[int, bytes, dict[str, str]]:
        if repo.gated and user != repo.owner:
            raise Refusal(403 if user else 401, "GatedRepo", "Access to this model is restricted")
        commit, name = repo.resolve(revision), unquote("/".join(path))
        if not commit:
            raise Refusal(404, "RevisionNotFound")
        if name not in repo.commits[commit]:
            raise Refusal(404, "EntryNotFound", commit=commit)
        content = repo.commits[commit][name]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{oid_of(name, content)}"', "Accept-Ranges": "bytes"}
        if self.command == "HEAD":
            return 200, b"", {**headers, "Content-Length": str(len(content))}
        if found := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(found[1])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return 206, content[start:], headers
        return 200, content, headers


def _json(value: Any) -> tuple[int, bytes, dict[str, str]]:
    return 200, json.dumps(value).encode(), {"Content-Type": "application/json"}
