"""The plugin for rows of the embedding table that are trained."""

from adapterhub import hookimpl
from adapterhub.method import Register
from adapterhub_trainable_tokens.method import TrainableTokens, TrainableTokensConfig

__all__ = ["TrainableTokens", "TrainableTokensConfig", "register_methods"]


@hookimpl
def register_methods(register: Register) -> None:
    register(TrainableTokens())
