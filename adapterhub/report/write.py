"""A report into a folder, and out of it. Needs no torch."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from adapterhub.errors import InvalidInputError, UnavailableError
from adapterhub.report.page import render
from adapterhub.report.report import Report

HTML_FILE = "report.html"
JSON_FILE = "report.json"


def write_report(report: Report, folder: Path) -> Path:
    """Write both files to `folder`, each whole or not at all: the page's path.

    Raises UnavailableError when the folder cannot be written.
    """
    page = render(report)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / JSON_FILE, report.model_dump_json(indent=2) + "\n")
        _replace(folder / HTML_FILE, page)
    except OSError as error:
        raise UnavailableError(f"{folder}: the report cannot be written: {error.strerror or error}") from None
    return folder / HTML_FILE


def read_report(folder: Path) -> Report:
    """The report in a run's folder. Raises InvalidInputError where there is none, and ConfigError for what is wrong."""
    path = folder / JSON_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or error
        raise InvalidInputError(f"{path}: {reason}; the folder of a finished run has it", field="folder") from None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise InvalidInputError(f"{path}: not a JSON object", field="folder")
    return Report.load(values, where=str(path))


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)  # noqa: PTH105
    finally:
        partial.unlink(missing_ok=True)
