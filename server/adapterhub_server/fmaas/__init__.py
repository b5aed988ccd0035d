"""IBM's text generation service over our engine: its messages, our answers."""

from adapterhub_server.fmaas.servicer import FmaasServicer

__all__ = ["FmaasServicer"]
