"""The command line: what it prints where, how it ends, and what it must not import."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from conftest import save_stub_adapter

from adapterhub import __version__
from adapterhub.adapter import CONFIG_FILE, PROVENANCE_FILE, TENSORS_FILE
from adapterhub.cli.ending import DEBUG_VARIABLE, EXIT_CODES
from adapterhub.cli.main import cli
from adapterhub.cli.output import echo_table, printable
from adapterhub.cli.verbs import GROUPS, VERBS
from adapterhub.errors import AdapterHubError, UnavailableError
from adapterhub.store import Store


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def run_process(*words: str, code: str = "", path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A process of its own: `python -m adapterhub words`, or `code` with `words`; `path` is importable."""
    program = ["-c", code] if code else ["-m", "adapterhub"]
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    return subprocess.run(
        [sys.executable, *program, *words], capture_output=True, text=True, env=environment, check=False
    )


@pytest.fixture
def published(tmp_path: Path) -> str:
    """The digest of `team/digits:v1`."""
    return Store.default().publish(save_stub_adapter(tmp_path / "adapter"), "team/digits:v1").digest


WITHOUT_TORCH = """
import sys
from adapterhub.cli.main import main
try:
    main()
finally:
    heavy = {"torch", "transformers", "peft"} & set(sys.modules)
    assert not heavy, heavy
"""


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("--version",),
        ("ls",),
        ("verify",),
        ("--no-plugins", "plugins"),
        ("show", "team/digits:v1"),
        ("show", "no"),
        ("completion", "bash"),
        ("config", "show", "--all"),
        ("diff", "--help"),
        ("merge", "--help"),
        ("export", "no", "folder"),
    ],
)
def test_light_verbs_do_not_import_torch(words: tuple[str, ...]) -> None:
    done = run_process(*words, code=WITHOUT_TORCH)
    assert "AssertionError" not in done.stderr
    assert done.returncode == (3 if "no" in words else 0), done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_built_in_verb_is_a_module_of_its_name(verb: str) -> None:
    assert import_module(f"adapterhub.cli.{verb}").command.name == verb
    assert run(verb, "--help").exit_code == 0


def test_the_version_is_printed() -> None:
    assert run("--version").stdout == f"adapterhub, version {__version__}\n"


@pytest.mark.usefixtures("published")
def test_an_unknown_adapter_ends_with_3_and_one_line() -> None:
    done = run_process("show", "team/digit:v1")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: no adapter 'team/digit'")
    assert done.stderr.endswith("did you mean 'team/digits'?\n")
    assert done.stderr.count("\n") == 1


def test_what_is_no_ref_ends_with_2() -> None:
    done = run("show", "../x")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: '../x' is not an adapter reference; accepted:")


def add_verb(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """The verb `fail`, as a plugin gives it, which raises `error`."""

    def fail() -> None:
        raise error

    monkeypatch.setitem(vars(cli), "_plugin_verbs", {"fail": click.Command("fail", callback=fail)})


def test_a_bug_is_one_line_that_says_how_to_see_more(monkeypatch: pytest.MonkeyPatch) -> None:
    add_verb(monkeypatch, ZeroDivisionError("by\x1b[2Jzero"))
    failed = run("fail")
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert failed.stderr == (
        "error: internal error: ZeroDivisionError: by\\x1b[2Jzero; --debug or ADAPTERHUB_DEBUG=1 shows where\n"
    )


@pytest.mark.parametrize("error", [ZeroDivisionError(), UnavailableError("no")])
def test_with_debug_an_error_has_its_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    add_verb(monkeypatch, error)
    monkeypatch.setenv(DEBUG_VARIABLE, "0")
    assert "Traceback" not in run("fail").stderr
    shown = run("--debug", "fail")  # sets the variable, which monkeypatch puts back
    assert shown.stderr.startswith("Traceback (most recent call last)")
    assert shown.stderr.splitlines()[-1].startswith("error: ")
    assert shown.exit_code == getattr(error, "exit_code", 1)


def test_a_file_that_cannot_be_used_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    add_verb(monkeypatch, PermissionError(13, "Permission denied", "/etc/shadow"))
    failed = run("fail")
    assert (failed.exit_code, failed.stderr) == (1, "error: /etc/shadow: Permission denied\n")


def every(kind: type[AdapterHubError]) -> Iterator[type[AdapterHubError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from every(below)


def test_every_error_ends_with_a_code_of_the_table() -> None:
    assert {kind.exit_code for kind in every(AdapterHubError)} == {1, 2, 3, 4, 5, 6, 7}
    assert set(EXIT_CODES) == {0, 1, 2, 3, 4, 5, 6, 7, 130, 141}


def test_what_a_verb_returns_is_no_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(cli), "_plugin_verbs", {"give": click.Command("give", callback=lambda: 7)})
    assert run("give").exit_code == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("ls", "--jsn"), "No such option '--jsn'. Did you mean '--json'? (see adapterhub ls --help)"),
        (("show",), "Missing argument 'REF' (see adapterhub show --help)"),
        (("completion", "tcsh"), "SHELL: 'tcsh' is not one of 'bash', 'zsh', 'fish' (see"),
        (("generate", "--top-k", "x", "hello"), "--top-k: 'x' is not a valid integer (see adapterhub generate --help)"),
        (("lss",), "no verb 'lss'; did you mean 'ls'? (see adapterhub --help)"),
        (("srve",), "no verb 'srve'; did you mean 'serve'? (see adapterhub --help)"),
    ],
)
def test_a_wrong_use_is_one_line_with_what_is_near(words: tuple[str, ...], told: str) -> None:
    refused = run(*words)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"error: {told}"), refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTERHUB_GENERATE_TOP_K", "few")
    refused = run("generate", "hello")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: ADAPTERHUB_GENERATE_TOP_K: 'few' is not a valid integer")


@pytest.mark.usefixtures("published")
def test_a_reader_that_leaves_ends_a_verb_in_silence() -> None:
    command = [sys.executable, "-m", "adapterhub", "show", "team/digits:v1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=60) == 141
        assert process.stderr is not None
        assert process.stderr.read() == b""


@pytest.mark.usefixtures("published")
def test_a_full_disk_behind_stdout_is_an_error() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "adapterhub", "ls"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert (done.returncode, done.stderr) == (1, "error: [Errno 28] No space left on device\n")


def test_help_lists_the_verbs_under_their_headings() -> None:
    shown = run("--help").stdout
    headings = re.findall(r"^(\w+):$", shown, flags=re.MULTILINE)
    assert headings == ["Options", *(heading for heading, verbs in GROUPS.items() if verbs)]
    for verb in (*VERBS, "serve"):
        assert re.search(rf"^  {verb}  +\S", shown, flags=re.MULTILINE), verb
    assert shown.count("...") == 1  # of the usage; no line is cut to fit


def test_a_verb_of_a_stranger_stands_in_the_last_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(cli), "_plugin_verbs", {"greet": click.Command("greet", help="Say hello.")})
    assert run("--help").stdout.endswith("\nPlugins:\n  greet       Say hello.\n")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupted_verb_ends_with_130(interruption: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    add_verb(monkeypatch, interruption)
    assert run("fail").exit_code == 130


def test_an_empty_store_lists_nothing_on_stdout() -> None:
    done = run("ls")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no adapters in" in done.stderr
    assert json.loads(run("ls", "--json").stdout) == []


def test_ls_prints_aligned_columns(published: str) -> None:
    header, line = run("ls").stdout.splitlines()
    assert line.split() == [
        "team/digits:v1",
        "lora",
        "stub-base",
        "6",
        "24",
        "bytes",
        "2026-01-01T00:00:00Z",
        published[7:19],
    ]
    assert line.index("stub-base") == header.index("BASE")


def test_ls_as_json_is_for_machines(published: str) -> None:
    (adapter,) = json.loads(run("ls", "--json").stdout)
    assert adapter["ref"] == "team/digits:v1"
    assert adapter["digest"] == published
    assert (adapter["method"], adapter["num_parameters"], adapter["nbytes"]) == ("lora", 6, 24)


def test_ls_shows_an_adapter_it_cannot_read(published: str) -> None:
    path = Store.default().resolve("team/digits:v1").files[TENSORS_FILE]
    path.unlink()
    done = run("ls")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[1].split() == ["team/digits:v1", "unreadable", published[7:19]]
    assert f"warning: team/digits:v1: {path}: missing" in done.stderr


def test_ls_marks_an_adapter_without_a_base_digest(tmp_path: Path) -> None:
    folder = save_stub_adapter(tmp_path / "adapter")
    (folder / PROVENANCE_FILE).unlink()
    (folder / CONFIG_FILE).write_text('{"peft_type": "LORA", "base_model_name_or_path": "some/base"}')
    Store.default().publish(folder, "theirs")
    assert "some/base (unverified)" in run("ls").stdout


def test_show_prints_options_measurements_and_files(published: str) -> None:
    shown = run("show", "team/digits:v1").stdout
    for line in (published, "lora_alpha  4", "accuracy  0.5", "stub-base", TENSORS_FILE):
        assert line in shown


def test_show_groups_what_it_prints(published: str) -> None:
    lines = run("show", "team/digits:v1").stdout.splitlines()
    heads = [line for line in lines if not line.startswith(" ")]
    assert heads[:4] == ["adapter", "base", "options", "prompts"]
    assert heads[4:] == ["training", "evaluations", "files", "history of team/digits:v1"]
    assert lines[-1].split()[2:] == ["publish", published[7:19]]
    assert lines[lines.index("base") + 1 :][:2] == ["  id      stub-base", f"  digest  sha256:{'0' * 64}"]


def test_show_as_json_holds_the_whole_record(published: str) -> None:
    shown = json.loads(run("show", f"team/digits@{published}", "--json").stdout)
    assert shown["config"] == {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
    assert shown["provenance"]["evaluations"] == {"accuracy": 0.5}
    assert shown["provenance"]["prompt_format"]["kind"] == "raw"
    assert set(shown["files"]) == {CONFIG_FILE, TENSORS_FILE, PROVENANCE_FILE}
    assert shown["tensors"] == 1


def test_text_of_an_adapter_cannot_steer_the_terminal(tmp_path: Path) -> None:
    folder = save_stub_adapter(tmp_path / "adapter")
    (folder / PROVENANCE_FILE).unlink()
    hostile = "\x1b[2J\x9b0m\r[red]base\nforged:v1"
    (folder / CONFIG_FILE).write_text(json.dumps({"peft_type": "X", "base_model_name_or_path": hostile, hostile: 1}))
    Store.default().publish(folder, "theirs")
    shown = run("ls").stdout + run("show", "theirs").stdout
    assert not {"\x1b", "\x9b", "\r"} & set(shown)
    assert "\nforged" not in shown
    assert printable(hostile) in shown


def test_on_a_terminal_the_table_shows_text_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    echo_table(["ADAPTER"], [["[red]digits[/red]"]])
    assert "[red]digits[/red]" in capsys.readouterr().out


@pytest.mark.parametrize(("width", "lines"), [(80, 2), (44, 4), (20, 3)])
def test_a_table_is_never_cut(
    width: int, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, on several, or as a record where the terminal is too narrow for the longest words."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    echo_table(["ADAPTER", "BASES", "SIZE"], [["team/digits:v1", "some-base other-base third-base", "24 bytes"]])
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == lines
    assert all(word in shown for word in ("team/digits:v1", "some-base", "other-base", "third-base", "24", "bytes"))


@pytest.mark.parametrize(("kind", "steered"), [("xterm", True), ("dumb", False)])
def test_a_dumb_terminal_is_not_steered(kind: str, steered: bool, published: str) -> None:
    terminal, its_end = pty.openpty()
    environment = os.environ | {"COLUMNS": "120", "TERM": kind}
    subprocess.run([sys.executable, "-m", "adapterhub", "ls"], stdout=its_end, env=environment, check=True)
    os.close(its_end)
    shown = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert published[7:19] in shown
    assert ("\x1b" in shown) is steered


def install(folder: Path, name: str, source: str) -> None:
    """A distribution `name` in `folder` whose module gives a verb plugin."""
    (folder / f"{name}.py").write_text(source)
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[adapterhub.commands]\n{name} = {name}\n")


def test_a_broken_plugin_is_reported_and_the_rest_works(tmp_path: Path) -> None:
    install(tmp_path, "crashing", "raise RuntimeError('no such\\x1b[2J library')")
    install(
        tmp_path,
        "greeting",
        "import click\nfrom adapterhub import hookimpl\n\n@hookimpl\ndef register_commands(register):\n"
        "    register(click.Command('greet', callback=lambda: click.echo('hello')))\n",
    )
    shown = run_process("--help", path=tmp_path)
    assert shown.returncode == 0
    assert "warning: plugin crashing left out: RuntimeError: no such\\x1b[2J library" in shown.stderr
    assert "greet" in shown.stdout
    assert run_process("greet", path=tmp_path).stdout == "hello\n"
    assert "crashing" not in run_process("ls", path=tmp_path).stderr  # a built-in verb needs no plugin
