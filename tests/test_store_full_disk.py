"""A disk that takes no more: an error that says what is needed, and a store as it was."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import save_stub_adapter

from adapterhub.errors import UnavailableError
from adapterhub.store import Store

LIMITED = """
import resource, sys
from pathlib import Path
from adapterhub.errors import AdapterHubError
from adapterhub.store import Store
store, folder, limit = Store(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    store.publish(folder, "digits")
except AdapterHubError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def files(store: Store) -> set[Path]:
    return {path for path in store.root.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.default()
    store.publish(save_stub_adapter(tmp_path / "one", value=1), "digits")
    return store


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return save_stub_adapter(tmp_path / "two", value=2)


@pytest.mark.parametrize("limit", [0, 60, 100, 200])
def test_a_process_that_may_write_no_more_says_so_and_leaves_nothing(store: Store, two: Path, limit: int) -> None:
    before, held = files(store), store.pin("digits")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, store.root, two, str(limit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (6, "")
    assert "File too large: needs " in done.stdout
    assert files(store) == before
    assert store.pin("digits") == held
    assert store.verify().damaged == ()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_whatever_write_fails_the_store_is_as_it_was(
    store: Store, two: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    before, held = files(store), store.pin("digits")
    failed = 0
    while _publish_failing_at(failed, error, store, two, monkeypatch):
        failed += 1
        assert files(store) == before
        assert store.pin("digits") == held
        assert store.verify().damaged == ()
    assert failed == 8  # of the nine times that something is synced, the last one is after the tag moved


def _publish_failing_at(number: int, error: int, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the publication failed, and said why, when the sync of that number did; not for the tag's folder."""
    real, left = os.fsync, number

    def fsync(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            raise OSError(error, os.strerror(error))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        try:
            store.publish(folder, "digits")
        except UnavailableError as refused:
            return os.strerror(error) in str(refused) and left < 0 and number < 8
    return False


def test_blobs_that_another_publication_came_to_need_are_not_taken_back(
    store: Store, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Path] = Path.replace

    def replace(path: Path, target: Path) -> Path:
        if Path(target).parent.name == "digits":  # the tag, when all blobs are there
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(UnavailableError, match="No space left on device: needs 72 bytes;"):
            store.publish(two, "digits")
    other = store.publish(two, "other")
    assert store.resolve("other").digest == other.digest
