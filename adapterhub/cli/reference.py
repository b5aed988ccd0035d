"""Writes docs/cli.md from the command tree: `python -m adapterhub.cli.reference > docs/cli.md`.

Only the project's own verbs, and nothing of the machine it runs on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from adapterhub.cli.ending import DEBUG_VARIABLE, EXIT_CODES
from adapterhub.cli.main import cli
from adapterhub.cli.training_table import ON_A_PAGE
from adapterhub.cli.verbs import GROUPS
from adapterhub.settings import CONFIG_VARIABLE, Settings, variable

WIDTH = 100
TOP = f"""\
# Command line

    adapterhub [--debug] [--no-plugins] VERB [OPTIONS] [ARGUMENTS]

Written by `python -m adapterhub.cli.reference > docs/cli.md` from the verbs themselves. REF is
`[namespace/]name[:tag][@sha256:...]`, an adapter in the store; BASE is a built-in name, a folder or a Hub id.

- Results go to stdout; progress, warnings and errors to stderr. Verbs with a result print JSON with `--json`; those
  that list references or digests print nothing else with `-q`. Tables and bars are for terminals, and as plain as
  `NO_COLOR` or `TERM=dumb` ask for; elsewhere columns are aligned by blanks.
- An error is one line, `error: ...`, with what would be accepted. `--debug` or `{DEBUG_VARIABLE}=1` adds the traceback.
- What destroys something asks first on a terminal, and needs `--yes` elsewhere.
- `adapterhub completion` makes a shell complete verbs, options, adapters with their tags, methods and bases.
"""
SETTINGS = f"""\
## Settings

A TOML file, over which environment variables win, over which flags win. `adapterhub config path` tells where the file
is; `{CONFIG_VARIABLE}` names another. What is no verb's stands at its top; options of a verb stand in a table named as
the verb, by their flags' names, and have variables `ADAPTERHUB_<VERB>_<OPTION>`.

    store = "/big/disk/adapters"

    [serve]
    quantize = "int8"                  # or ADAPTERHUB_SERVE_QUANTIZE=int8, or --quantize int8
    adapter = ["team/orders"]          # an option that may be repeated

    [plugins.new]
    into = "/home/me/src"

Sections and keys that nothing reads are errors, and so are values of a wrong type; both name the file, the key and what
is accepted. A broken file stops every verb but `config` and `doctor`. Tokens are no settings: log in with
`hf auth login`. `plugins` is a list at the top or the table of the verb, not both.

| setting | variable | |
|---|---|---|
"""


def example(command: click.Command) -> str:
    """The lines that a verb's module gives as its example."""
    assert command.callback
    return str(getattr(sys.modules[command.callback.__module__], "EXAMPLE", ""))


def reference() -> str:
    """The whole page."""
    root = click.Context(cli, info_name="adapterhub", terminal_width=WIDTH, **cli.context_settings)
    root.meta[ON_A_PAGE] = True
    return "\n".join((TOP, *_verbs(root), f"{SETTINGS}{_settings()}", _exit_codes()))


def _verbs(root: click.Context) -> Iterator[str]:
    for heading, verbs in GROUPS.items():
        if verbs:
            yield f"## {heading}\n"
        for verb in verbs:
            command = cli.get_command(root, verb)
            assert command is not None, f"{verb} is installed with the project"
            yield f"### {verb}\n"
            yield from _verb(command, click.Context(command, info_name=verb, parent=root))
            yield f"For example:\n\n{_indented(example(command))}\n"


def _verb(command: click.Command, ctx: click.Context) -> Iterator[str]:
    """What `--help` prints, of the verb and of those inside it."""
    yield f"```text\n{command.get_help(ctx)}\n```\n"
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _verb(inner, click.Context(inner, info_name=name, parent=ctx))


def _settings() -> str:
    return "".join(
        f"| `{name}` | `{variable(name)}` | {field.description} |\n" for name, field in Settings.model_fields.items()
    )


def _exit_codes() -> str:
    rows = "".join(f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
    return f"## Exit codes\n\n| code | |\n|---|---|\n{rows}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


if __name__ == "__main__":
    click.echo(reference(), nl=False)
