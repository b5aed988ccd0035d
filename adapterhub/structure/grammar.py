"""A structure in the words of the grammar library.

llguidance computes which tokens may come next, from the tokenizer and a grammar. Its JSON Schema is exact or
refused: what it cannot hold a text to (`uniqueItems`, a `oneOf` whose cases overlap, remote references) it says.
"""

from __future__ import annotations

import json
import re

from adapterhub.errors import InvalidInputError
from adapterhub.structure.structure import Structure

WHITESPACE = r" |\n[ \t]{0,24}"
"""Between the tokens of JSON, at most once: one space, or a new line and its indentation. Without a bound, a model that
drifts into whitespace never comes out."""
JSON_OPTIONS = {
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
            return LLMatcher.grammar_from_json_schema(structure.json_schema, overrides=JSON_OPTIONS)  # type: ignore[arg-type]
        except ValueError as error:
            raise InvalidInputError(f"{structure.field}: not JSON: {error}", field=structure.field) from None
    if structure.regex is not None:
        return LLMatcher.grammar_from_regex(structure.regex)
    if structure.choice is not None:
        texts = " | ".join(json.dumps(text) for text in structure.choice)
        return LLMatcher.grammar_from_lark(f"start: CHOICE\nCHOICE: {texts}")
    assert structure.grammar is not None
    if special := _SPECIAL.search(_QUOTED.sub('""', structure.grammar)):
        raise InvalidInputError(
            f"{structure.field}: {special[0]} is a special token, which no text has", field=structure.field
        )
    return LLMatcher.grammar_from_lark(structure.grammar)


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
