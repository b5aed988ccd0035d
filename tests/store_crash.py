"""Kills processes that change a store, for test_store_crash.py: at every point where they touch it, and at random.

A process of its own, so that it can fork cheaply: `python store_crash.py points WORK VERB` or
`python store_crash.py random WORK KILLS SEED`. Raises AssertionError for a store that is not as it must be.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from adapterhub.errors import AdapterNotFoundError
from adapterhub.store import RefMove, Store
from adapterhub.store.history import FOUND

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.utime", "fcntl.flock")
TAG = "digits"

Change = Callable[[Store, list[Path]], object]

VERBS: dict[str, Change] = {
    "publish": lambda store, folders: store.publish(folders[2], TAG),
    "publish again": lambda store, folders: store.publish(folders[1], TAG),
    "first publish": lambda store, folders: store.publish(folders[2], "new/name"),
    "tag": lambda store, folders: store.tag(TAG, "copy"),
    "rollback": lambda store, folders: store.rollback(TAG),
    "rm": lambda store, folders: store.remove(TAG),
    "gc": lambda store, folders: store.gc(grace=0, keep_history=0),
    "ls": lambda store, folders: store.list(),
}


def fork(run: Callable[[], object]) -> int:
    """A process that runs and ends, without anything of this one's."""
    if child := os.fork():
        return child
    try:
        run()
        os._exit(0)
    finally:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def at_every_point(root: Path, reached: Callable[[str], None]) -> None:
    """Calls `reached` with a name before each thing this process does to the store."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS and (name := _name(root, event, arguments)):
            reached(name)

    real = os.fsync

    def fsync(fd: Any) -> None:
        reached(f"fsync {_plain(root, Path(f'/proc/self/fd/{fd}').readlink())}")
        real(fd)

    os.fsync = fsync
    sys.addaudithook(hook)


def _name(root: Path, event: str, arguments: tuple[Any, ...]) -> str:
    if event == "fcntl.flock":
        return "flock"
    place = str(arguments[1] if event == "os.rename" else arguments[0])
    reads = event == "open" and isinstance(arguments[2], int) and not arguments[2] & (os.O_WRONLY | os.O_RDWR)
    return "" if reads or not place.startswith(str(root)) else f"{event} {_plain(root, place)}"


def _plain(root: Path, place: Path | str) -> str:
    """A path of the store without what is another one in every run."""
    return re.sub(r"\.tmp-\w+", ".tmp", re.sub("[0-9a-f]{64}", "<hex>", str(Path(place).relative_to(root))))


def points(work: Path, verb: str) -> list[str]:
    """Runs a verb once for every point it reaches, killed there; the points' names."""
    folders = sorted((work / "adapters").iterdir())
    start = Store(work / "start")
    acknowledged = [start.publish(folder, TAG).digest for folder in folders[:2]]
    names = _names(work, verb, folders)
    for index, name in enumerate(names):
        store = Store(work / "store")
        shutil.rmtree(store.root, ignore_errors=True)
        shutil.copytree(start.root, store.root)
        child = fork(partial(_run, store, verb, folders, index))
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, (verb, name, "not reached again")
        check(store, f"{verb}, killed before {name}")
        unacknowledged = "" if verb == "rm" else store.publish(folders[2], "other").digest
        assert _held(store, TAG) in (*acknowledged, unacknowledged), (verb, name)
        VERBS["publish"](store, folders)
        VERBS[verb](store, folders)
        check(store, f"{verb} after {name}")
    return names


def _names(work: Path, verb: str, folders: list[Path]) -> list[str]:
    """The points of a verb that nobody kills."""
    store, told = Store(work / "told"), work / "names"
    shutil.copytree(work / "start", store.root)

    def tell() -> None:
        with told.open("w") as file:
            at_every_point(store.root, lambda name: print(name, file=file))
            VERBS[verb](store, folders)

    os.waitpid(fork(tell), 0)
    return told.read_text().splitlines()


def _run(store: Store, verb: str, folders: list[Path], at: int) -> None:
    """The verb, killed at the point of that number."""
    left = at

    def reached(name: str) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    at_every_point(store.root, reached)
    VERBS[verb](store, folders)


def check(store: Store, when: str) -> None:
    """Nothing is damaged, every tag's adapter is whole, and its log leads to it."""
    damaged = store.verify().damaged
    assert damaged == (), (when, damaged)
    for stored in store.list():
        assert stored.error == "", (when, stored.error)
        store.resolve(stored.ref)
        moves = _moves(store, stored.ref.label)
        assert moves[-1].digest == stored.ref.digest, (when, moves)
        assert all(move.action != FOUND for move in moves), (when, moves)


def random_kills(work: Path, kills: int, seed: int) -> int:
    """Two processes that change a store in every way, killed after a random time, again and again.

    Returns how many changes of their own tags were acknowledged.
    """
    draw = random.Random(seed)
    store = Store(work / "store")
    folders = sorted((work / "adapters").iterdir())
    known = {Store(work / "reference").publish(folder, TAG).digest: folder for folder in folders}
    held: list[dict[str, str]] = [{}, {}]
    acknowledged = 0
    for kill in range(kills):
        for path in work.glob("told-*"):
            path.unlink()
        children = [fork(partial(_change, store, known, work / f"told-{own}", own, draw.random())) for own in (0, 1)]
        time.sleep(draw.uniform(0.02, 0.2))
        for child in children:
            os.kill(child, signal.SIGKILL)
        ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert ended == [-signal.SIGKILL] * 2, (kill, ended)
        check(store, f"kill {kill}")
        for own in (0, 1):
            acknowledged += sum(done for *_, done in _told(work / f"told-{own}"))
            held[own] = _compare(store, held[own], work / f"told-{own}", f"kill {kill}, process {own}")
    return acknowledged


def _change(store: Store, folders: dict[str, Path], told: Path, own: int, seed: float) -> None:
    """Changes its own tags and one that both change; tells what it is about to do to its own, and what is done."""
    draw = random.Random(seed)
    file = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def tell(tag: str, to: str, *, done: bool) -> None:
        os.write(file, f"{json.dumps([tag, to, done])}\n".encode())

    while True:
        tag = draw.choice([f"own{own}/a", f"own{own}/b"])
        match draw.choice(["publish", "publish", "publish shared", "tag", "rollback", "rm", "gc", "ls"]):
            case "publish":
                digest, folder = draw.choice(list(folders.items()))
                tell(tag, digest, done=False)
                store.publish(folder, tag)
                tell(tag, digest, done=True)
            case "publish shared":
                store.publish(draw.choice(list(folders.values())), "shared")
            case "tag" if held := _held(store, f"own{own}/a"):
                tell(f"own{own}/b", held, done=False)
                store.tag(f"own{own}/a", f"own{own}/b")
                tell(f"own{own}/b", held, done=True)
            case "rollback" if moves := _moves(store, tag):
                tell(tag, moves[-1].previous, done=False)
                try:
                    store.rollback(tag)
                except AdapterNotFoundError:  # it held nothing before, or the sweep took that
                    tell(tag, moves[-1].digest, done=True)
                else:
                    tell(tag, moves[-1].previous, done=True)
            case "rm" if _held(store, tag):
                tell(tag, "", done=False)
                store.remove(tag)
                tell(tag, "", done=True)
            case "gc":
                store.gc(grace=0, keep_history=0)
            case "ls":
                store.list()


def _moves(store: Store, tag: str) -> list[RefMove]:
    return [move for move in store.history(tag) if not move.is_note]


def _held(store: Store, tag: str) -> str:
    return next((store.pin(ref).digest for ref in store.labels() if ref.name == tag), "")


def _compare(store: Store, held: dict[str, str], told: Path, when: str) -> dict[str, str]:
    """What a process's own tags hold: what it was told when it was done, or was about to hold when it was killed."""
    last = dict(held)
    begun: dict[str, str] = {}
    for tag, to, done in _told(told):
        if done:
            last[tag] = to
            begun.pop(tag, None)
        else:
            begun[tag] = to
    found = {tag: _held(store, tag) for tag in last | begun}
    for tag, digest in found.items():
        assert digest in (last.get(tag, ""), begun.get(tag, last.get(tag, ""))), (when, tag, digest, last, begun)
    return found


def _told(path: Path) -> list[tuple[str, str, bool]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    kind, work, *words = sys.argv[1:]
    if kind == "points":
        print("\n".join(points(Path(work), words[0])))
    else:
        print(random_kills(Path(work), int(words[0]), int(words[1])))
