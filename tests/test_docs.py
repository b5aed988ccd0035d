"""What there is, is documented; what is documented, is there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from adapterhub import hookspecs
from adapterhub.method_training import MethodTraining
from adapterhub.plugins import COMMANDS_GROUP, GROUP, ROUTERS_GROUP, VARIABLE, installed_methods

ROOT = Path(__file__).parent.parent
PAGES = {page.name: page.read_text() for page in sorted((ROOT / "docs").glob("*.md"))}
HOOKS = {
    name: hook for name, hook in vars(hookspecs).items() if hasattr(hook, f"{hookspecs.hookspec.project_name}_spec")
}


def test_hooks_are_found() -> None:
    assert {"register_commands", "register_methods", "register_routers"} <= set(HOOKS)


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented_as_it_is_called(name: str) -> None:
    arguments = ", ".join(inspect.signature(HOOKS[name]).parameters)
    assert f"`{name}({arguments})`" in PAGES["plugins.md"]
    assert HOOKS[name].__doc__


def test_every_hook_in_the_docs_exists() -> None:
    assert set(re.findall(r"`(register_\w+)\(", "".join(PAGES.values()))) <= set(HOOKS)


def test_the_groups_and_the_variable_are_documented() -> None:
    assert all(f"`{name}" in PAGES["plugins.md"] for name in (GROUP, COMMANDS_GROUP, ROUTERS_GROUP, VARIABLE))


def test_every_page_is_linked_from_the_readme_and_links_lead_somewhere() -> None:
    pages = {"README.md": (ROOT / "README.md").read_text()} | {f"docs/{name}": text for name, text in PAGES.items()}
    assert all(f"]({name})" in pages["README.md"] for name in pages if name != "README.md")
    for page, text in pages.items():
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page} links {target}"


def test_every_owner_in_the_engines_table_exists() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGES["engine.md"], flags=re.MULTILINE)
    sources = "".join(path.read_text() for path in (ROOT / "adapterhub" / "engine").glob("*.py"))
    assert len(rows) == 9
    assert [name for name in rows if f"class {name}" not in sources] == []


def test_the_defaults_of_every_method_are_in_the_docs_as_they_are() -> None:
    methods = installed_methods()
    own = {name: method.training_defaults for name, method in methods.by_name.items()}
    own |= {name: preset.training_defaults for name, preset in methods.presets.items() if preset.training_defaults}
    rows = [
        f"| `{name}` | {each.learning_rate:g} | {each.epochs:g} | {each.schedule} | {each.warmup:g} | "
        f"{each.max_grad_norm:g} | {each.source} |"
        for name, each in own.items()
        if each != MethodTraining.training_defaults
    ]
    found = [line for line in PAGES["training.md"].splitlines() if line.startswith("| `")]
    assert sorted(found) == sorted(rows)
    assert "a learning rate of 1e-3, which is adapterhub's own" in PAGES["training.md"].replace("\n", " ")
