"""The store: adapters by content, tags that move, and what a crash or a second process leaves."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from conftest import save_stub_adapter

from adapterhub.adapter import ADAPTER_FILES, CONFIG_FILE, PROVENANCE_FILE, TENSORS_FILE
from adapterhub.errors import (
    AdapterNotFoundError,
    ConflictError,
    CorruptAdapterError,
    InvalidInputError,
    RefError,
    UnsupportedAdapterError,
)
from adapterhub.store import AdapterRef, Store, Swept, Verified
from adapterhub.store.manifest import Manifest


@pytest.fixture
def store() -> Store:
    return Store.default()


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return save_stub_adapter(tmp_path / "one", value=1.0)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return save_stub_adapter(tmp_path / "two", value=2.0)


def first_value(store: Store, ref: AdapterRef | str) -> float:
    (tensor,) = store.resolve(ref).read_tensors().values()
    return float(tensor[0, 0])


def blob(store: Store, ref: AdapterRef | str, name: str) -> Path:
    """The blob of one file, made writable to damage it."""
    path = store.resolve(ref).files[name]
    path.chmod(0o644)
    return path


def test_a_published_adapter_resolves_by_its_name(store: Store, one: Path) -> None:
    ref = store.publish(one, "team/digits:v1")
    adapter = store.resolve("team/digits:v1")
    assert adapter.digest == ref.digest
    assert adapter.config["lora_alpha"] == 4
    assert first_value(store, ref) == 1.0


def test_only_the_files_of_an_adapter_are_kept(store: Store, one: Path) -> None:
    (one / "optimizer.pt").write_bytes(b"pickle")
    assert set(store.resolve(store.publish(one, "digits")).files) < set(ADAPTER_FILES)


def test_the_same_content_has_the_same_digest_everywhere(store: Store, one: Path, tmp_path: Path) -> None:
    copy = save_stub_adapter(tmp_path / "copy", value=1.0)
    digests = {
        store.publish(one, "digits").digest,
        store.publish(copy, "other/name:v2").digest,
        Store(tmp_path / "elsewhere").publish(one, "digits").digest,
    }
    assert len(digests) == 1


def test_publishing_again_moves_the_tag_and_keeps_the_old_digest(store: Store, one: Path, two: Path) -> None:
    old, new = store.publish(one, "digits"), store.publish(two, "digits")
    assert old.digest != new.digest
    assert first_value(store, "digits") == 2.0
    assert first_value(store, f"digits@{old.digest}") == 1.0


def test_a_pinned_ref_keeps_its_digest_when_the_tag_moves(store: Store, one: Path, two: Path) -> None:
    store.publish(one, "digits")
    pinned = store.pin("digits")
    store.publish(two, "digits")
    assert first_value(store, pinned) == 1.0


def test_a_listing_shows_every_tag(store: Store, one: Path, two: Path) -> None:
    store.publish(one, "digits:v1")
    ref = store.publish(two, "team/digits")
    first, second = store.list()
    assert [first.ref.label, second.ref.label] == ["digits:v1", "team/digits:latest"]
    assert (second.ref, second.method, second.base, second.num_parameters) == (ref, "lora", "stub-base", 6)


def test_one_unreadable_adapter_does_not_hide_the_others(store: Store, one: Path, two: Path) -> None:
    store.publish(one, "bad")
    store.publish(two, "good")
    blob(store, "bad", TENSORS_FILE).unlink()
    bad, good = store.list()
    assert "missing" in bad.error
    assert good.error == ""


def test_a_new_store_is_empty_and_stays_unmade(store: Store) -> None:
    assert store.list() == ()
    assert store.gc() == Swept()
    assert store.verify() == Verified(0, 0, ())
    assert not store.root.exists()


def test_an_unknown_name_is_refused_naming_a_near_one(store: Store, one: Path) -> None:
    ref = store.publish(one, "digits")
    with pytest.raises(AdapterNotFoundError, match="did you mean 'digits'"):
        store.resolve("digit")
    with pytest.raises(AdapterNotFoundError, match="did you mean 'digits'"):
        store.resolve(f"digit@{ref.digest}")


def test_an_unknown_tag_is_refused_naming_the_known_ones(store: Store, one: Path) -> None:
    store.publish(one, "digits:v1")
    with pytest.raises(AdapterNotFoundError, match="known: v1"):
        store.resolve("digits:v2")


def test_an_unknown_digest_is_refused(store: Store, one: Path) -> None:
    store.publish(one, "digits")
    with pytest.raises(AdapterNotFoundError, match="digits never held sha256:0000"):
        store.resolve(f"digits@sha256:{'0' * 64}")


def test_the_digest_of_a_mere_file_is_not_an_adapter(store: Store, one: Path) -> None:
    store.publish(one, "digits")
    tensors = store.resolve("digits").files[TENSORS_FILE]
    with pytest.raises(AdapterNotFoundError, match="never held"):
        store.resolve(f"digits@sha256:{tensors.name}")


def test_a_digest_is_found_under_the_names_that_held_it_alone(store: Store, one: Path, two: Path) -> None:
    old = store.publish(one, "digits:old")
    other = store.publish(two, "letters")
    store.remove("digits:old")
    store.publish(two, "digits")
    assert store.pin(f"digits@{old.digest}").digest == old.digest
    with pytest.raises(AdapterNotFoundError, match="letters never held"):
        store.pin(f"letters@{old.digest}")
    assert store.pin(str(other)).digest == other.digest


@pytest.mark.parametrize("name", [CONFIG_FILE, TENSORS_FILE, PROVENANCE_FILE])
def test_a_truncated_blob_is_refused_by_name(store: Store, one: Path, name: str) -> None:
    store.publish(one, "digits")
    path = blob(store, "digits", name)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptAdapterError, match=path.name):
        store.resolve("digits")


@pytest.mark.parametrize("name", [CONFIG_FILE, TENSORS_FILE, PROVENANCE_FILE])
def test_a_blob_with_one_other_bit_is_refused_by_name(store: Store, one: Path, name: str) -> None:
    store.publish(one, "digits")
    path = blob(store, "digits", name)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptAdapterError, match=path.name):
        store.resolve("digits")


def test_a_damaged_ref_is_refused_by_name(store: Store, one: Path) -> None:
    store.publish(one, "digits")
    path = store.root / "refs" / "_" / "digits" / "latest"
    path.chmod(0o644)
    path.write_text("sha256:../../etc/passwd\n")
    with pytest.raises(CorruptAdapterError, match="digits/latest: holds no digest"):
        store.resolve("digits")


def test_publishing_again_mends_a_damaged_blob(store: Store, one: Path) -> None:
    store.publish(one, "digits")
    blob(store, "digits", TENSORS_FILE).write_bytes(b"")
    store.publish(one, "digits")
    assert first_value(store, "digits") == 1.0


def test_a_folder_that_is_no_adapter_is_refused_and_nothing_is_kept(store: Store, one: Path) -> None:
    (one / TENSORS_FILE).write_bytes(b"short")
    with pytest.raises(CorruptAdapterError):
        store.publish(one, "digits")
    assert not store.root.exists()


def test_a_link_out_of_the_folder_is_not_followed(store: Store, one: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the user")
    (one / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidInputError, match=r"README\.md: links to .*secret"):
        store.publish(one, "digits")


def test_a_link_inside_the_folder_is_followed(store: Store, one: Path) -> None:
    (one / "card").write_text("# Digits")
    (one / "README.md").symlink_to("card")
    assert store.resolve(store.publish(one, "digits")).files["README.md"].read_text() == "# Digits"


def test_one_does_not_publish_under_a_digest(store: Store, one: Path) -> None:
    with pytest.raises(RefError, match=r"publish under name\[:tag\]"):
        store.publish(one, f"digits@sha256:{'0' * 64}")


def test_a_tag_that_moved_meanwhile_is_not_overwritten(store: Store, one: Path, two: Path) -> None:
    old = store.publish(one, "digits", expected="")
    new = store.publish(two, "digits", expected=old.digest)
    with pytest.raises(ConflictError, match=new.digest):
        store.publish(one, "digits", expected=old.digest)
    assert store.pin("digits") == new


def test_a_newer_store_is_refused(store: Store, one: Path) -> None:
    store.publish(one, "digits")
    (store.root / "format_version").chmod(0o644)
    (store.root / "format_version").write_text("2\n")
    on_a_tag = (store.resolve, store.history, store.rollback, store.remove, partial(store.publish, one))
    uses = [partial(use, "digits") for use in on_a_tag]
    for use in (*uses, store.list, store.labels, store.gc, store.verify, store.reindex):
        with pytest.raises(ConflictError, match="store format '2'"):
            use()


def test_a_newer_manifest_is_refused() -> None:
    with pytest.raises(UnsupportedAdapterError, match="manifest format 2"):
        Manifest.from_bytes(b'{"format_version": 2, "files": {}}', where="blob")


@pytest.mark.parametrize("content", [b"", b"[]", b"[" * 100_000, b"{}", b'{"format_version": 1}', b"\xff"])
def test_what_is_not_a_manifest_is_refused(content: bytes) -> None:
    with pytest.raises(CorruptAdapterError):
        Manifest.from_bytes(content, where="blob")


def test_a_manifest_names_no_file_but_those_of_an_adapter() -> None:
    entry = {"digest": f"sha256:{'0' * 64}", "size": 0}
    content = json.dumps({"format_version": 1, "files": {"../evil": entry}}).encode()
    with pytest.raises(CorruptAdapterError, match=r"'\.\./evil' is not a file of an adapter"):
        Manifest.from_bytes(content, where="blob")


def test_a_failure_of_any_write_leaves_the_old_adapter_whole(
    one: Path, two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError("power lost")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    values = []
    for failing in range(1, 100):
        store = Store(tmp_path / str(failing))
        store.publish(one, "digits")
        left = failing
        try:
            store.publish(two, "digits")
        except OSError:
            values.append(first_value(store, "digits"))
        else:
            break
        left = 0
    assert len(values) == 9  # two syncs for the tensors, the manifest and the ref, one for what is there or added to
    assert values[:8] == [1.0] * 8


def test_two_processes_publish_at_once(store: Store, one: Path, two: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as processes:
        refs = list(processes.map(store.publish, [one, two] * 8, ["digits"] * 16))
    assert len(set(refs)) == 2
    assert store.pin("digits") in refs
    assert [first_value(store, ref) for ref in refs[:2]] == [1.0, 2.0]
    assert not list(store.root.rglob(".tmp-*"))


def test_of_two_processes_that_expect_the_same_one_wins(store: Store, tmp_path: Path) -> None:
    folders = [save_stub_adapter(tmp_path / str(n), value=n) for n in range(6)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as processes:
        tries = [processes.submit(store.publish, folder, "digits", expected="") for folder in folders]
    errors = [attempt.exception() for attempt in tries]
    assert sum(error is None for error in errors) == 1
    assert sum(isinstance(error, ConflictError) for error in errors) == len(folders) - 1


def test_the_stamp_is_another_one_when_a_tag_moves_and_only_then(store: Store, tmp_path: Path) -> None:
    before = store.stamp()
    changes: tuple[Callable[[], AdapterRef], ...] = (
        lambda: store.publish(save_stub_adapter(tmp_path / "a"), "digits"),
        lambda: store.publish(save_stub_adapter(tmp_path / "b", value=2.0), "digits"),
        lambda: store.tag("digits", "digits:v1"),
        lambda: store.remove("digits:v1"),
    )
    for change in changes:
        change()
        after = store.stamp()
        assert after != before
        store.resolve("digits")
        assert (before := store.stamp()) == after


def test_what_an_adapter_says_of_itself_is_told_without_hashing_its_tensors(store: Store, tmp_path: Path) -> None:
    ref = store.publish(save_stub_adapter(tmp_path / "a"), "digits")
    told = store.describe("digits")
    assert (told.digest, told.provenance) == (ref.digest, store.resolve("digits").provenance)
    tensors = told.files[TENSORS_FILE]
    tensors.chmod(0o644)
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"!")
    assert store.describe("digits").method_name == "lora"
    with pytest.raises(CorruptAdapterError, match="altered"):
        store.resolve("digits")
