"""The router `similarity`: the adapter whose training prompts a prompt resembles."""

from collections.abc import Callable

from adapterhub import PromptRouter, hookimpl
from adapterhub_similarity.router import Similarity

__all__ = ["Similarity", "register_routers"]


@hookimpl
def register_routers(register: Callable[[PromptRouter], None]) -> None:
    register(Similarity())
