"""Whether an answer is JSON that a schema takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from adapterhub import ConfigError
from adapterhub.metric import Metric
from adapterhub_metrics.needs import needed


class JsonSchema(Metric):
    """1 where the answer is one JSON value that the schema takes: `--metric json_schema=schema.json`.

    Nothing is fetched for a schema: what it refers to is in it. NaN and infinities are no JSON. What was
    expected plays no part.
    """

    name = "json_schema"
    description = "the answer is JSON that the schema takes (json-schema.org, by jsonschema)"

    def __init__(self, schema: Any = None, file: str = "") -> None:
        self._schema = schema
        self._file = file

    @property
    def label(self) -> str:
        return f"{self.name}={self._file}"

    def configured(self, argument: str) -> Self:
        if not argument:
            raise ConfigError("metric json_schema: no file (accepted: such as json_schema=schema.json)", field="metric")
        jsonschema = needed("jsonschema", "jsonschema", metric=self.name)
        try:
            schema = json.loads(Path(argument).read_text(encoding="utf-8"))
            jsonschema.validators.validator_for(schema).check_schema(schema)
        except (OSError, ValueError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else f"not JSON: {error}"
            raise ConfigError(f"metric json_schema: {argument}: {reason}", field="metric") from None
        except jsonschema.SchemaError as error:
            raise ConfigError(f"metric json_schema: {argument}: no schema: {error.message}", field="metric") from None
        return type(self)(schema, Path(argument).name)

    def scores(self, answers: Sequence[str], expected: Sequence[str]) -> list[float]:
        jsonschema = needed("jsonschema", "jsonschema", metric=self.name)
        registry = needed("referencing", "referencing", metric=self.name).Registry()
        validator = jsonschema.validators.validator_for(self._schema)(self._schema, registry=registry)
        unresolvable = needed("referencing.exceptions", "referencing", metric=self.name).Unresolvable
        try:
            return [float(_is_valid(validator, answer)) for answer in answers]
        except unresolvable as error:
            raise ConfigError(
                f"metric json_schema: {error.ref!r} is not in the schema, and nothing is fetched", field="metric"
            ) from None


def _is_valid(validator: Any, answer: str) -> bool:
    try:
        value = json.loads(answer, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return bool(validator.is_valid(value))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
