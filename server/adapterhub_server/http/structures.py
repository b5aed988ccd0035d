"""What the text must be, in the words of OpenAI's `response_format` and of vLLM's extra fields."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import Field

from adapterhub.config import Config
from adapterhub.errors import InvalidInputError
from adapterhub.pb.v1 import inference_pb2

ANY_OBJECT = '{"type":"object"}'


class JsonSchema(Config):
    """A named schema."""

    name: str = ""
    description: str = ""
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool = True
    """It always holds."""


class ResponseFormat(Config):
    """As OpenAI has it."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class Structured(Config):
    """As vLLM's `structured_outputs`."""

    json_: dict[str, Any] | str | None = Field(default=None, alias="json")
    regex: str | None = None
    choice: tuple[str, ...] | None = None
    grammar: str | None = None
    json_object: bool = False


class StructureOptions(Config):
    """At most one of them."""

    response_format: ResponseFormat | None = None
    structured_outputs: Structured | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_regex: str | None = None
    guided_choice: tuple[str, ...] | None = None
    guided_grammar: str | None = None

    def message(self) -> inference_pb2.Structure | None:
        """Raises InvalidInputError when there is more than one."""
        asked = [
            *_of_format(self.response_format),
            *_of_structured(self.structured_outputs or Structured(), "structured_outputs"),
            *_of_structured(
                Structured(
                    json=self.guided_json,
                    regex=self.guided_regex,
                    choice=self.guided_choice,
                    grammar=self.guided_grammar,
                ),
                "guided",
            ),
        ]
        if len(asked) > 1:
            names = " and ".join(name for name, _ in asked)
            raise InvalidInputError(f"{names}: one at a time", field=asked[1][0])
        return asked[0][1] if asked else None


Named = tuple[str, inference_pb2.Structure]


def _of_format(asked: ResponseFormat | None) -> list[Named]:
    name = "response_format"
    if asked is None or asked.type == "text":
        return []
    if asked.type == "json_object":
        return [(name, inference_pb2.Structure(json_schema=ANY_OBJECT))]
    if asked.json_schema is None:
        raise InvalidInputError(f"{name}.json_schema: needed with this type", field=f"{name}.json_schema")
    return [(name, inference_pb2.Structure(json_schema=json.dumps(asked.json_schema.schema_)))]


def _of_structured(asked: Structured, where: str) -> list[Named]:
    found: list[Named] = []
    if asked.json_ is not None:
        schema = asked.json_ if isinstance(asked.json_, str) else json.dumps(asked.json_)
        found.append((f"{where}.json", inference_pb2.Structure(json_schema=schema)))
    if asked.json_object:
        found.append((f"{where}.json_object", inference_pb2.Structure(json_schema=ANY_OBJECT)))
    if asked.regex is not None:
        found.append((f"{where}.regex", inference_pb2.Structure(regex=asked.regex)))
    if asked.choice is not None:
        found.append((f"{where}.choice", inference_pb2.Structure(choice=inference_pb2.Options(texts=asked.choice))))
    if asked.grammar is not None:
        found.append((f"{where}.grammar", inference_pb2.Structure(grammar=asked.grammar)))
    return found
