"""The bottleneck-adapter plugin."""

from adapterhub import hookimpl
from adapterhub.method import Register
from adapterhub_bottleneck.method import Bottleneck, BottleneckConfig

__all__ = ["Bottleneck", "BottleneckConfig", "register_methods"]


@hookimpl
def register_methods(register: Register) -> None:
    register(Bottleneck())
