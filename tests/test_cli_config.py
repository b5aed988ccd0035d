"""Settings: from the file, over which variables win, over which flags win; and the verb that shows and changes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_cli import run

from adapterhub.cli.main import cli
from adapterhub.plugins import find
from adapterhub.settings import CONFIG_VARIABLE, Settings, effective, variable
from adapterhub.store import Store

SERVE_NOWHERE = ("generate", "hello")
"""A verb that tells which address it asked, as nobody is there."""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config file, empty, and no variable of a setting."""
    vars(cli).pop("_plugin_verbs", None)
    path = tmp_path / "config.toml"
    path.touch()
    monkeypatch.setenv(CONFIG_VARIABLE, str(path))
    for name in Settings.model_fields:
        monkeypatch.delenv(variable(name), raising=False)
    return path


def shown(*words: str) -> dict[str, tuple[object, str]]:
    done = run("config", "show", "--json", *words)
    assert done.exit_code == 0, done.stderr
    listed = json.loads(done.stdout)
    return {each["key"]: (each["value"], each["origin"]) for each in listed}


def asked() -> str:
    """The address that `generate` asks."""
    return run(*SERVE_NOWHERE).stderr.split(";")[0]


def test_the_file_yields_to_a_variable_and_that_to_a_flag(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('address = "127.0.0.1:1"')
    assert asked() == "error: no server at 127.0.0.1:1"
    monkeypatch.setenv("ADAPTERHUB_ADDRESS", "127.0.0.1:2")
    assert asked() == "error: no server at 127.0.0.1:2"
    file.write_text('[generate]\naddress = "127.0.0.1:3"')
    assert asked() == "error: no server at 127.0.0.1:3"
    monkeypatch.setenv("ADAPTERHUB_GENERATE_ADDRESS", "127.0.0.1:4")
    assert asked() == "error: no server at 127.0.0.1:4"
    assert "127.0.0.1:5" in run(*SERVE_NOWHERE, "--address", "127.0.0.1:5").stderr


def test_the_library_has_the_same_settings(file: Path, tmp_path: Path) -> None:
    file.write_text(f'store = "{tmp_path}/elsewhere"\nplugins = ["lora"]')
    assert Store.default().root == tmp_path / "elsewhere"
    found = find("adapterhub")
    assert [point.name for point in found.used] == ["lora"]
    assert found.by == f"{file}: plugins"


def test_a_home_folder_is_expanded(file: Path) -> None:
    file.write_text('store = "~/adapters"')
    assert effective().settings.store == Path.home() / "adapters"


def test_a_plugin_that_the_file_names_in_vain_is_an_error_of_the_file(file: Path) -> None:
    file.write_text('plugins = ["lorra"]')
    refused = run("methods")
    assert refused.exit_code == 2
    assert refused.stderr.startswith(f"error: {file}: plugins: no plugin 'lorra'; did you mean 'lora'?")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (
            "stor = 'x'",
            "unknown option 'stor'; did you mean 'store'? (known: address, cache, kernels, plugins, runs, store)",
        ),
        ("store = 5", "store: a folder's path is accepted (given: 5)"),
        ("[generat]\nseed = 1", "[generat]: no such verb; did you mean 'generate'?"),
        ("[generate]\nsed = 1", "generate.sed: no option of `generate`; did you mean 'seed'?"),
        ("[generate]\nseed = 'x'", "generate.seed: 'x' is not a valid integer."),
        ("[generate]\nseed = [1, 2]", "generate.seed: one value is accepted (given: [1, 2])"),
        ("[generate]\nstop = 'x'", "generate.stop: a list of values is accepted (given: 'x')"),
        ("[generate]\nignore-eos = 'yes'", "generate.ignore-eos: true or false is accepted (given: 'yes')"),
        ("[generate]\nformat = 'prose'", "generate.format: 'prose' is not one of 'raw', 'chat'."),
        ("[generate\n", "not TOML: "),
        ("x = '\x00'", "not TOML: "),
    ],
)
def test_what_the_file_may_not_say_is_told_with_its_place(file: Path, written: str, told: str) -> None:
    file.write_text(written)
    refused = run(*SERVE_NOWHERE)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"error: {file}: {told}"), refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("port = 70000", "serve.port: Input should be less than or equal to 65535 (given: 70000)"),
        ("quantize = 'int3'", "serve.quantize: Input should be 'none', 'int8' or 'nf4' (given: 'int3')"),
        ("adapter_bytes = 'lots'", "serve.adapter_bytes: not a size (accepted: such as 512MB"),
    ],
)
def test_a_plugins_verb_takes_part(file: Path, written: str, told: str) -> None:
    file.write_text(f"[serve]\n{written}")
    assert run("serve", "--base", "x").stderr.startswith(f"error: {file}: {told}")


def test_a_required_option_may_come_from_the_file(file: Path) -> None:
    file.write_text("[plan]\nbase = 'no/such/base'\n[plugins.new]\ninto = '/no/such/folder'")
    assert run("plan").exit_code == 3
    assert "'/no/such/folder' does not exist" in run("plugins", "new", "gate").stderr


def test_another_verbs_section_is_its_own_affair(file: Path) -> None:
    file.write_text("[generate]\nseed = 'x'")
    assert run("ls").exit_code == 0


def test_the_section_of_a_verb_that_is_switched_off_does_no_harm(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("[serve]\nport = 50200\n")
    monkeypatch.setenv("ADAPTERHUB_PLUGINS", "lora")
    assert run("ls").exit_code == 0


def test_a_file_that_a_variable_names_must_be_there(file: Path) -> None:
    file.unlink()
    refused = run("ls")
    assert (refused.exit_code, refused.stderr) == (
        2,
        f"error: {file}: no such file, though ADAPTERHUB_CONFIG names it\n",
    )
    assert run("config", "path").stdout == f"{file}\n"


def test_show_tells_each_value_and_where_it_comes_from(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("address = 'a:1'\n[generate]\nseed = 7\n")
    monkeypatch.setenv("ADAPTERHUB_STORE", "/there")
    monkeypatch.setenv("ADAPTERHUB_SERVE_PORT", "50200")
    found = shown()
    assert found["address"] == ("a:1", str(file))
    assert found["store"] == ("/there", "ADAPTERHUB_STORE")
    assert found["plugins"] == (None, "default")
    assert found["generate.seed"] == (7, str(file))
    assert found["serve.port"] == ("50200", "ADAPTERHUB_SERVE_PORT")
    assert "serve.host" not in found
    assert shown("--all")["serve.host"] == ("127.0.0.1", "default")
    assert shown("--all")["plugins.new.into"][1] == "default"
    assert ["generate.seed", "7", str(file)] in [
        line.split() for line in run("config", "show", "--origin").stdout.splitlines()
    ]


def test_set_keeps_comments_and_unset_takes_it_back(file: Path) -> None:
    file.write_text("# mine\nstore = '/a'  # big\n")
    before = file.read_text()
    assert run("config", "set", "serve.port", "50200").exit_code == 0
    assert run("config", "set", "plugins.new.into", "/tmp").exit_code == 0
    assert file.read_text().startswith(before)
    assert (shown()["serve.port"], shown()["plugins.new.into"]) == ((50200, str(file)), ("/tmp", str(file)))
    assert run("config", "unset", "serve.port").exit_code == 0
    assert run("config", "unset", "plugins.new.into").exit_code == 0
    assert file.read_text().rstrip() == before.rstrip()


def test_set_takes_lists_and_texts_alike(file: Path) -> None:
    run("config", "set", "plugins", '["lora", "serve"]')
    run("config", "set", "store", "/big disk/adapters")
    assert effective().settings.plugins == ("lora", "serve")
    assert effective().settings.store == Path("/big disk/adapters")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("set", "serve.prot", "1"), "serve.prot: no option of `serve`; did you mean 'port'?"),
        (("set", "serve.port", "many"), "serve.port: Input should be a valid integer"),
        (("set", "store", "5"), "store: a folder's path is accepted"),
        (("set", "generate", "5"), "generate is a table; set one of its keys"),
        (("set", "store.inner", "5"), "store is a value, not a table"),
        (("unset", "adress"), "adress is not set; did you mean 'address'?"),
        (("unset", "serve.port"), "serve.port is not set"),
    ],
)
def test_a_change_that_is_not_accepted_leaves_the_file_alone(file: Path, words: tuple[str, ...], told: str) -> None:
    before = "address = 'a:1'\nstore = '/a'\n[generate]\nseed = 1\n"
    file.write_text(before)
    refused = run("config", *words)
    assert refused.exit_code == 2
    assert refused.stderr.startswith(f"error: {file}: {told}"), refused.stderr
    assert file.read_text() == before
    assert list(file.parent.glob(".tmp-*")) == []


def test_set_makes_the_file_and_follows_a_link(file: Path, tmp_path: Path) -> None:
    file.unlink()
    file.symlink_to(tmp_path / "dotfiles" / "adapterhub.toml")
    assert run("config", "set", "address", "a:1").exit_code == 0
    assert file.is_symlink()
    assert (tmp_path / "dotfiles" / "adapterhub.toml").read_text() == 'address = "a:1"\n'


def test_a_broken_file_stops_neither_config_nor_doctor(file: Path) -> None:
    file.write_text("stor = 'x'\n")
    assert run("config", "path").exit_code == 0
    assert run("config", "show").stderr.startswith(f"error: {file}: unknown option 'stor'")
    told = run("doctor")
    assert told.exit_code == 1
    assert told.stdout.count(f"{file}: unknown option 'stor'; did you mean 'store'?") == 1
    assert run("config", "unset", "stor").exit_code == 0
    assert run("ls").exit_code == 0
