"""The `serve` verb. Imports no torch until it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from rich.filesize import decimal

from adapterhub import hookimpl
from adapterhub.cli.config_flags import config_flags, given
from adapterhub_server import keys_command
from adapterhub_server.config import ServeConfig

if TYPE_CHECKING:
    from adapterhub.engine import Engine

EXAMPLE = """\
adapterhub serve --base smollm2-135m --quantize int8
adapterhub serve --base smollm2-135m --adapter team/orders --adapter-bytes 512MB --port 50200"""


@hookimpl
def register_commands(register: Callable[[click.Command], None]) -> None:
    register(command)
    register(keys_command.command)


@click.command("serve")
@config_flags(ServeConfig)
def command(**values: Any) -> None:
    """Serve a base model and the store's adapters over gRPC.

    Adapters of any methods are answered from shared batches; each is loaded on first use.
    """
    config = ServeConfig.load(given(values), where="serve")

    import asyncio

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
