"""How the command line ends: whatever comes out of a verb is one line on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import click
from click.core import ParameterSource

from adapterhub.cli.output import printable
from adapterhub.errors import AdapterHubError
from adapterhub.settings import config_path, variable

DEBUG_VARIABLE = variable("debug")
"""Set to anything but 0 and the like, errors come with their traceback."""
OFF = ("", "0", "false", "no", "off")

FAILED = 1
USAGE = 2
INTERRUPTED = 130
PIPE_CLOSED = 141

EXIT_CODES = {
    0: "done",
    FAILED: "failed: a goal was missed, a plugin or a disk failed, or a bug",
    USAGE: "usage: an option, a setting, a reference or data that is not accepted",
    3: "not found: no such adapter, base, method or repository",
    4: "conflict: the present state of the store, the server or the Hub forbids it",
    5: "auth: not logged in, or not allowed",
    6: "unavailable: no server, no network, busy; try again later",
    7: "integrity: refused because it could not be served exactly as it was made",
    INTERRUPTED: "interrupted by Ctrl-C",
    PIPE_CLOSED: "whoever read the output left, as `head` does",
}
"""What every verb's exit codes mean."""


@contextmanager
def ending() -> Iterator[None]:
    """Around the whole command line: errors leave through here, and the process with them."""
    try:
        yield
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(USAGE)
    except click.ClickException as error:
        _fail(_told(error), error.exit_code)
    except AdapterHubError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        _forget_output()
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), FAILED)
    except Exception as error:  # noqa: BLE001  the traceback is one option away
        text = f"internal error: {type(error).__name__}: {error}"
        _fail(f"{text}; --debug or {DEBUG_VARIABLE}=1 shows where", FAILED)


@contextmanager
def until_reader_leaves() -> Iterator[None]:
    """Around what prints: click itself would end with 1 when nobody reads it any more."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
        raise click.exceptions.Exit(PIPE_CLOSED) from None


def _fail(text: str, code: int) -> NoReturn:
    if os.environ.get(DEBUG_VARIABLE, "").lower() not in OFF:
        traceback.print_exc()
    click.echo(f"error: {printable(text)}", err=True)
    sys.exit(code)


def _told(error: click.ClickException) -> str:
    """What is wrong and where; then how to see what would be right."""
    if isinstance(error, click.MissingParameter) or not isinstance(error, click.BadParameter):
        text = error.format_message()
    else:
        text = f"{_origin(error)}: {error.message}"
    if isinstance(error, click.UsageError) and error.ctx is not None:
        text = f"{text.rstrip('.')} (see {error.ctx.command_path} --help)"
    return text


def _origin(error: click.BadParameter) -> str:
    """Where a wrong value was given: a variable, the config file, an option or an argument."""
    param = error.param
    if param is None:
        return str(error.param_hint or "value")
    source = error.ctx.get_parameter_source(param.name or "") if error.ctx else None
    if source is ParameterSource.ENVIRONMENT:
        return str(param.envvar)
    if source is ParameterSource.DEFAULT_MAP:  # of a right type, and refused by the option's own callback
        return f"{config_path()}: {param.opts[-1]}"
    return param.opts[-1] if isinstance(param, click.Option) else param.human_readable_name


def _forget_output() -> None:
    """Nothing more can be written to stdout: what Python would still flush at its end goes nowhere."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
