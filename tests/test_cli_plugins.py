"""`adapterhub plugins` and what switches plugins off."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_cli import install, run, run_process

from adapterhub.cli.main import cli
from adapterhub.plugins import VARIABLE


@pytest.fixture(autouse=True)
def _as_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable, though `--no-plugins` sets it, and the verbs of plugins not looked for yet."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv(VARIABLE)
    vars(cli).pop("_plugin_verbs", None)
    yield
    vars(cli).pop("_plugin_verbs", None)


def listed() -> dict[str, dict[str, object]]:
    return {plugin["name"]: plugin for plugin in json.loads(run("plugins", "--json").stdout)}


def test_the_list_tells_what_each_plugin_gives() -> None:
    plugins = listed()
    assert plugins["lora"] == {
        "name": "lora",
        "distribution": "adapterhub",
        "version": "0.1.0",
        "hooks": ["register_methods"],
        "methods": ["lora"],
        "verbs": [],
        "routers": [],
        "objectives": [],
        "formats": [],
        "metrics": [],
        "error": "",
        "ok": True,
    }
    assert (plugins["serve"]["hooks"], plugins["serve"]["verbs"]) == (["register_commands"], ["serve", "keys"])
    lines = run("plugins").stdout.splitlines()
    assert len(lines) == 1 + len(plugins)
    (shown,) = (line for line in lines if line.startswith("lora"))
    assert re.split("  +", shown) == ["lora", "adapterhub 0.1.0", "register_methods", "method lora", "ok"]


def test_a_broken_plugin_is_listed_with_its_reason(tmp_path: Path) -> None:
    install(tmp_path, "crashing", "raise RuntimeError('no such\x1b[2J library')")
    listed = run_process("plugins", path=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "crashing 1.0" in listed.stdout
    assert "broken: RuntimeError: no such\\x1b[2J library" in listed.stdout
    assert "method lora" in listed.stdout


def test_the_list_names_what_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "lora")
    shown = run("plugins")
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["PLUGIN", "lora"]
    assert shown.stderr.startswith("switched off by ADAPTERHUB_PLUGINS: ")
    assert {"bottleneck", "serve"} <= set(shown.stderr.split(": ")[1].strip().split(", "))


def test_without_plugins_neither_built_in_methods_nor_serve_are_there() -> None:
    shown = run("--no-plugins", "plugins", "--json")
    assert json.loads(shown.stdout) == []
    assert "serve" in shown.stderr


@pytest.mark.parametrize(
    ("words", "variable", "message"),
    [
        (("--no-plugins", "serve"), None, "the plugin 'serve' gives it, which is switched off by --no-plugins"),
        (("serve",), "lora", "the plugin 'serve' gives it, which is switched off by ADAPTERHUB_PLUGINS"),
        (("--no-plugins", "sreve"), None, "plugins switched off by --no-plugins: serve"),
    ],
)
def test_a_verb_of_a_plugin_that_is_switched_off_says_so(
    words: tuple[str, ...], variable: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv(VARIABLE, variable)
    ended = run(*words)
    assert ended.exit_code == 2
    assert f"no verb {words[-1]!r}; {message}" in ended.stderr


def test_an_unknown_verb_says_nothing_of_plugins_that_are_all_used() -> None:
    assert run("sreve").stderr == "error: no verb 'sreve'; did you mean 'serve'? (see adapterhub --help)\n"


def test_help_says_what_no_plugins_leaves_out() -> None:
    shown = run("--no-plugins", "--help")
    assert shown.exit_code == 0
    assert "\n  serve" not in shown.stdout
    assert "built-in methods" in shown.stdout


@pytest.mark.parametrize("words", [("--help",), ("plugins",), ("serve",)])
def test_an_unknown_plugin_in_the_variable_ends_with_2(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "lorra")
    ended = run(*words)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: ADAPTERHUB_PLUGINS: no plugin 'lorra'; did you mean 'lora'?")


def test_json_is_for_the_list() -> None:
    assert run("plugins", "--json", "new", "gate").exit_code == 2


def test_the_methods_are_listed_with_what_they_are_served_on() -> None:
    found = {method["name"]: method for method in json.loads(run("methods", "--json").stdout)}
    assert found["lora"] == {
        "name": "lora",
        "peft_type": "LORA",
        "served": True,
        "sites": ["module"],
        "trained": True,
        "served_on": ["int8", "nf4", "none"],
        "path": "fused",
    }
    assert (found["prefix_tuning"]["sites"], found["prompt_tuning"]["sites"]) == (["kv"], ["prompt"])
    assert (found["hira"]["served_on"], found["hira"]["path"]) == (["none"], "generic")
    assert found["qlora"]["preset_of"] == "lora"
    assert found["lily"]["served"] is False
    lines = run("methods").stdout.splitlines()
    assert len(lines) == 1 + len(found)
    assert any(line.startswith("not served: LILY: its router averages") for line in lines)
