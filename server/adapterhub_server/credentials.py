"""TLS: certificates from files, read again when they change."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import grpc

from adapterhub.errors import ConfigError


class CertificateFiles(NamedTuple):
    """PEM files."""

    certificate: Path
    """The server's, with its chain."""
    key: Path
    client_ca: Path | None = None
    """Of the clients' certificates; with it, every client must have one."""


def credentials(files: CertificateFiles) -> grpc.ServerCredentials:
    """What a secure port needs; every new connection gets the certificates as they are in the files then.

    Raises ConfigError naming the file that cannot be read.
    """
    configuration = _configuration(files)
    seen = stamps(files)

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal seen
        try:
            now = stamps(files)
            if now == seen:
                return None
            renewed = _configuration(files)
        except (ConfigError, OSError):
            return None  # half written, most likely: the old ones stay
        seen = now
        return renewed

    return grpc.dynamic_ssl_server_credentials(
        configuration,
        changed,  # type: ignore[arg-type]  # None says that nothing has changed
        require_client_authentication=files.client_ca is not None,
    )


def _configuration(files: CertificateFiles) -> grpc.ServerCertificateConfiguration:
    pair = (_pem(files.key, "PRIVATE KEY"), _pem(files.certificate, "CERTIFICATE"))
    ca = _pem(files.client_ca, "CERTIFICATE") if files.client_ca else None
    return grpc.ssl_server_certificate_configuration([pair], ca)


def _pem(path: Path, kind: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", field="tls") from None
    if f"{kind}-----".encode() not in content:
        raise ConfigError(f"{path}: no {kind.lower()} in PEM form", field="tls")
    return content


def stamps(files: CertificateFiles) -> list[tuple[int, int]]:
    return [(path.stat().st_mtime_ns, path.stat().st_ino) for path in files if path is not None]
