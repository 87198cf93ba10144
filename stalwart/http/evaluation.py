"""Evaluates rules that ask the outside: at once where the answers are at hand, else without blocking the reactor."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol, TypeAlias

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from stalwart.expr import CompiledRule, EvalError, Lookup, Value

WAIT_SECONDS = 10.0
"""For all lookups of one evaluation together."""

MOST_WAITING = 1_000
"""Evaluations of one rule that may wait at the same time."""

Evaluation: TypeAlias = "Value | Coroutine[Any, Any, Value]"


class Answers(Protocol):
    """Who answers lookups."""

    def ask(self, lookup: Lookup) -> object:
        """The answer, or a Deferred of it that may be cancelled; see `Lookup`. A failure is an `EvalError`."""


class TooManyWaiting(EvalError):
    """As many evaluations as may wait do so already."""


class Evaluator:
    """Evaluates one rule. Belongs to the reactor thread."""

    def __init__(self, rule: CompiledRule, answers: Answers, reactor: IReactorTime) -> None:
        self._rule = rule
        self._answers = answers
        self._reactor = reactor
        self._waiting = 0
        self.start: Callable[[object], Evaluation] = self._ask if rule.needs_io else rule.evaluate
        """Gives the result for a context, or a coroutine of it if it has to wait. Either raises `EvalError`."""

    def _ask(self, context: object) -> Evaluation:
        steps = self._rule.start(context)
        answer: object = None
        try:
            while True:
                lookup = steps.send(answer)
                answer = self._answers.ask(lookup)
                if isinstance(answer, Deferred):
                    break
        except StopIteration as done:
            result: Value = done.value
            return result
        if self._waiting >= MOST_WAITING:
            _give_up(answer)
            raise TooManyWaiting(f"{MOST_WAITING} requests wait for lookups already")
        return self._wait(steps, lookup, answer)

    async def _wait(self, steps: Generator[Lookup, object, Value], lookup: Lookup, answer: Deferred[object]) -> Value:
        asked = [lookup]
        self._waiting += 1
        try:
            rest = Deferred.fromCoroutine(self._go_on(steps, asked, answer))
            return await rest.addTimeout(WAIT_SECONDS, self._reactor)
        except defer.TimeoutError:
            last = asked[-1]
            arguments = ", ".join(repr(argument)[:100] for argument in last.arguments)
            raise EvalError(f"{WAIT_SECONDS:g} s were over before {last.function}({arguments}) was answered") from None
        finally:
            self._waiting -= 1
            steps.close()

    async def _go_on(self, steps: Generator[Lookup, object, Value], asked: list[Lookup], answer: object) -> Value:
        while True:
            if isinstance(answer, Deferred):
                answer = await answer
            try:
                lookup = steps.send(answer)
            except StopIteration as done:
                result: Value = done.value
                return result
            asked.append(lookup)
            answer = self._answers.ask(lookup)


def _give_up(answer: Deferred[object]) -> None:
    answer.addErrback(lambda _: None)
    answer.cancel()
