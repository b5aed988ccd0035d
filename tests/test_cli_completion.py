"""Completion, asked as a shell asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import get_completion_class
from conftest import save_stub_adapter
from test_cli import WITHOUT_TORCH, run

from adapterhub.base import smollm2
from adapterhub.cli import complete
from adapterhub.cli.completion import VARIABLE
from adapterhub.cli.main import cli
from adapterhub.store import Store


@pytest.fixture(autouse=True)
def _published(tmp_path: Path) -> None:
    for name in ("team/digits:v1", "team/digits:v2", "letters"):
        Store.default().publish(save_stub_adapter(tmp_path / "adapter"), name)


def completed(line: str) -> list[str]:
    """What is offered for the last word of `line`, which may be empty."""
    *args, incomplete = line.split(" ")
    completer = get_completion_class("zsh")(cli, {}, "adapterhub", VARIABLE)
    return [str(item.value) for item in completer.get_completions(args[1:], incomplete)]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("adapterhub s", ["show", "serve"]),
        ("adapterhub show le", ["letters", "letters:latest"]),
        ("adapterhub train --method bott", ["bottleneck"]),
    ],
)
def test_a_shell_is_answered_without_torch(line: str, offered: list[str]) -> None:
    asked = {VARIABLE: "zsh_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    command = [sys.executable, "-c", WITHOUT_TORCH]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1::3] == offered


def test_verbs_and_options_are_completed() -> None:
    assert completed("adapterhub pl") == ["plan", "plugins"]
    assert completed("adapterhub ser") == ["serve"]
    assert completed("adapterhub ls --js") == ["--json"]
    assert completed("adapterhub config un") == ["unset"]


@pytest.mark.parametrize("before", ["show", "load letters", "generate --adapter", "serve --adapter"])
def test_adapters_are_completed_with_their_tags(before: str) -> None:
    assert completed(f"adapterhub {before} team/") == ["team/digits", "team/digits:v1", "team/digits:v2"]
    assert completed(f"adapterhub {before} le") == ["letters", "letters:latest"]


def test_methods_bases_and_choices_are_completed() -> None:
    assert completed("adapterhub train --method bott") == ["bottleneck"]
    assert completed("adapterhub train --method hir") == ["hira"]
    assert completed("adapterhub train --base s") == ["smollm2-135m", "stub-base"]
    assert completed("adapterhub serve --quantize n") == ["none", "nf4"]
    assert completed("adapterhub completion z") == ["zsh"]


def test_the_built_in_base_is_called_as_elsewhere() -> None:
    assert complete.BUILT_IN_BASE == smollm2.NAME  # whose import would bring torch


def test_a_broken_store_completes_nothing(tmp_path: Path) -> None:
    (tmp_path / "store" / "format_version").chmod(0o644)
    (tmp_path / "store" / "format_version").write_text("99")
    assert completed("adapterhub show t") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_the_shells_own(shell: str) -> None:
    script = run("completion", shell).stdout
    assert f"_ADAPTERHUB_COMPLETE={shell}_complete" in script
    assert "_adapterhub_completion" in script


BASH = """
eval "$(adapterhub completion bash)"
for line in "show team/digits : v" "show team/digits :" "show le"; do
    COMP_WORDS=(adapterhub $line); COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); COMPREPLY=()
    _adapterhub_completion adapterhub
    echo "${COMPREPLY[@]}"
done
"""


def test_bash_completes_behind_the_colon_at_which_it_breaks_words() -> None:
    """The function of the script, called with words as bash breaks them."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert (done.stdout.splitlines(), done.stderr) == (["v1 v2", "v1 v2", "letters letters:latest"], "")
