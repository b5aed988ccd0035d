"""A request's JSON, read strictly: what is not known is refused by name."""

from __future__ import annotations

import json
from typing import Any

from adapterhub.config import Config
from adapterhub.errors import ConfigError, InvalidInputError, did_you_mean

WHERE = "request"

IGNORED = frozenset(("user", "metadata", "safety_identifier", "prompt_cache_key"))
"""Of use to whom they are sent for, and to no answer."""
ONLY: dict[str, tuple[Any, ...]] = {
    "store": (False,),
    "service_tier": ("auto", "default"),
    "parallel_tool_calls": (True,),
    "modalities": (["text"],),
}
"""Accepted where they ask for what is done anyway."""


def read_object(body: bytes) -> dict[str, Any]:
    """The object. Raises InvalidInputError when it is none, or has what no text has."""
    try:
        values = json.loads(body)
        if b"\\ud" in body.lower():  # half of a surrogate pair is no text, which JSON does not mind
            json.dumps(values, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"the body is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise InvalidInputError("the body is not a JSON object")
    return values


def without_nulls(values: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's clients send null for what is not given."""
    return {name: value for name, value in values.items() if value is not None}


def shared_out(values: dict[str, Any], *kinds: type[Config]) -> list[dict[str, Any]]:
    """The fields of each kind that are not null.

    Raises ConfigError naming the first that is of none, and what is close to it.
    """
    values = without_nulls(values)
    known = sorted({name for kind in kinds for name in kind.model_fields})
    for name, value in values.items():
        if name in ONLY:
            if value not in ONLY[name]:
                accepted = ", ".join(map(json.dumps, ONLY[name]))
                raise ConfigError(f"{WHERE}: {name}: {json.dumps(value)} (accepted: {accepted})", field=name)
        elif name not in known and name not in IGNORED:
            near = did_you_mean(name, known)
            raise ConfigError(f"{WHERE}: unknown option {name!r}{near} (known: {', '.join(known)})", field=name)
    return [{name: values[name] for name in kind.model_fields if name in values} for kind in kinds]
