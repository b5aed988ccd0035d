"""Ways to spoil an adapter's folder: its bytes, its JSON, what its files are. Each is drawn by hypothesis."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
Mutation = Callable[[Draw, Path], None]
"""Spoils the file at the path."""

REGEXES = [
    "(a+)+$",
    "(.*)*x",
    r"(.|.)*\d{9}",
    "(" * 500,
    "[",
    "(?P<n>a)(?P=n)*",
    "a{99999}",
    "(?=(.*){30})",
    r"\Z" * 900,
]
TEXTS = [
    "",
    "a",
    "\0",
    "\ud800",
    "\x1b[2J",
    "../../etc/passwd",
    "/dev/zero",
    "C:\\up",
    "é" * 99,
    "x" * 70_000,
    *REGEXES,
]
NUMBERS = [0, -1, 1, 3, 4096, 4097, 2**31, 2**63, 2**64, 10**18, 10**400, -(10**9), 0.0, -0.5, 1e-320, 1e308]
TYPES = ["LORA", "IA3", "VERA", "BOFT", "FOURIERFT", "RANDLORA", "VBLORA", "SHIRA", "CARTRIDGE", "CPT", "LOKR", "OFT"]
OPTIONS = [
    "alora_invocation_tokens",
    "alpha",
    "alpha_pattern",
    "base_model_name_or_path",
    "bias",
    "block_share",
    "config",
    "exclude_modules",
    "fan_in_fan_out",
    "format_version",
    "init_lora_weights",
    "init_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "modules_to_save",
    "n_frequency",
    "name",
    "num_virtual_tokens",
    "peft_type",
    "r",
    "rank_pattern",
    "reduction_factor",
    "scaling",
    "target_modules",
    "task_type",
    "token_indices",
    "use_dora",
    "version",
]
RAW = [
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 5000,
    b"0." + b"1" * 5000,
    b"[" * 3000 + b"]" * 3000,
    b'{"a":1,"a":2}',
    b"tru",
]
"""What no value of Python's is written as."""


def nested(depth: int) -> Any:
    value: Any = []
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


SCALARS = st.one_of(st.none(), st.booleans(), st.sampled_from(NUMBERS), st.sampled_from(TEXTS), st.sampled_from(TYPES))
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=4),
    st.dictionaries(st.sampled_from(TEXTS), SCALARS, max_size=3),
    st.sampled_from([30, 200, 900]).map(nested),
    st.sampled_from([["q_proj"] * 9000, [f"m{n}" for n in range(50_000)], list(range(50_000))]),
    st.sampled_from([{f"m{n}": 4 for n in range(2000)}, {f"(a|b.*)*{n}": 4 for n in range(2000)}]),
)


def flip(draw: Draw, path: Path) -> None:
    content = bytearray(path.read_bytes())
    for at in draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
        content[at] ^= 1 << draw(st.integers(0, 7))
    path.write_bytes(content)


def cut(draw: Draw, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: draw(st.integers(0, len(content)))])


def splice(draw: Draw, path: Path) -> None:
    """A part of the file, or of anything, in another place of it."""
    content = path.read_bytes()
    start, end, at = (draw(st.integers(0, len(content))) for _ in range(3))
    piece = draw(st.one_of(st.just(content[start:end]), st.binary(max_size=99)))
    path.write_bytes(content[:at] + piece + content[draw(st.sampled_from([at, min(len(content), at + len(piece))])) :])


def lengthen(draw: Draw, path: Path) -> None:
    os.truncate(path, draw(st.sampled_from([1 << 20, 1 << 26, 1 << 36])))  # sparse


def header_length(draw: Draw, path: Path) -> None:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little") + draw(st.integers(-9, 9))
    length = draw(st.sampled_from([length, 0, 2, 1 << 20, (1 << 20) + 1, 1 << 63, len(content) - 8]))
    path.write_bytes((length % (1 << 64)).to_bytes(8, "little") + content[8:])


def header(draw: Draw, path: Path) -> None:
    """The header edited, its length right."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    raw = edited(draw, content[8:end], [1 << 48, "F8_E4M3", "F64", "I64", [1 << 40, 0], [0], [10**9, 10**9], "../up"])
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + content[end:])


def options(draw: Draw, path: Path) -> None:
    path.write_bytes(edited(draw, path.read_bytes() if path.exists() else b"{}", []))


def edited(draw: Draw, raw: bytes, more: list[Any]) -> bytes:
    """JSON with some of its values set, dropped, doubled or written as no JSON is."""
    tree = json.loads(raw)
    places = [tree, *(value for value in tree.values() if isinstance(value, dict))]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.sampled_from(places))
        key = draw(st.sampled_from([*at, *at, *OPTIONS, *TEXTS]))
        if key in at and draw(st.integers(0, 9)) == 0:
            del at[key]
        else:
            at[key] = draw(st.one_of(VALUES, st.sampled_from(more)) if more else VALUES)
    written = json.dumps(tree).encode()
    if draw(st.integers(0, 4)) == 0:
        value = draw(st.sampled_from(RAW))
        written = written[:-1] + b', "%b": %b}' % (draw(st.sampled_from(OPTIONS)).encode(), value)
    return written


def link(draw: Draw, path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(draw(st.sampled_from(["/dev/zero", "/etc/passwd", path.name, "nowhere", "."])))


def pipe(draw: Draw, path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def directory(draw: Draw, path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def missing(draw: Draw, path: Path) -> None:
    path.unlink(missing_ok=True)


OF_BYTES: list[Mutation] = [flip, cut, splice, lengthen]
OF_PLACE: list[Mutation] = [link, pipe, directory]
