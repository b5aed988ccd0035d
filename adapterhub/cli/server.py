"""Which running server a verb asks, and by what key."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from adapterhub.settings import DEFAULT_ADDRESS, effective

if TYPE_CHECKING:
    from adapterhub.client import AioClient, Client, Tls

KEY_VARIABLE = "ADAPTERHUB_API_KEY"


class Server(NamedTuple):
    """A running server, as the options of `server_options` say."""

    address: str
    api_key: str
    tls: bool
    ca: Path | None
    certificate: Path | None
    key: Path | None

    def client(self) -> Client:
        """Raises ConfigError for a certificate that cannot be read."""
        from adapterhub.client import Client

        return Client(self.address, api_key=self.api_key, tls=self._tls())

    async def aio_client(self) -> AioClient:
        """The same for the event loop that runs. Raises as `client`."""
        from adapterhub.client import AioClient

        return AioClient(self.address, api_key=self.api_key, tls=self._tls())

    def _tls(self) -> Tls | None:
        from adapterhub.client import Tls

        secure = self.tls or self.ca or self.certificate
        return Tls(self.ca, self.certificate, self.key) if secure else None


Command = Callable[..., None]


def server_options(command: Command) -> Command:
    """Adds the options that say where a server is, and gives the command a `server` in their place."""
    address = click.option(
        "--address",
        default=lambda: effective().settings.address,
        show_default=f"{DEFAULT_ADDRESS}, or the setting `address`",
        metavar="HOST:PORT",
        help="The server.",
    )
    return _with(address, command)


def other_server_options(command: Command) -> Command:
    """As `server_options`, where a server takes the place of an own engine: `server` is None without --server."""
    address = click.option(
        "--server", "address", metavar="HOST:PORT", help="Ask this running server, and have no engine of its own."
    )
    return _with(address, command)


def _with(address: Callable[[Command], Command], command: Command) -> Command:
    names = ("address", "api_key", "tls", "ca", "certificate", "key")

    @wraps(command)
    def with_server(**values: Any) -> None:
        given = [values.pop(name) for name in names]
        command(server=Server(*given) if given[0] else None, **values)

    file = click.Path(path_type=Path)
    options = (
        address,
        click.option("--api-key", default="", metavar="KEY", envvar=KEY_VARIABLE, help=f"Better in {KEY_VARIABLE}."),
        click.option("--tls", is_flag=True, help="Speak TLS, with the system's certificates."),
        click.option("--tls-ca", "ca", type=file, help="Speak TLS with a server of this CA, PEM."),
        click.option("--tls-cert", "certificate", type=file, help="The client's own certificate, PEM."),
        click.option("--tls-key", "key", type=file, help="Its private key, PEM."),
    )
    added: Command = with_server
    for option in reversed(options):
        added = option(added)
    return added
