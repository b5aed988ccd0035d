"""Writing the project of a new method from the templates beside this file."""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Collection
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

from adapterhub.errors import ConfigError, ConflictError

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
FILES = {
    "README.md": "README.md.template",
    "pyproject.toml": "pyproject.toml.template",
    "${module}.py": "method.py.template",
    "test_${name}.py": "test.py.template",
}
"""Path in the project -> template."""


def write_project(name: str, into: Path, *, taken: Collection[str] = ()) -> Path:
    """Write the project of a method called `name` into a new folder of `into`: all of it or nothing.

    Raises ConfigError for a name that cannot be used, and ConflictError when the folder is there.
    """
    names = _names(name)
    _check_free(names, taken)
    texts = {Template(path).substitute(names): _text(template, names) for path, template in FILES.items()}
    _check_imports(names, texts)
    project = into / names["project"]
    with TemporaryDirectory(dir=into, prefix=".adapterhub-new-") as unfinished:
        draft = Path(unfinished) / "project"
        draft.mkdir()
        for path, text in texts.items():
            (draft / path).write_text(text, encoding="utf-8")
        if project.exists() or project.is_symlink():
            raise ConflictError(f"{project} is there already; remove it, or choose another name or --into")
        draft.rename(project)
    return project


def _names(name: str) -> dict[str, str]:
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"name: {name!r} is no method's name (accepted: lower-case letters, digits and single underscores, "
            "a letter first)",
            field="name",
        )
    return {
        "name": name,
        "module": f"adapterhub_{name}",
        "class_name": "".join(word.capitalize() for word in name.split("_")),
        "peft_type": name.upper(),
        "project": f"adapterhub-{name.replace('_', '-')}",
    }


def _check_free(names: dict[str, str], taken: Collection[str]) -> None:
    """That there is no method and no module of this name, and that Python can have the class."""
    name, module = names["name"], names["module"]
    if name in taken:
        raise ConfigError(f"name: there is a method {name!r} already; choose another", field="name")
    if find_spec(module) is not None:
        raise ConfigError(f"name: a module {module} is installed already; choose another name", field="name")
    if keyword.iskeyword(names["class_name"]):
        raise _unusable(names)


def _check_imports(names: dict[str, str], texts: dict[str, str]) -> None:
    """That the new classes hide none that the method's file imports."""
    imported = {
        alias.name
        for node in ast.walk(ast.parse(texts[f"{names['module']}.py"]))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    if {names["class_name"], f"{names['class_name']}Config"} & imported:
        raise _unusable(names)


def _unusable(names: dict[str, str]) -> ConfigError:
    return ConfigError(f"name: a class cannot be called {names['class_name']}; choose another name", field="name")


def _text(template: str, names: dict[str, str]) -> str:
    return Template((files(__package__) / "templates" / template).read_text(encoding="utf-8")).substitute(names)
