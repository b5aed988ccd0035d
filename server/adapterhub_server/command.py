"""The `serve` verb. Imports no torch until it runs."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.filesize import decimal

from adapterhub import hookimpl
from adapterhub.cli.config_flags import config_flags, given
from adapterhub.cli.parameters import defaults
from adapterhub.errors import ConfigError
from adapterhub_server import keys_command
from adapterhub_server.config import ServeConfig

if TYPE_CHECKING:
    from adapterhub.engine import Engine
    from adapterhub_server.serve import Addresses

EXAMPLE = """\
adapterhub serve --base smollm2-135m --quantize int8
adapterhub serve --base smollm2-135m --adapter team/orders --adapter-bytes 512MB --port 50200"""


@hookimpl
def register_commands(register: Callable[[click.Command], None]) -> None:
    register(command)
    register(keys_command.command)


def _from_file(ctx: click.Context, option: click.Parameter, path: Path | None) -> None:
    """The file's values stand in the place of defaults. Raises ConfigError naming the file and the key."""
    if path is None:
        return
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", field="config") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}", field="config") from None
    ctx.default_map = {**(ctx.default_map or {}), **defaults(ctx.command, values, path, "serve")}


@click.command("serve")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_from_file,
    help="A TOML file of these options, by their names with underscores; flags and the environment win over it.",
)
@config_flags(ServeConfig)
def command(**values: Any) -> None:
    """Serve a base model and the store's adapters over gRPC, and over HTTP to clients of OpenAI's API.

    Adapters of any methods are answered from shared batches; each is loaded on first use.
    """
    config = ServeConfig.load(given(values), where="serve")

    import asyncio

    from adapterhub_server.logs import configure
    from adapterhub_server.serve import serve

    configure(config.log_format, config.log_level)
    asyncio.run(serve(config, _announce))


def _announce(addresses: Addresses, engine: Engine) -> None:
    base, limits = engine.base, engine.limits
    click.echo(f"serving {base.record.id}, {base.quantization}, {decimal(base.weight_bytes)}, on {addresses.grpc}")
    click.echo(
        f"keys and values: {limits.kv_tokens} tokens, {decimal(limits.kv_bytes)}; context: {limits.context}; "
        f"in a step: at most {limits.max_sequences} generations; adapters: {decimal(limits.adapter_bytes)}, "
        f"on the host {decimal(limits.host_adapter_bytes)}"
    )
    if addresses.http:
        click.echo(f"http: {addresses.http}")
    if addresses.playground:
        click.echo(f"playground: {addresses.playground}")
    if addresses.metrics:
        click.echo(f"metrics: {addresses.metrics}")
