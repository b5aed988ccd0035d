"""Which modules of a base an adapter acts on, by PEFT's options with PEFT's meaning.

Source: `check_target_module_exists` and `get_pattern_key` of PEFT 0.21. Names are those of the
unwrapped model. A text is a regular expression that must match a whole name; a list holds whole
names or their ends behind a dot. As with PEFT, entries of a list that match nothing are passed over
as long as another one matches: such lists are written for several families of models.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import TypeVar

from adapterhub.errors import ConfigError
from adapterhub.method import BaseShape, ModuleKind
from adapterhub.pattern import match_pattern

T = TypeVar("T")

Names = str | tuple[str, ...]
"""A regular expression for whole names, or names and their ends."""
ALL_LINEAR = "all-linear"
LINEAR_KINDS: tuple[ModuleKind, ...] = ("linear", "conv1d")


def select_modules(
    wanted: Names,
    shape: BaseShape,
    *,
    field_name: str,
    kinds: Collection[ModuleKind] = LINEAR_KINDS,
    exclude: Names = (),
    saved: tuple[str, ...] = (),
    layers: int | tuple[int, ...] | None = None,
    layers_pattern: Names = (),
) -> list[str]:
    """The modules that `wanted` names, in model order; `"all-linear"` names all but the output head.

    Left out are modules that `exclude` names and those in or under a module that `saved` names
    (PEFT's `modules_to_save`). With `layers`, an end of a name matches in these decoder layers only;
    `layers_pattern` names the list of layers, by default the first one with a number behind it.
    Raises ConfigError when nothing is left, listing what there is, when a module is of none of `kinds`, and
    for a regular expression that takes too long.
    """
    if isinstance(wanted, str) and wanted.lower() == ALL_LINEAR:
        named = list(shape.linears)
    elif isinstance(wanted, str):
        named = [name for name in shape.modules if match_pattern(wanted, name, field_name=field_name, whole=True)]
    else:
        entries = frozenset(wanted)
        named = [name for name in shape.modules if _listed(name, entries, layers, layers_pattern)]
    excluded = exclude if isinstance(exclude, str) else frozenset(exclude)
    found = [name for name in named if not (_is_named(name, excluded) or _is_saved(name, saved))]
    for name in found:
        if (kind := shape.modules[name].kind) not in kinds:
            raise ConfigError(
                f"{field_name}: {name} of {shape.architecture} is of kind {kind} (accepted: {', '.join(kinds)})",
                field=field_name,
            )
    if not found:
        raise _nothing(wanted, shape, field_name, kinds, excluded=bool(named))
    return found


def by_pattern(patterns: Mapping[str, T], module: str, default: T) -> T:
    """The value of the first pattern that matches the end of a module's name (PEFT's `rank_pattern`).

    Raises ConfigError for one that takes too long.
    """
    for pattern, value in patterns.items():
        length = _plain_length(pattern)
        if length and len(module) != length and module[-length - 1 : -length] != ".":
            continue  # most often; matching each of a large model's names against each module takes seconds
        if match_pattern(rf"(.*\.)?({pattern})$", module, field_name="rank_pattern or alpha_pattern"):
            return value
    return patterns.get(module, default)


@lru_cache(maxsize=4096)
def _plain_length(pattern: str) -> int:
    """How many characters the pattern matches, where it has nothing but them and dots; else 0."""
    return len(pattern) if re.fullmatch(r"[\w.\-]+", pattern) else 0


def _listed(name: str, wanted: frozenset[str], layers: int | tuple[int, ...] | None, pattern: Names) -> bool:
    if name in wanted:
        return True
    if not _ends(name, wanted):
        return False
    if layers is None or layers == ():
        return True
    index = _layer_index(name, (pattern,) if isinstance(pattern, str) and pattern else tuple(pattern))
    return index in (layers if isinstance(layers, tuple) else (layers,))


def _layer_index(name: str, patterns: tuple[str, ...]) -> int | None:
    """The number of the decoder layer that a module lies in: the first number behind a name that fits."""
    if not patterns:
        found = re.match(r".*?\.[^.]*\.(?P<index>\d+)\.", name)
        return int(found["index"]) if found else None
    for pattern in patterns:
        if found := match_pattern(rf"(?:^|.*?\.){pattern}\.(?P<index>\d+)\.", name, field_name="layers_pattern"):
            return int(found["index"])
    return None


def _is_named(name: str, wanted: str | frozenset[str]) -> bool:
    if isinstance(wanted, str):
        return bool(wanted) and match_pattern(wanted, name, field_name="exclude_modules", whole=True) is not None
    return name in wanted or _ends(name, wanted)


def _is_saved(name: str, saved: tuple[str, ...]) -> bool:
    return any(match_pattern(rf"(^|.*\.){entry}($|\..*)", name, field_name="modules_to_save") for entry in saved)


def _ends(name: str, wanted: frozenset[str]) -> bool:
    """Whether what follows one of the name's dots is wanted."""
    parts = name.split(".")
    return any(".".join(parts[start:]) in wanted for start in range(1, len(parts)))


def _nothing(
    wanted: Names, shape: BaseShape, field_name: str, kinds: Collection[ModuleKind], *, excluded: bool
) -> ConfigError:
    names = {"conv1d": "linear module", "linear": "linear module"}
    what = " or ".join(dict.fromkeys(names.get(kind, kind) for kind in kinds))
    leaves = sorted({name.rsplit(".", 1)[-1] for name, module in shape.modules.items() if module.kind in kinds})
    shown = repr(wanted) if isinstance(wanted, str) else ", ".join(map(repr, wanted)) or "an empty list"
    left = " that is not excluded" if excluded else ""
    return ConfigError(
        f"{field_name}: {shown} matches no {what}{left} of {shape.architecture}; there are: {', '.join(leaves)}",
        field=field_name,
    )
