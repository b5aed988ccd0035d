"""The `serve` verb. Imports no torch until it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from rich.filesize import decimal

from adapterhub import hookimpl
from adapterhub_server import keys_command
from adapterhub_server.config import ServeConfig

if TYPE_CHECKING:
    from adapterhub.engine import Engine

Command = Callable[..., None]


@hookimpl
def register_commands(register: Callable[[click.Command], None]) -> None:
    register(command)
    register(keys_command.command)


def _settings(command: Command) -> Command:
    """Adds a flag for every field of ServeConfig; values are checked there."""
    for name, field in reversed(ServeConfig.model_fields.items()):
        repeated = name in ("adapter", "allow_hub")
        default = None if repeated or field.is_required() else field.default
        flag = f"--{name.replace('_', '-')}"
        if field.annotation is bool:
            command = click.option(flag, name, is_flag=True, default=None, help=field.description)(command)
            continue
        command = click.option(
            flag,
            name,
            required=field.is_required(),
            multiple=repeated,
            metavar="VALUE",
            default=None if default is None else str(default),
            show_default=default is not None,
            help=field.description,
        )(command)
    return command


@click.command("serve")
@_settings
def command(**values: Any) -> None:
    """Serve a base model and the store's adapters over gRPC.

    Adapters of any methods are answered from shared batches; each is loaded on first use.
    """
    given = {name: value for name, value in values.items() if value is not None}
    config = ServeConfig.load(given, where="serve")

    from adapterhub_server.logs import configure
    from adapterhub_server.serve import serve

    configure(config.log_format, config.log_level)
    asyncio.run(serve(config, _announce))


def _announce(address: str, metrics: str, engine: Engine) -> None:
    base, limits = engine.base, engine.limits
    click.echo(f"serving {base.record.id}, {base.quantization}, {decimal(base.weight_bytes)}, on {address}")
    click.echo(
        f"keys and values: {limits.kv_tokens} tokens, {decimal(limits.kv_bytes)}; context: {limits.context}; "
        f"in a step: at most {limits.max_sequences} generations; adapters: {decimal(limits.adapter_bytes)}, "
        f"on the host {decimal(limits.host_adapter_bytes)}"
    )
    if metrics:
        click.echo(f"metrics: {metrics}")
