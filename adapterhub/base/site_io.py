"""How a module takes its rows and gives them back, whatever its calling convention.

Linear modules take `x` as their first argument and return a tensor; attention blocks take it as
`hidden_states=` and return a tuple in some families.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from adapterhub.errors import UnsupportedAdapterError

_INPUT_NAME = "hidden_states"


def input_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The rows a module was called with. Raises UnsupportedAdapterError for an unknown convention."""
    x = args[0] if args else kwargs.get(_INPUT_NAME)
    if not isinstance(x, Tensor):
        raise UnsupportedAdapterError(f"a site's module takes no tensor as its first argument or as {_INPUT_NAME}=")
    return x


def with_input(args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same call with `x` as its rows."""
    if args:
        return (x, *args[1:]), kwargs
    return args, {**kwargs, _INPUT_NAME: x}


def output_of(output: Any) -> Tensor:
    """The rows a module returned: the output itself, or the first of a tuple."""
    y = output[0] if isinstance(output, tuple) else output
    if not isinstance(y, Tensor):
        raise UnsupportedAdapterError("a site's module returns neither a tensor nor a tuple that starts with one")
    return y


def with_output(output: Any, y: Tensor) -> Any:
    """The same output with `y` as its rows."""
    return (y, *output[1:]) if isinstance(output, tuple) else y
