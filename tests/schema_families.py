"""Random JSON Schemas after the families of the JSON-Schema test suite, one function to a file of its."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

Schema = dict[str, Any]

WORDS = ("a", "id", "name", "a b", "größe", 'q"uo\\te', "😀", "x-1", "", "0")
PATTERNS = ("^a+b?$", "^[a-z]{2,5}$", "^(on|off)$", "^\\d{3}-\\d{2}$", "^[^\\s]{1,4}$", "^x|y$", "b")
FORMATS = ("date", "time", "date-time", "email", "ipv4", "ipv6", "uuid", "hostname", "uri", "duration")
VALUES: tuple[Any, ...] = (None, True, False, 0, 1, -3, 2.5, "", "a", 'q"\\', "😀", [], [1, "x"], {}, {"a": [None]})


def schema(draw: Random) -> tuple[str, Schema]:
    """A family's name and a schema of it."""
    name = draw.choice(tuple(FAMILIES))
    made = FAMILIES[name](draw)
    if draw.random() < 0.2:
        made = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "t", "description": "d", **made}
    return name, made


def value(draw: Random, depth: int = 2) -> Schema:
    """A schema whose values are short."""
    simple: tuple[Callable[[Random], Schema], ...] = (_string, _integer, _number, enum, const, _boolean, _null, pattern)
    if depth > 0 and draw.random() < 0.3:
        return draw.choice((_object, _array, any_of))(draw, depth - 1)
    return draw.choice(simple)(draw)


def _string(draw: Random) -> Schema:
    low = draw.randrange(4)
    return {"type": "string", "minLength": low, "maxLength": low + draw.randrange(6)}


def _integer(draw: Random) -> Schema:
    low = draw.randrange(-500, 500)
    return {"type": "integer", "minimum": low, "maximum": low + draw.randrange(2000)}


def _number(draw: Random) -> Schema:
    low = draw.randrange(-50, 50)
    return {"type": "number", "exclusiveMinimum": low, "maximum": low + draw.randrange(1, 100) / 4}


def _boolean(draw: Random) -> Schema:
    return {"type": "boolean"}


def _null(draw: Random) -> Schema:
    return {"type": "null"}


def _names(draw: Random, most: int = 4) -> list[str]:
    return draw.sample(WORDS, draw.randrange(1, most + 1))


def _object(draw: Random, depth: int = 1) -> Schema:
    names = _names(draw)
    return {
        "type": "object",
        "properties": {name: value(draw, depth) for name in names},
        "required": [name for name in names if draw.random() < 0.7],
        "additionalProperties": False,
    }


def _array(draw: Random, depth: int = 1) -> Schema:
    low = draw.randrange(3)
    return {"type": "array", "items": value(draw, depth), "minItems": low, "maxItems": low + draw.randrange(3)}


def any_of(draw: Random, depth: int = 1) -> Schema:
    return {"anyOf": [value(draw, depth) for _ in range(draw.randrange(1, 4))]}


def type_(draw: Random) -> Schema:
    names = ("string", "integer", "number", "boolean", "null", "array", "object")
    return {"type": draw.choice((draw.choice(names), draw.sample(names, draw.randrange(1, 4))))}


def enum(draw: Random) -> Schema:
    return {"enum": draw.sample(VALUES, draw.randrange(1, 6))}


def const(draw: Random) -> Schema:
    return {"const": draw.choice(VALUES)}


def pattern(draw: Random) -> Schema:
    return {"type": "string", "pattern": draw.choice(PATTERNS), "maxLength": 8}


def additional_properties(draw: Random) -> Schema:
    names = _names(draw, 2)
    return {
        "type": "object",
        "properties": {name: value(draw, 0) for name in names},
        "required": names,
        "additionalProperties": draw.choice((True, False, value(draw, 0))),
    }


def pattern_properties(draw: Random) -> Schema:
    made: Schema = {"type": "object", "patternProperties": {"^k[0-9]$": value(draw, 0)}, "additionalProperties": False}
    if draw.random() < 0.5:
        made["patternProperties"]["^m[a-c]{1,2}$"] = value(draw, 0)
    if draw.random() < 0.5:
        made |= {"properties": {"name": value(draw, 0)}, "required": ["name"]}
    return made


def prefix_items(draw: Random) -> Schema:
    made: Schema = {"type": "array", "prefixItems": [value(draw, 1) for _ in range(draw.randrange(1, 4))]}
    made["items"] = draw.choice((False, value(draw, 0)))
    return made | draw.choice(({}, {"minItems": draw.randrange(4)}, {"maxItems": draw.randrange(1, 5)}))


def bounds(draw: Random) -> Schema:
    low = round(draw.uniform(-30, 30), draw.randrange(3))
    made: Schema = {"type": draw.choice(("number", "integer"))}
    made[draw.choice(("minimum", "exclusiveMinimum"))] = low
    made[draw.choice(("maximum", "exclusiveMaximum"))] = low + draw.choice((0, 0.5, 1, 7, 1000))
    return made


def multiple_of(draw: Random) -> Schema:
    if draw.random() < 0.3:
        return {"type": "number", "multipleOf": draw.choice((0.5, 0.25, 2.5))}
    return {"type": "integer", "multipleOf": draw.randrange(1, 40)} | draw.choice(({}, {"minimum": 0, "maximum": 500}))


def one_of(draw: Random) -> Schema:
    cases: list[Schema] = [{"type": "null"}, {"type": "boolean"}, _integer(draw), _string(draw), _array(draw, 0)]
    if draw.random() < 0.3:
        cases.append(_number(draw))  # which an integer may be as well
    return {"oneOf": draw.sample(cases, draw.randrange(1, 4))}


def all_of(draw: Random) -> Schema:
    parts: list[Schema] = [
        {"type": "string", "minLength": draw.randrange(3)},
        {"maxLength": 3 + draw.randrange(5)},
        {"pattern": "^[a-f]*$"},
    ]
    objects: list[Schema] = [
        {"type": "object", "properties": {"a": value(draw, 0)}, "required": ["a"]},
        {"properties": {"b": value(draw, 0)}, "required": ["b"]},
        {"properties": {"a": value(draw, 0)}},
    ]
    return {"allOf": draw.sample(draw.choice((parts, objects)), draw.randrange(1, 4))}


def ref(draw: Random) -> Schema:
    defs = {"one": value(draw, 1), "two/2": value(draw, 1)}
    uses: tuple[Schema, ...] = ({"$ref": "#/$defs/one"}, {"$ref": "#/$defs/two~12"})
    return {"$defs": defs, "type": "array", "prefixItems": [draw.choice(uses), draw.choice(uses)], "items": False}


def recursive_ref(draw: Random) -> Schema:
    node = {
        "type": "object",
        "properties": {"v": value(draw, 0), "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}},
        "required": ["v", "next"],
        "additionalProperties": False,
    }
    return {"$defs": {"node": node}, "$ref": "#/$defs/node"}


def format_(draw: Random) -> Schema:
    return {"type": "string", "format": draw.choice(FORMATS)}


def properties_count(draw: Random) -> Schema:
    made = additional_properties(draw)
    return made | draw.choice(({"minProperties": draw.randrange(4)}, {"maxProperties": draw.randrange(1, 4)}))


def boolean_schema(draw: Random) -> Schema:
    return {"type": "object", "properties": {"a": draw.choice((True, False)), "b": _integer(draw)}, "required": ["b"]}


def untyped(draw: Random) -> Schema:
    """Keywords of one type, which say nothing of values of another."""
    return draw.choice(
        ({"maxLength": 4}, {"minimum": 3}, {"maxItems": 1}, {"required": ["a"]}, {"pattern": "^a*$"}, {})
    )


def beyond(draw: Random) -> Schema:
    """What a grammar can hardly hold a text to."""
    return draw.choice(
        (
            {"type": "array", "uniqueItems": True},
            {"type": "array", "contains": {"const": 1}},
            {"not": {"type": "string"}},
            {"if": {"type": "string"}, "then": {"minLength": 2}},
            {"type": "object", "propertyNames": {"maxLength": 3}},
            {"type": "object", "dependentRequired": {"a": ["b"]}},
            {"type": "object", "unevaluatedProperties": False},
            {"$ref": "https://example.com/other.json"},
            {"type": "object", "minProperties": 3, "maxProperties": 1},
        )
    )


FAMILIES: dict[str, Callable[[Random], Schema]] = {
    "type": type_,
    "enum": enum,
    "const": const,
    "properties": _object,
    "additionalProperties": additional_properties,
    "patternProperties": pattern_properties,
    "items": _array,
    "prefixItems": prefix_items,
    "length": _string,
    "pattern": pattern,
    "minimum, maximum": bounds,
    "multipleOf": multiple_of,
    "anyOf": any_of,
    "oneOf": one_of,
    "allOf": all_of,
    "ref": ref,
    "recursive ref": recursive_ref,
    "format": format_,
    "minProperties, maxProperties": properties_count,
    "boolean schema": boolean_schema,
    "untyped": untyped,
    "beyond": beyond,
}
