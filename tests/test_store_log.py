"""The log of a tag: what it tells, and what a crash may leave in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import save_stub_adapter

from adapterhub.errors import AdapterNotFoundError, CorruptAdapterError, RefError
from adapterhub.store import AdapterRef, RefMove, Store

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def store() -> Store:
    return Store.default()


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return save_stub_adapter(tmp_path / "one", value=1.0)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return save_stub_adapter(tmp_path / "two", value=2.0)


def log_of(store: Store) -> Path:
    """The log of `digits:latest`."""
    return store.root / "log" / "_" / "digits" / "latest"


def moves(store: Store) -> list[tuple[str, str]]:
    return [(move.action, move.digest) for move in store.history("digits")]


def test_every_move_is_in_the_log_newest_last(store: Store, one: Path, two: Path) -> None:
    old = store.publish(one, "digits")
    new = store.publish(two, "digits", action="pull", source="hf:org/digits:main", commit=COMMIT)
    first, second = store.history("digits")
    assert (first.action, first.digest, first.previous) == ("publish", old.digest, "")
    assert (second.digest, second.previous) == (new.digest, old.digest)
    assert (second.action, second.source, second.commit) == ("pull", "hf:org/digits:main", COMMIT)
    assert first.at <= second.at


def test_a_push_is_noted_and_moves_nothing(store: Store, one: Path, two: Path) -> None:
    old = store.publish(one, "digits")
    new = store.publish(two, "digits")
    store.note(old, action="push", source="hf:org/digits:main", commit=COMMIT)
    *_, note = store.history("digits")
    assert (note.action, note.digest, note.previous, note.commit) == ("push", old.digest, old.digest, COMMIT)
    assert store.pin("digits") == new
    store.publish(one, "digits")
    assert [action for action, _ in moves(store)] == ["publish", "publish", "push", "publish"]


def test_what_is_not_there_has_no_history_and_takes_no_note(store: Store) -> None:
    assert store.history("digits") == ()
    with pytest.raises(AdapterNotFoundError):
        store.note("digits", action="push", source="", commit="")


def test_publishing_the_same_again_adds_no_line(store: Store, one: Path) -> None:
    for _ in range(3):
        store.publish(one, "digits")
    assert len(moves(store)) == 1


@pytest.mark.parametrize("tail", [b"{", b'{"at": "2026', b"\0\0\0\n", b"\xff"])
def test_a_torn_last_line_is_no_move_and_goes_with_the_next(store: Store, one: Path, two: Path, tail: bytes) -> None:
    old = store.publish(one, "digits")
    log_of(store).write_bytes(log_of(store).read_bytes() + tail)
    assert moves(store) == [("publish", old.digest)]
    new = store.publish(two, "digits")
    assert moves(store) == [("publish", old.digest), ("publish", new.digest)]
    assert log_of(store).read_bytes().count(b"\n") == 2


def test_a_line_whose_move_did_not_happen_is_left_out_and_goes_with_the_next(
    store: Store, one: Path, two: Path
) -> None:
    old = store.publish(one, "digits")
    lost = RefMove(at="2026-01-01T00:00:00Z", digest=f"sha256:{'1' * 64}", previous=old.digest, action="publish")
    with log_of(store).open("a") as log:
        log.write(f"{lost.model_dump_json()}\n")
    assert moves(store) == [("publish", old.digest)]
    new = store.publish(two, "digits")
    assert moves(store) == [("publish", old.digest), ("publish", new.digest)]
    assert "1111" not in log_of(store).read_text()


def test_a_tag_that_moved_without_a_log_is_found(store: Store, one: Path, two: Path) -> None:
    old, new = store.publish(one, "digits"), store.publish(two, "digits")
    log_of(store).unlink()
    assert moves(store) == [("found", new.digest)]
    store.publish(one, "digits")
    assert moves(store) == [("found", new.digest), ("publish", old.digest)]


def test_a_damaged_ref_is_mended_by_publishing_and_keeps_its_history(store: Store, one: Path, two: Path) -> None:
    old = store.publish(one, "digits")
    path = store.root / "refs" / "_" / "digits" / "latest"
    path.chmod(0o644)
    path.write_text("")
    with pytest.raises(CorruptAdapterError, match="holds no digest"):
        store.history("digits")
    new = store.publish(two, "digits")
    assert moves(store) == [("publish", old.digest), ("publish", new.digest)]


def test_a_damaged_line_is_refused_by_number(store: Store, one: Path, two: Path) -> None:
    store.publish(one, "digits")
    store.publish(two, "digits")
    first, second, _ = log_of(store).read_bytes().split(b"\n")
    log_of(store).write_bytes(first[:-1] + b"\n" + second + b"\n")
    with pytest.raises(CorruptAdapterError, match=r"latest: line 1 is not a move"):
        store.history("digits")


def test_labels_are_names_and_tags_alone(store: Store, one: Path) -> None:
    store.publish(one, "digits:v1")
    store.publish(one, "team/digits")
    assert list(store.labels()) == [AdapterRef("digits", "v1"), AdapterRef("team/digits")]


def test_a_ref_to_the_hub_is_not_looked_for_in_the_store(store: Store, one: Path) -> None:
    for use in (store.pin, store.resolve, store.history, lambda ref: store.publish(one, ref)):
        with pytest.raises(RefError, match="`adapterhub pull hf:org/digits:main` first"):
            use("hf:org/digits")
    assert not store.root.exists()
