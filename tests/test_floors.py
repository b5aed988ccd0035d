"""Imports only go down: the floors of docs/structure.md, held against every import statement."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent

CONTRACT = (
    "op",
    "training_defaults",
    "preset",
    "unserved",
    "adopted",
    "pattern",
    "base_name",
    "base_shape",
    "plan",
    "method_training",
    "method",
    "select",
    "target_config",
    "prompt_format",
    "json_object",
    "safetensors_header",
    "safetensors_values",
    "evaluation_record",
    "adapter",
    "prompt_signature",
    "prompt_router",
    "records",
    "data_format",
    "chat_rows",
    "encoder",
    "objective",
    "metric",
    "hookspecs",
)
"""The single modules of floor 1, in the order they may import each other."""

FLOORS: list[set[str]] = [
    {"errors", "quiet", "config", "settings", "pb", "tasks", "general_text", "new_folder", "giving_way"},
    set(CONTRACT),
    {"plugins", "store", "scaffold", "ops", "structure", "tool_calls"},
    {"base", "data"},
    {"peft"},
    {"train", "engine", "client", "imports", "merging", "compare"},
    {"estimate", "evaluate", "testing", "doctor", "hub", "report", "sweep", "asking"},
    {"demo", "batch", "chat"},
    {"cli"},
    {"server"},
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
ORDERED_WITHIN = {"errors": 0, "config": 1, "settings": 2, "tasks": 3, "new_folder": 4} | {
    name: rank for rank, name in enumerate(CONTRACT)
}
"""Single modules of one floor, in the order they may import each other."""
WITHOUT_TORCH = {
    "errors",
    "quiet",
    "config",
    "settings",
    "pb",
    "tasks",
    "general_text",
    "new_folder",
    "store",
    "client",
    "chat",
    "cli",
    "hookspecs",
    "scaffold",
    "structure",
    "tool_calls",
}
PUBLIC = {
    "adapterhub",
    "adapterhub.data_format",
    "adapterhub.method",
    "adapterhub.method_training",
    "adapterhub.metric",
    "adapterhub.objective",
    "adapterhub.records",
}
"""What a plugin may import."""


def _files(root: Path) -> Iterator[Path]:
    return (path for path in sorted(root.rglob("*.py")) if "pb" not in path.parts)


def _imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (
                f"{node.module}.{alias.name}" if node.module == "adapterhub" else str(node.module)
                for alias in node.names
            )
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _room(module: str) -> str | None:
    """`adapterhub.engine.kv_cache` -> `engine`; None for another project's."""
    first, *rest = module.split(".")
    if first == "adapterhub_server":
        return "server"
    return rest[0] if first == "adapterhub" and rest else None


def test_every_import_goes_down() -> None:
    wrong = []
    for path in [*_files(ROOT / "adapterhub"), *_files(ROOT / "server")]:
        relative = path.relative_to(ROOT)
        own = "server" if relative.parts[0] == "server" else Path(relative.parts[1]).stem
        if own in ("__init__", "__main__"):
            continue
        for module in _imports(path):
            other = _room(module)
            if other is None or other not in LEVEL or other == own:
                continue
            same_floor = LEVEL[other] == LEVEL[own] and ORDERED_WITHIN.get(other, 9) < ORDERED_WITHIN.get(own, -1)
            if LEVEL[other] >= LEVEL[own] and not same_floor:
                wrong.append(f"{relative} imports {module}")
    assert wrong == []


def test_every_package_has_a_floor() -> None:
    found = {
        path.stem
        for path in (ROOT / "adapterhub").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert found - {"__init__", "__main__"} == set(LEVEL) - {"server"}


def test_plugins_import_public_names_only() -> None:
    for path in _files(ROOT / "plugins"):
        own = path.relative_to(ROOT / "plugins").parts[0]
        ours = {module for module in _imports(path) if module.startswith("adapterhub") and _top(module) != own}
        assert {".".join(module.split(".")[:2]) for module in ours if module not in PUBLIC} <= {
            f"adapterhub.{name}" for name in _public_names()
        }, path


def test_light_floors_import_torch_only_inside_functions() -> None:
    for path in _files(ROOT / "adapterhub"):
        room = Path(path.relative_to(ROOT).parts[1]).stem
        if room in WITHOUT_TORCH:
            heavy = {"torch", "transformers", "peft"} & {_top(name) for name in _imports(path, top_level_only=True)}
            assert not heavy, f"{path} imports {heavy}"


def _top(module: str) -> str:
    return module.split(".")[0]


def _public_names() -> set[str]:
    import adapterhub

    return set(adapterhub.__all__)
