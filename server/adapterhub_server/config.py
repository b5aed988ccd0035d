"""What `adapterhub serve` can be told. Imports no torch."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from adapterhub.config import Config, Size


class ServeConfig(Config):
    """The settings of one server."""

    base: str
    """The base model: a Hub id (`org/name[@revision]`), a local folder, or a built-in name."""
    quantize: Literal["none", "int8", "nf4"] | None = None
    """How to hold the base: none, int8 or nf4. [default: int8 on a CPU, nf4 on CUDA]"""
    host: str = "127.0.0.1"
    """Where to listen."""
    port: int = Field(default=50151, ge=0, le=65535)
    """The port; 0 takes a free one."""
    http_port: int | None = Field(default=None, ge=0, le=65535)
    """The port of the API that OpenAI's clients speak, over HTTP; 0 takes a free one. [default: no such port]"""
    http_host: str = "127.0.0.1"
    """Where to listen for it; TLS and keys are those of the gRPC port."""
    no_playground: bool = False
    """Serve no page at the HTTP port's root, where adapters are tried side by side in a browser."""
    tls_cert: Path | None = None
    """The server's certificate with its chain, PEM; read again when it changes. Needs --tls-key."""
    tls_key: Path | None = None
    """The certificate's private key, PEM."""
    tls_client_ca: Path | None = None
    """The CA of the clients' certificates, PEM; with it, every client must have one."""
    keys: Path | None = None
    """The file of the API keys (`adapterhub keys create`); with it, every call but health's needs one."""
    insecure: bool = False
    """Listen beyond this machine without TLS, or without keys or client certificates."""
    max_calls: int = Field(default=256, ge=1, le=1 << 16)
    """The most calls under way of one API key; without keys, of one address."""
    allow_hub: tuple[str, ...] = ()
    """A pattern of Hub adapters that requests may bring in, such as hf:my-org/*; may be repeated."""
    routes: Path | None = None
    """The file of the routes. [default: one for each base, beside the store's adapters]"""
    router: str | None = None
    """The router that picks an adapter by the prompt where a request names none, such as similarity. [default: none]"""
    adapter: tuple[str, ...] = ()
    """An adapter to load at once and keep, [namespace/]name[:tag][@sha256:...]; may be repeated."""
    max_requests: int = Field(default=1024, ge=1, le=1 << 16)
    """The most requests, waiting and running; more are refused, with the seconds to try again in."""
    max_sequences: int = Field(default=32, ge=1, le=1024)
    """The most generations in one step; more wait."""
    kv_tokens: int | None = Field(default=None, ge=64, le=1 << 24)
    """Room for keys and values, in tokens of all generations together. [default: a share of the free memory]"""
    max_context: int | None = Field(default=None, ge=16, le=1 << 24)
    """The most tokens of one generation, virtual and prompt tokens included. [default: the base's]"""
    step_tokens: int = Field(default=256, ge=1, le=1 << 16)
    """The most rows in one step: one for each generation, the rest for prompts, in chunks."""
    adapter_bytes: Size | None = None
    """Room for adapters ready to run, such as 512MB or 2GiB. [default: an eighth of the free memory]"""
    host_adapter_bytes: Size | None = None
    """Room on the host for adapters that may come back, likewise. [default: an eighth of the host's free memory]"""
    cuda_graphs: bool = False
    """Capture decode steps as CUDA graphs where their shapes come back; never tried on a GPU yet."""
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    """The port of the metrics for Prometheus, over HTTP; 0 takes a free one. [default: no metrics]"""
    metrics_host: str = "127.0.0.1"
    """Where to listen for it; whoever reaches it may read the names of adapters and their load."""
    log_format: Literal["text", "json"] = "text"
    """How the log is written to standard error: text or json."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged: debug, info (a line for each call), warning or error."""
    grace: float = Field(default=30, ge=0, le=3600)
    """Seconds that running generations have to end in when the server is told to stop."""

    @model_validator(mode="after")
    def _is_safe(self) -> ServeConfig:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key: one is of no use without the other")
        if self.tls_client_ca and not self.tls_cert:
            raise ValueError("tls_client_ca: needs tls_cert and tls_key")
        hosts = {"host": self.host} | ({} if self.http_port is None else {"http_host": self.http_host})
        for name, host in hosts.items():
            if self.insecure or _is_loopback(host):
                continue
            if not self.tls_cert:
                raise ValueError(f"{name} {host}: beyond this machine, TLS (tls_cert, tls_key) or insecure")
            if not (self.keys or self.tls_client_ca):
                raise ValueError(f"{name} {host}: beyond this machine, keys (or tls_client_ca) or insecure")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
