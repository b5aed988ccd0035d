"""Tags that move back, are copied and removed; what a sweep takes and leaves; what a verification finds."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import save_stub_adapter

from adapterhub.adapter import CONFIG_FILE, TENSORS_FILE
from adapterhub.errors import AdapterNotFoundError, ConflictError, CorruptAdapterError, RefError
from adapterhub.store import AdapterRef, Store, Swept

DAY = 86400.0


@pytest.fixture
def store() -> Store:
    return Store.default()


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Three adapters, of one config and different tensors."""
    return [save_stub_adapter(tmp_path / str(n), value=n) for n in range(3)]


@pytest.fixture
def versions(store: Store, folders: list[Path]) -> list[AdapterRef]:
    """What `digits` held, oldest first."""
    return [store.publish(folder, "digits") for folder in folders]


def blobs(store: Store) -> set[str]:
    return {path.name for path in (store.root / "blobs" / "sha256").iterdir()}


def age(store: Store, seconds: float) -> None:
    """As if nothing had happened for so long: files and lines of logs are older."""
    for path in store.root.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - seconds,) * 2)
    for log in (path for path in (store.root / "log").rglob("*") if path.is_file()):
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        for line in lines:
            line["at"] = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
        log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_a_rollback_goes_back_one_move_and_a_second_takes_it_back(store: Store, versions: list[AdapterRef]) -> None:
    assert store.rollback("digits") == versions[1]
    assert store.pin("digits") == versions[1]
    assert store.rollback("digits") == versions[2]
    assert [move.action for move in store.history("digits")[-2:]] == ["rollback", "rollback"]


def test_a_rollback_goes_to_any_digest_the_tag_held(store: Store, versions: list[AdapterRef]) -> None:
    assert store.rollback("digits", versions[0].digest) == versions[0]
    assert store.rollback("digits", versions[1].digest.removeprefix("sha256:")[:12]) == versions[1]


def test_a_rollback_to_what_the_tag_never_held_is_refused(
    store: Store, versions: list[AdapterRef], tmp_path: Path
) -> None:
    other = store.publish(save_stub_adapter(tmp_path / "other", value=9), "other")
    for digest in (other.digest, "sha256:ffff", "nothing"):
        with pytest.raises(AdapterNotFoundError, match=f"it held .*{versions[0].digest}"):
            store.rollback("digits", digest)
    with pytest.raises(AdapterNotFoundError, match="held several digests"):
        store.rollback("digits", "sha256:")


def test_a_first_version_has_nothing_to_go_back_to(store: Store, folders: list[Path]) -> None:
    store.publish(folders[0], "digits")
    for ref in ("digits", "unknown"):
        with pytest.raises(AdapterNotFoundError, match="held nothing before"):
            store.rollback(ref)


def test_a_push_is_no_move_to_go_back_from(store: Store, versions: list[AdapterRef]) -> None:
    store.note("digits", action="push", source="hf:org/digits:main", commit="0" * 40)
    assert store.rollback("digits") == versions[1]


def test_a_removed_tag_is_gone_and_comes_back(store: Store, versions: list[AdapterRef]) -> None:
    assert store.remove("digits") == versions[2]
    assert store.list() == ()
    assert store.history("digits")[-1].action == "rm"
    with pytest.raises(AdapterNotFoundError):
        store.pin("digits")
    assert store.rollback("digits") == versions[2]


def test_a_pinned_tag_that_moved_meanwhile_stays(store: Store, versions: list[AdapterRef]) -> None:
    with pytest.raises(ConflictError, match="moved meanwhile"):
        store.remove(versions[0])
    with pytest.raises(ConflictError, match="moved meanwhile"):
        store.rollback(versions[0])
    with pytest.raises(ConflictError, match="moved meanwhile"):
        store.tag("digits", "digits", expected=versions[0].digest)
    assert store.pin("digits") == versions[2]


def test_what_is_not_there_is_not_removed(store: Store, versions: list[AdapterRef]) -> None:
    with pytest.raises(AdapterNotFoundError, match="did you mean 'digits'"):
        store.remove("digit")
    with pytest.raises(AdapterNotFoundError, match="known: latest"):
        store.remove("digits:v1")


def test_a_damaged_tag_can_be_removed(store: Store, versions: list[AdapterRef]) -> None:
    path = store.root / "refs" / "_" / "digits" / "latest"
    path.chmod(0o644)
    path.write_text("nonsense")
    assert store.remove("digits") == versions[2]  # as its log says
    assert list(store.labels()) == []


def test_a_tag_is_another_name_for_the_same_content(store: Store, versions: list[AdapterRef]) -> None:
    tagged = store.tag(versions[0], "team/digits:production")
    assert (tagged.label, tagged.digest) == ("team/digits:production", versions[0].digest)
    (move,) = store.history("team/digits:production")
    assert (move.action, move.source) == ("tag", "digits:latest")
    with pytest.raises(RefError, match="publish under name"):
        store.tag("digits", f"other@{versions[0].digest}")


def test_one_does_not_tag_what_is_no_longer_whole(store: Store, versions: list[AdapterRef]) -> None:
    store.resolve("digits").files[TENSORS_FILE].unlink()
    with pytest.raises(CorruptAdapterError, match="missing"):
        store.tag("digits", "other")
    assert [ref.name for ref in store.labels()] == ["digits"]


def test_a_sweep_leaves_what_tags_hold_and_held_lately(store: Store, versions: list[AdapterRef]) -> None:
    before = blobs(store)
    age(store, 2 * DAY)
    assert store.gc(keep_history=3 * DAY) == Swept(kept=len(before))
    assert blobs(store) == before
    assert store.rollback("digits", versions[0].digest) == versions[0]


def test_a_sweep_takes_what_no_tag_held_lately(store: Store, versions: list[AdapterRef]) -> None:
    size = sum(store.resolve(ref).files[TENSORS_FILE].stat().st_size for ref in versions[:2])
    age(store, 2 * DAY)
    swept = store.gc(keep_history=DAY)
    assert swept.blobs == 4  # tensors and manifests of two; the config is in use
    assert swept.nbytes > size
    assert swept.kept == len(blobs(store)) == 4
    assert store.resolve("digits").digest == versions[2].digest
    with pytest.raises(AdapterNotFoundError, match="is gone"):
        store.rollback("digits")


def test_one_does_not_go_back_to_what_a_sweep_had_begun_to_take(store: Store, versions: list[AdapterRef]) -> None:
    store.resolve(versions[1]).files[TENSORS_FILE].unlink()
    with pytest.raises(AdapterNotFoundError, match="is gone"):
        store.rollback("digits")


def test_what_a_tag_left_lately_stays_however_long_it_was_there(store: Store, folders: list[Path]) -> None:
    old = store.publish(folders[0], "digits")
    age(store, 365 * DAY)
    store.publish(folders[1], "digits")
    assert store.gc(keep_history=DAY).blobs == 0
    assert store.rollback("digits") == old


def test_a_removed_adapter_is_swept_when_its_time_is_over(store: Store, folders: list[Path]) -> None:
    store.publish(folders[0], "digits")
    store.remove("digits")
    age(store, 2 * DAY)
    assert store.gc(keep_history=DAY).kept == 0
    assert blobs(store) == set()


def test_a_dry_run_tells_the_same_and_takes_nothing(store: Store, versions: list[AdapterRef]) -> None:
    (store.root / "refs" / ".tmp-old").write_bytes(b"x")
    age(store, 2 * DAY)
    before = blobs(store)
    told = store.gc(keep_history=0, dry_run=True)
    assert blobs(store) == before
    assert told == store.gc(keep_history=0)
    assert told.blobs == 4
    assert told.temporary == 1


def test_a_sweep_takes_no_file_that_is_younger_than_its_grace(store: Store, versions: list[AdapterRef]) -> None:
    before = blobs(store)
    assert store.gc(keep_history=0).blobs == 0
    assert blobs(store) == before
    assert store.gc(keep_history=0, grace=0).blobs == 4


def test_a_file_that_is_used_again_is_young_again(
    store: Store, versions: list[AdapterRef], folders: list[Path]
) -> None:
    age(store, 2 * DAY)
    store.publish(folders[0], "other")
    store.remove("other")
    assert store.gc(keep_history=0).blobs == 2  # the second one's, though nobody holds the first either


def test_unfinished_files_stay_as_long_as_one_may_be_written(store: Store, versions: list[AdapterRef]) -> None:
    young, old = (store.root / "blobs" / "sha256" / f".tmp-{name}" for name in ("young", "old"))
    for path in (young, old):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - DAY,) * 2)
    assert store.gc(grace=0).temporary == 1
    assert young.exists()
    assert not old.exists()


def test_nothing_is_swept_while_a_tag_cannot_be_read(store: Store, versions: list[AdapterRef]) -> None:
    path = store.root / "blobs" / "sha256" / versions[2].digest.removeprefix("sha256:")
    path.unlink()
    before = blobs(store)
    with pytest.raises(CorruptAdapterError, match=r"digits:latest: .*missing; publish it again, or remove the tag"):
        store.gc(grace=0, keep_history=0)
    assert blobs(store) == before


def test_a_sound_store_is_verified(store: Store, versions: list[AdapterRef]) -> None:
    verified = store.verify()
    assert verified.damaged == ()
    assert verified.blobs == len(blobs(store))
    assert not (store.root / "quarantine").exists()


def test_a_damaged_blob_is_put_aside_naming_its_tags_and_mended_by_publishing(
    store: Store, versions: list[AdapterRef], folders: list[Path]
) -> None:
    store.tag("digits", "team/digits:copy")
    path = store.resolve("digits").files[TENSORS_FILE]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    (damage,) = store.verify().damaged
    assert damage.what == f"sha256:{path.name}"
    assert damage.refs == ("digits:latest", "team/digits:copy")
    assert "altered" in damage.problem
    assert damage.quarantined == str(store.root / "quarantine" / path.name)
    assert json.loads(Path(f"{damage.quarantined}.json").read_text())["refs"] == list(damage.refs)
    assert [missing.problem for missing in store.verify().damaged] == [f"{path}: missing"]
    store.publish(folders[2], "digits")
    assert store.verify().damaged == ()
    assert store.resolve("team/digits:copy").digest == versions[2].digest


def test_a_damaged_manifest_is_put_aside(store: Store, versions: list[AdapterRef]) -> None:
    path = store.root / "blobs" / "sha256" / versions[2].digest.removeprefix("sha256:")
    path.chmod(0o644)
    path.write_bytes(b"{}")
    (damage,) = store.verify().damaged
    assert (damage.what, damage.refs) == (versions[2].digest, ("digits:latest",))


def test_a_damaged_ref_and_log_are_found_and_left(store: Store, versions: list[AdapterRef]) -> None:
    store.tag("digits", "other")
    for path, content in ((store.root / "refs/_/digits/latest", "x"), (store.root / "log/_/other/latest", "x\nx\n")):
        path.chmod(0o644)
        path.write_text(content)
    ref, log = store.verify().damaged
    assert (ref.what, log.what) == ("digits:latest", "other:latest")
    assert "holds no digest" in ref.problem
    assert "line 1 is not a move" in log.problem
    assert ref.quarantined == log.quarantined == ""


def test_a_tag_that_holds_no_manifest_is_found(store: Store, versions: list[AdapterRef]) -> None:
    tensors = store.resolve("digits").files[TENSORS_FILE].name
    path = store.root / "refs/_/digits/latest"
    path.chmod(0o644)
    path.write_text(f"sha256:{tensors}\n")
    (damage,) = store.verify().damaged
    assert damage.what == "digits:latest"
    assert "not the manifest" in damage.problem


def replace_by_link(path: Path, tmp_path: Path) -> None:
    """A link to where the same content is."""
    moved = path.rename(tmp_path / "moved")
    path.symlink_to(moved, target_is_directory=moved.is_dir())


@pytest.mark.parametrize("inside", ["refs", "refs/_", "refs/_/digits", "refs/_/digits/latest", "blobs", "blobs/sha256"])
def test_a_link_in_the_place_of_a_ref_or_folder_is_refused(
    store: Store, versions: list[AdapterRef], folders: list[Path], tmp_path: Path, inside: str
) -> None:
    replace_by_link(store.root / inside, tmp_path)
    for use in (lambda: store.resolve("digits"), lambda: store.gc(grace=0)):
        with pytest.raises(CorruptAdapterError, match=r"a store holds no links"):
            use()


def test_a_link_in_the_place_of_a_blob_is_refused_put_aside_and_mended(
    store: Store, versions: list[AdapterRef], folders: list[Path], tmp_path: Path
) -> None:
    path = store.resolve("digits").files[CONFIG_FILE]
    replace_by_link(path, tmp_path)
    with pytest.raises(CorruptAdapterError, match=f"{path.name}: not a plain file"):
        store.resolve("digits")
    assert "not a plain file" in store.list()[0].error
    (damage,) = store.verify().damaged
    assert Path(damage.quarantined).is_symlink()
    store.publish(folders[2], "digits")
    assert store.verify().damaged == ()


def test_a_log_that_is_a_link_is_not_written_to(store: Store, folders: list[Path], tmp_path: Path) -> None:
    (store.root / "log" / "_" / "digits").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    (store.root / "log" / "_" / "digits" / "latest").symlink_to(tmp_path / "file")
    with pytest.raises(CorruptAdapterError, match="not a plain file"):
        store.publish(folders[0], "digits")
    assert (tmp_path / "file").read_text() == ""


def test_names_with_and_without_a_namespace_do_not_meet(store: Store, folders: list[Path]) -> None:
    for index, name in enumerate(["a", "a/b", "b:a"]):
        store.publish(folders[index], name)
    assert [len(store.history(name)) for name in ("a", "a/b", "b:a")] == [1, 1, 1]
    assert len({stored.ref.digest for stored in store.list()}) == 3
