"""Plugins are loaded alone: a broken one is left out with its reason, and the rest works."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest
from peft import PeftType

from adapterhub.base import BaseModel
from adapterhub.errors import ConfigError, MethodNotFoundError, UnsupportedAdapterError
from adapterhub.plugins import (
    COMMANDS_GROUP,
    GROUP,
    VARIABLE,
    Plans,
    PluginStatus,
    find,
    installed_methods,
    load_commands,
    load_methods,
)

METHOD = """
from adapterhub import Method, MethodConfig, hookimpl

class Scale(Method[MethodConfig]):
    name = "{name}"
    peft_type = "{peft_type}"
    Config = MethodConfig

    def sites(self, config, shape):
        return []

@hookimpl
def register_methods(register):
    register(Scale())
"""
PRESET = """
from adapterhub import TrainPreset, hookimpl

@hookimpl
def register_methods(register):
    register(TrainPreset("{name}", method="scale"))
"""
COMMAND = """
import click
from adapterhub import hookimpl

@hookimpl
def register_commands(register):
    register(click.Command("{name}"))
"""
TYPO = "from adapterhub import hookimpl\n\n@hookimpl\ndef register_{noun}s_(register):\n    pass\n"
WRONG_ARGUMENT = "from adapterhub import hookimpl\n\n@hookimpl\ndef register_{noun}s(registry):\n    pass\n"
SECOND_FAILS = "\n    register(None)\n"

Plugin = Callable[[str, str], EntryPoint]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugin]:
    """Makes an entry point of a module with the given source."""
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def make(name: str, source: str) -> EntryPoint:
        module = f"plugin_under_test_{name}"
        (tmp_path / f"{module}.py").write_text(source)
        made.append(module)
        return EntryPoint(name, module, GROUP)

    yield make
    for module in made:
        sys.modules.pop(module, None)


def scale(name: str = "scale", peft_type: str = "SCALE") -> str:
    return METHOD.format(name=name, peft_type=peft_type)


def test_a_plugin_adds_its_method(plugin: Plugin) -> None:
    methods = load_methods((plugin("good", scale()),))
    assert methods.get("scale") is methods.for_peft_type("SCALE")
    assert methods.plugins == (PluginStatus("good", "", "", ("register_methods",), ("scale",)),)


def test_a_preset_trains_a_method_and_serves_nothing(plugin: Plugin) -> None:
    methods = load_methods((plugin("a_good", scale()), plugin("fast", PRESET.format(name="fast_scale"))))
    assert [preset.method for preset in map(methods.for_training, ("fast_scale", "scale"))] == ["scale", "scale"]
    assert (list(methods.by_name), list(methods.presets)) == (["scale"], ["fast_scale"])
    with pytest.raises(
        MethodNotFoundError, match=r"'fast_scal'; did you mean 'fast_scale'\? \(known: fast_scale, scale"
    ):
        methods.for_training("fast_scal")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_library", "ModuleNotFoundError"),
        ("raise RuntimeError('broken at import')", "RuntimeError: broken at import"),
        ("raise SystemExit(1)", "SystemExit"),
        ("def (", "SyntaxError"),
        (TYPO.format(noun="method"), "unknown hook 'register_methods_'"),
        (WRONG_ARGUMENT.format(noun="method"), "registry"),
        (scale("half", "HALF").replace("@hookimpl", ""), "implement register_methods (is @hookimpl missing?)"),
        (COMMAND.format(name="greet"), "'adapterhub' is for plugins that implement register_methods (has register_com"),
        (METHOD.format(name="half", peft_type="HALF") + SECOND_FAILS, "AttributeError"),
        (METHOD.format(name="scale", peft_type="OTHER"), "method 'scale' (OTHER) is already registered"),
        (METHOD.format(name="other", peft_type="SCALE"), "method 'other' (SCALE) is already registered"),
        (METHOD.format(name="fourier", peft_type="FOURIERFT"), "method 'fourier': peft_type FOURIERFT is PEFT's own"),
        (
            scale("half", "HALF").replace("    Config =", "    in_peft = True\n    Config ="),
            "PEFT has no peft_type HALF",
        ),
        (PRESET.format(name="scale"), "preset 'scale': the name is already registered"),
    ],
)
def test_a_broken_plugin_is_left_out_with_its_reason(plugin: Plugin, source: str, reason: str) -> None:
    methods = load_methods((plugin("broken", source), plugin("a_good", scale())))
    good, broken = methods.plugins
    assert (good.error, list(methods.by_name)) == ("", ["scale"])
    assert reason in broken.error
    assert broken.methods == ()


def test_a_method_of_pefts_own_may_have_its_type(plugin: Plugin) -> None:
    source = scale("fourier", "FOURIERFT").replace("    Config =", "    in_peft = True\n    Config =")
    methods = load_methods((plugin("good", source),))
    assert methods.for_peft_type("FOURIERFT").name == "fourier"


def test_pefts_types_are_known_without_importing_it() -> None:
    check = "import sys; from adapterhub.plugins import peft_types; print(*peft_types(), 'torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout.split()
    assert told.pop() == "False"
    assert set(told) == {known.value for known in PeftType}


def test_no_stranger_takes_the_name_of_a_built_in_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_lora.py").write_text(scale("lora", "LORA"))
    metadata = tmp_path / "a_lora-2.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: a_lora\nVersion: 2.0\n")
    (metadata / "entry_points.txt").write_text("[adapterhub]\na_lora = a_lora\n")
    monkeypatch.syspath_prepend(tmp_path)
    methods = load_methods(find(GROUP).used)
    assert type(methods.get("lora")).__module__ == "adapterhub_lora.method"
    (broken,) = (plugin for plugin in methods.plugins if plugin.name == "a_lora")
    assert (broken.distribution, broken.version) == ("a_lora", "2.0")
    assert "method 'lora' (LORA) is already registered" in broken.error


def test_an_unknown_method_names_the_known_and_the_broken(plugin: Plugin) -> None:
    methods = load_methods((plugin("good", scale()), plugin("broken", "raise RuntimeError('reason')")))
    with pytest.raises(MethodNotFoundError, match=r"did you mean 'scale'\? \(known: scale\); broken .*reason"):
        methods.get("scal")
    with pytest.raises(UnsupportedAdapterError, match=r"'VERA' \(served: SCALE\); broken plugins: .*reason"):
        methods.for_peft_type("VERA")


def test_without_plugins_there_are_no_methods() -> None:
    with pytest.raises(MethodNotFoundError, match="known: none"):
        load_methods(()).get("lora")
    assert load_commands(()) == ([], [])


def test_the_built_in_methods_come_through_the_same_door() -> None:
    methods = installed_methods()
    assert {"bottleneck", "lora", "prompt_tuning"} <= set(methods.by_name)
    assert all(status.distribution == "adapterhub" for status in methods.plugins if status.name == "lora")


def test_the_variable_names_the_plugins_that_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, " serve, lora ,")
    methods = installed_methods()
    assert set(methods.by_name) == {"lora"}
    assert {"bottleneck", "prompt_tuning"} <= set(methods.switched_off)
    with pytest.raises(MethodNotFoundError, match=r"known: lora\); switched off by ADAPTERHUB_PLUGINS: .*bottleneck, "):
        methods.get("bottleneck")
    assert [point.name for point in find(COMMANDS_GROUP).used] == ["serve"]


def test_the_empty_variable_switches_every_plugin_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    assert installed_methods().by_name == {}
    assert find(COMMANDS_GROUP).switched_off == ("serve",)
    assert load_commands() == ([], [])


def test_a_name_that_is_not_installed_is_refused_listing_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "lora,botleneck")
    for look in (installed_methods, load_commands):
        with pytest.raises(
            ConfigError, match=r"PLUGINS: no plugin 'botleneck'; did you mean 'bottleneck'\? \(installed"
        ):
            look()


def test_a_plugin_adds_its_verb(plugin: Plugin) -> None:
    commands, (status,) = load_commands((plugin("good", COMMAND.format(name="greet")),))
    assert [command.name for command in commands] == ["greet"]
    assert isinstance(commands[0], click.Command)
    assert status == PluginStatus("good", "", "", ("register_commands",), verbs=("greet",))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('broken at import')", "RuntimeError: broken at import"),
        (TYPO.format(noun="command"), "unknown hook 'register_commands_'"),
        (COMMAND.format(name="half") + SECOND_FAILS, "AttributeError"),
        (COMMAND.format(name="ls"), "verb 'ls' is already registered"),
        (COMMAND.format(name="greet"), "verb 'greet' is already registered"),
    ],
)
def test_a_broken_verb_is_left_out_with_its_reason(plugin: Plugin, source: str, reason: str) -> None:
    found = (plugin("broken", source), plugin("a_good", COMMAND.format(name="greet")))
    commands, (good, broken) = load_commands(found, taken=("ls",))
    assert ([command.name for command in commands], good.error) == (["greet"], "")
    assert reason in broken.error


def test_adapters_that_are_made_alike_share_a_plan(tiny_base: Path) -> None:
    shape = BaseModel.load(str(tiny_base), quantization="none").shape
    method = installed_methods().get("lora")
    plans = Plans(shape)
    first, other = (plans.of(method, method.Config.load({"r": rank}, where="test")) for rank in (4, 8))
    assert first == method.plan(method.Config.load({"r": 4}, where="test"), shape) != other
    assert plans.of(method, method.Config.load({"r": 4}, where="test")) is first
    for rank in range(16, 32):
        plans.of(method, method.Config.load({"r": rank}, where="test"))
    assert plans.of(method, method.Config.load({"r": 4}, where="test")) is not first, "it was made too long ago"
