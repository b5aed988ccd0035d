"""TLS of the HTTP door: the gRPC port's certificates, read again when they change."""

from __future__ import annotations

import ssl

from adapterhub.errors import ConfigError
from adapterhub_server.credentials import CertificateFiles, stamps


def tls_context(files: CertificateFiles) -> ssl.SSLContext:
    """New connections get the certificates as they are in the files then.

    Raises ConfigError naming the files when they cannot be used.
    """
    context = _context(files)
    current, seen = context, stamps(files)

    def renew(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, first: ssl.SSLContext) -> None:
        nonlocal current, seen
        try:
            if (now := stamps(files)) != seen:
                current, seen = _context(files), now
        except (ConfigError, OSError):
            pass  # half written, most likely: the old ones stay
        connection.context = current

    context.sni_callback = renew  # asked at every handshake, with or without a name
    return context


def _context(files: CertificateFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.certificate, files.key)
        if files.client_ca is not None:
            context.load_verify_locations(files.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{files.certificate}, {files.key}: {error.strerror or error}", field="tls") from None
    return context
