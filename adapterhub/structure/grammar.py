"""A structure in the words of the grammar library.

llguidance computes which tokens may come next, from the tokenizer and a grammar. Its JSON Schema is exact or
refused: what it cannot hold a text to (`uniqueItems`, a `oneOf` whose cases overlap, remote references) it says.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from adapterhub.errors import InvalidInputError
from adapterhub.structure.structure import Structure

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

WHITESPACE = r" |\n[ \t]{0,24}"
"""Between the tokens of JSON, at most once: one space, or a new line and its indentation. Without a bound, a model that
drifts into whitespace never comes out."""
JSON_OPTIONS: JsonCompileOptions = {
    "whitespace_flexible": True,
    "whitespace_pattern": WHITESPACE,
    "item_separator": ",",
    "key_separator": ":",
    "lenient": False,  # keywords that are not held are refused
    "coerce_one_of": False,
}
"""Set over what a schema says of itself (`x-guidance`)."""

_QUOTED = re.compile(r'"(?:\\.|[^"\\\n])*"|/(?![/*])(?:\\.|[^/\\\n])+/|(?://|#)[^\n]*')
"""Of a Lark grammar: its strings, regular expressions and comments."""
_SPECIAL = re.compile(r"<[^<>\s]+>")


def grammar_of(structure: Structure) -> str:
    """The library's own text for a structure. Raises InvalidInputError for what is not even JSON."""
    from llguidance import LLMatcher

    if structure.json_schema is not None:
        try:
            schema = json.loads(structure.json_schema)
            if schema is False:
                raise refusal(structure, "no text fits it")
            if schema is not True and not isinstance(schema, dict):
                raise refusal(structure, "not a JSON Schema (accepted: an object, true or false)")
            text = "{}" if schema is True else structure.json_schema
            grammar = LLMatcher.grammar_from_json_schema(text, overrides=JSON_OPTIONS)
        except (ValueError, RecursionError) as error:
            raise refusal(structure, f"not JSON: {error}") from None
        if inexact := inexact_bounds(schema):
            raise refusal(structure, inexact)
        return grammar
    if structure.regex is not None:
        return LLMatcher.grammar_from_regex(structure.regex)
    if structure.choice is not None:
        texts = " | ".join(json.dumps(text) for text in structure.choice)
        return LLMatcher.grammar_from_lark(f"start: CHOICE\nCHOICE: {texts}")
    assert structure.grammar is not None
    if not structure.marked and (special := _SPECIAL.search(_QUOTED.sub('""', structure.grammar))):
        raise refusal(structure, f"{special[0]} is a special token, which no text has")
    return LLMatcher.grammar_from_lark(structure.grammar)


def inexact_bounds(schema: Any) -> str:
    """Why the bounds of a schema's numbers would not hold; empty where they do.

    llguidance 1.9 takes an exclusive bound that is a whole number as inclusive where the other bound is less than 1
    from it: `exclusiveMinimum` 9 and `maximum` 9.5 let 9 through. Bounds from all over the schema are compared, for
    they meet through `allOf` and `$ref`.
    """
    bounds: dict[str, set[float]] = {name: set() for name in _BOUNDS}
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            for name, value in part.items():
                if name in bounds and isinstance(value, int | float):
                    bounds[name].add(value)
        waiting += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    for name, others in _BOUNDS.items():
        for whole in (value for value in bounds[name] if value == value // 1):
            for other in others:
                if any(0 < abs(value - whole) < 1 for value in bounds[other]):
                    return f"{name} {whole:g} does not hold beside a {other} less than 1 from it"
    return ""


_BOUNDS: dict[str, tuple[str, ...]] = {
    "exclusiveMinimum": ("maximum", "exclusiveMaximum"),
    "exclusiveMaximum": ("minimum", "exclusiveMinimum"),
    "minimum": (),
    "maximum": (),
}


def refusal(structure: Structure, reason: str) -> InvalidInputError:
    """The error for what the library says, in one line and without most of a long structure it quotes."""
    if "NoExtension" in reason:
        reason = "no text fits it"
    reason = reason.replace("<non-verbose/>", "")
    if found := re.search(r"^error: (.*)$", reason, re.MULTILINE):  # of the regex parser, below a drawing
        reason = found[1]
    line = " ".join(reason.split())
    if len(line) > 300:
        line = f"{line[:200]} ... {line[-80:]}"
    return InvalidInputError(f"{structure.field}: {line}", field=structure.field)
