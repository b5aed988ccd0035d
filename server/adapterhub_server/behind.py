"""What stands behind every door of one server."""

from __future__ import annotations

from typing import NamedTuple

from adapterhub.engine import Engine
from adapterhub.store import Store
from adapterhub_server.answers import Answers
from adapterhub_server.calls import Calls
from adapterhub_server.catalog import Catalog
from adapterhub_server.requests import Requests


class Behind(NamedTuple):
    """A door translates what it is asked into our own messages, enters by `calls` and asks `answers`."""

    calls: Calls
    answers: Answers
    requests: Requests
    catalog: Catalog
    engine: Engine
    store: Store
