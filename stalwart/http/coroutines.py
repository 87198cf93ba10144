"""Run a coroutine that mostly ends at once, without a Deferred for those that do."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, T], waits_for: object) -> Generator[object, Any, T]:
    """Go on with a coroutine that was started and now waits for `waits_for`."""
    try:
        while True:
            try:
                value = yield waits_for
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001 - it belongs to the coroutine
                waits_for = coroutine.throw(error)
            else:
                waits_for = coroutine.send(value)
    except StopIteration as stop:
        result: T = stop.value
        return result


def run(
    coroutine: Coroutine[Any, Any, T], done: Callable[[T], None], failed: Callable[[Failure], None]
) -> Deferred[None] | None:
    """Run `coroutine` and call `done` or `failed` once, at once if it never waits.

    Returns None when it has ended, else a Deferred whose `cancel` cancels it where it waits.
    """
    try:
        waits_for = coroutine.send(None)
    except StopIteration as stop:
        done(stop.value)
        return None
    except Exception:  # noqa: BLE001 - handed on
        failed(Failure())
        return None
    deferred: Deferred[T] = Deferred.fromCoroutine(_rest(coroutine, waits_for))  # type: ignore[arg-type]
    return deferred.addCallbacks(done, failed)
