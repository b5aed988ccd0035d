"""docs/cli.md is what the verbs say of themselves, and their examples are words that they accept."""

from __future__ import annotations

import shlex
from itertools import takewhile
from pathlib import Path

import click
import pytest

from adapterhub.cli.main import cli
from adapterhub.cli.reference import example, reference
from adapterhub.cli.verbs import GROUPS

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
VERBS = [verb for verbs in GROUPS.values() for verb in verbs]


def command_of(verb: str) -> click.Command:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    return command


def parsed(line: str) -> list[str]:
    """The verb a line names, and the verb inside it; raises UsageError when its words are not accepted."""
    words = list(takewhile(lambda word: word not in {"|", ">", "<"}, shlex.split(line, comments=True)))
    assert words[0] == "adapterhub"
    names, command, ctx = words[1:2], command_of(words[1]), click.Context(cli)
    inside = command.make_context(words[1], words[2:], parent=ctx)
    if isinstance(command, click.Group) and len(words) > 2:
        name, inner, rest = command.resolve_command(inside, words[2:])
        assert inner is not None
        inner.make_context(name, rest, parent=inside)
        names.append(str(name))
    return names


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == reference(), "run: python -m adapterhub.cli.reference > docs/cli.md"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_example_that_it_accepts(verb: str) -> None:
    used = [parsed(line) for line in example(command_of(verb)).splitlines()]
    assert used
    assert all(names[0] == verb for names in used)


def test_an_example_with_a_wrong_word_is_noticed() -> None:
    with pytest.raises(click.UsageError):
        parsed("adapterhub ls --no-such-option")


def test_verbs_inside_a_verb_have_examples_too() -> None:
    for verb in VERBS:
        command = command_of(verb)
        if isinstance(command, click.Group):
            used = {names[1] for line in example(command).splitlines() if len(names := parsed(line)) > 1}
            assert used == set(command.commands), verb


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_says_what_it_is_for(verb: str) -> None:
    silent = [param.opts for param in command_of(verb).params if isinstance(param, click.Option) and not param.help]
    assert silent == []


def test_the_page_is_the_same_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("ADAPTERHUB_STORE", "/somewhere/else")
    monkeypatch.setenv("ADAPTERHUB_ADDRESS", "elsewhere:1")
    monkeypatch.setenv("ADAPTERHUB_TRAIN_METHOD", "ia3")
    assert reference() == PAGE.read_text()
