"""`adapterhub completion`: the script by which a shell completes this command line."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

EXAMPLE = """\
adapterhub completion bash > ~/.local/share/bash-completion/completions/adapterhub
adapterhub completion zsh > ~/.zfunc/_adapterhub       # a folder of your fpath
adapterhub completion fish > ~/.config/fish/completions/adapterhub.fish"""

PROGRAM = "adapterhub"
VARIABLE = "_ADAPTERHUB_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="SHELL")
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script by which a shell completes adapterhub.

    SHELL is bash, zsh or fish. Completed are verbs, options and their choices, adapters with their tags, methods
    and bases.
    """
    completer = get_completion_class(shell)
    assert completer is not None, "click knows these shells"
    click.echo(completer(ctx.find_root().command, {}, PROGRAM, VARIABLE).source(), nl=False)
