"""The index: made from the files when it is not there, never in the way, and what a listing reads with it."""

from __future__ import annotations

import multiprocessing
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import save_stub_adapter

from adapterhub.errors import UnavailableError
from adapterhub.store import Store
from adapterhub.store.index import SCHEMA


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three tags of two adapters."""
    store = Store.default()
    for value, name in ((0, "digits"), (1, "team/digits"), (1, "team/digits:v1")):
        store.publish(save_stub_adapter(tmp_path / str(value), value=value), name)
    return store


def index(store: Store) -> Path:
    return store.root / "index.sqlite"


@contextmanager
def opened(below: Path) -> Iterator[list[str]]:
    """The names of the files below a folder that are opened."""
    names: list[str] = []
    active = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if active and event == "open" and str(arguments[0]).startswith(str(below)):
            names.append(str(arguments[0]))

    sys.addaudithook(hook)  # for good: a hook cannot be removed
    yield names
    active = False


def test_with_the_index_a_listing_opens_no_file_of_an_adapter(store: Store) -> None:
    listed = store.list()
    with opened(store.root / "blobs") as names:
        assert store.list() == listed
    assert names == []
    index(store).unlink()
    with opened(store.root / "blobs") as names:
        assert store.list() == listed
    assert len({Path(name).name for name in names}) == 6  # of each adapter all but what is the same


def test_a_new_version_is_read_and_no_other(store: Store, tmp_path: Path) -> None:
    store.list()
    new = store.publish(save_stub_adapter(tmp_path / "new", value=2), "digits")
    with opened(store.root / "blobs") as names:
        assert store.list()[0].ref == new
    assert new.digest.removeprefix("sha256:") in {Path(name).name for name in names}
    with opened(store.root / "blobs") as names:
        store.list()
    assert names == []


def spoil(path: Path, how: str) -> None:
    match how:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "no database":
            path.write_bytes(b"nonsense" * 1000)
        case "truncated":
            path.write_bytes(path.read_bytes()[:5000])
        case "overwritten":
            content = path.read_bytes()
            path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
        case "newer schema" | "foreign rows":
            statement = (
                f"PRAGMA user_version = {SCHEMA + 1}" if how == "newer schema" else "UPDATE adapters SET summary = '[]'"
            )
            with closing(sqlite3.connect(path)) as database, database:
                database.execute(statement)
        case "a link":
            path.rename(path.with_name("elsewhere"))
            path.symlink_to(path.with_name("elsewhere"))


SPOILED = ["missing", "empty", "no database", "truncated", "overwritten", "newer schema", "foreign rows", "a link"]


@pytest.mark.parametrize("how", SPOILED)
def test_an_index_that_cannot_be_used_is_made_anew(store: Store, how: str) -> None:
    listed = store.list()
    good = index(store).read_bytes()
    spoil(index(store), how)
    assert store.list() == listed
    assert index(store).read_bytes() == good
    assert not index(store).is_symlink()


def test_the_index_can_be_made_anew_on_demand(store: Store) -> None:
    listed = store.list()
    assert store.reindex() == 2
    assert store.list() == listed


def test_a_store_that_cannot_be_written_to_is_listed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("adapterhub.store.durable.NamedTemporaryFile", refuse)
    assert len(store.list()) == 3
    assert not index(store).exists()
    with pytest.raises(UnavailableError, match="Read-only file system: needs a folder that can be written to"):
        store.reindex()


def test_two_processes_list_and_publish_at_once(store: Store, tmp_path: Path) -> None:
    folders = [save_stub_adapter(tmp_path / f"more-{n}", value=n) for n in range(8)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as processes:
        published = [processes.submit(store.publish, folder, f"more/{n}") for n, folder in enumerate(folders)]
        listed = [processes.submit(store.list) for _ in range(8)]
    assert all(line.error == "" for each in listed for line in each.result())
    assert {each.result() for each in published} <= {line.ref for line in store.list()}
    assert not [path for path in store.root.iterdir() if path.name.startswith(".tmp-")]


def test_a_locked_index_does_not_hold_up_a_listing(store: Store) -> None:
    store.list()
    with closing(sqlite3.connect(index(store), isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        assert len(store.list()) == 3
