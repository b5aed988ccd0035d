"""The Open Inference Protocol over our engine, with Triton's streams and model repository."""

from adapterhub_server.kserve.servicer import KserveServicer

__all__ = ["KserveServicer"]
