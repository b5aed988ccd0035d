"""Every call, whatever door it came through: who calls and whether they may, how it ended, and who is told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from adapterhub.client.statuses import row_of
from adapterhub_server.access import Access
from adapterhub_server.call import CALL, Call
from adapterhub_server.caller import CALLER

log = logging.getLogger(__name__)

Observer = Callable[[Call], None]
"""Is told of each call when it has ended. Quick, and never raises."""


def _no_deadline() -> float | None:
    return None


class Calls:
    """What the doors of one server share. Lives on the event loop."""

    def __init__(self, access: Access, observers: Iterable[Observer] = ()) -> None:
        self._access = access
        self._observers = tuple(observers)

    @contextmanager
    def inside(
        self,
        method: str,
        call: Call,
        metadata: Mapping[str, str],
        time_remaining: Callable[[], float | None] = _no_deadline,
    ) -> Iterator[None]:
        """Lets in who may; `CALL` and `CALLER` are set in the context of the one who enters.

        The observers are told before whatever ends the call goes on, so that who has the answer finds it counted.
        Raises AuthError, ForbiddenError and QueueFullError, and what is raised inside.
        """
        try:
            with self._admitted(method, call, metadata):
                yield
        except Exception as error:
            call.failed(row_of(type(error)))
            if call.is_internal:
                log.error("%s: request %s failed", method, call.request_id, exc_info=error)
            self._end(call)
            raise
        except BaseException:  # the call was cancelled, however that arrives here
            call.broken_off(time_remaining())
            self._end(call)
            raise
        else:
            self._end(call)

    @contextmanager
    def _admitted(self, method: str, call: Call, metadata: Mapping[str, str]) -> Iterator[None]:
        caller = self._access.caller(method, metadata)
        call.let_in(caller)
        with self._access.call(caller.key or call.peer):
            CALL.set(call)  # of this call's own context, which ends with it
            CALLER.set(caller)
            yield

    def _end(self, call: Call) -> None:
        for observer in self._observers:
            observer(call)
