"""The log: one line a call, in text or in JSON. No prompt, no generated text and no key is ever in it."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Literal

from adapterhub.cli.output import printable
from adapterhub_server.call import Call

Format = Literal["text", "json"]
Level = Literal["debug", "info", "warning", "error"]

OURS = ("adapterhub", "adapterhub_server")
"""Loggers whose level is set; the libraries' is `warning`, which is much enough."""

log = logging.getLogger(__name__)


class TextFormatter(logging.Formatter):
    """A line for people, with the call's fields as `name=value` behind it; no adapter's text can begin another."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's name
        fields = " ".join(f"{name}={printable(str(value))}" for name, value in _fields(record).items())
        return f"{super().formatMessage(record)} {fields}".rstrip()


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (UTC, ISO 8601), `level`, `logger`, `message`, `error`, and the call's fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line | _fields(record))


def configure(form: Format, level: Level) -> None:
    """Log to standard error from now on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())


def log_call(call: Call) -> None:
    """Write the line of a call that has ended."""
    if log.isEnabledFor(logging.INFO):
        log.info("%s %s", call.rpc, call.outcome, extra={"call": _told(call)})


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = getattr(record, "call", {})
    return fields


def _told(call: Call) -> dict[str, object]:
    """What the log tells of a call; what is empty is left out. Times are in seconds."""
    fields: dict[str, object] = {
        "request_id": call.request_id,
        "rpc": call.rpc,
        "status": call.status,
        "outcome": call.outcome,
        "peer": call.peer,
        "key": call.key,
        "tenant": call.tenant,
        "adapter": call.adapter,
        "digest": call.digest,
        "method": call.method,
        "route_by": call.route.by if call.route else "",
        "route": call.route.name if call.route else "",
        "prompt_tokens": call.prompt_tokens,
        "generated_tokens": call.generated_tokens,
    }
    times = {name: round(seconds, 6) for name, seconds in call.watch.so_far().items()}
    return {name: value for name, value in fields.items() if value} | times
