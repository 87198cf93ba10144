"""What the operator reads: one line per event, request or delivery, as text or as JSON.

Events come through `twisted.logger`; access lines are formatted directly and written in batches, since an event per
request would cost more than the request.
"""

from __future__ import annotations

import json
import re
import syslog
import time
from collections.abc import Callable
from io import StringIO
from typing import Literal, Protocol, TextIO

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from stalwart.ops.metrics import Metrics

Level = Literal["error", "warn", "info", "debug", "trace"]
Format = Literal["text", "json"]

_RANK = {"trace": 0, "debug": 1, "info": 2, "warn": 3, "error": 4, "critical": 5}
_FLUSH_SECONDS = 0.25
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Later(Protocol):
    """The part of a reactor that the access log needs."""

    def callLater(self, delay: float, function: Callable[..., object], /, *args: object) -> object:
        """Have the reactor call `function` after `delay` seconds."""


def _one_line(text: str) -> str:
    """Keep what a peer sent from starting a line of its own or moving the terminal's cursor."""
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


class LogOutput:
    """The stream that all log lines go to, in the order in which they came."""

    def __init__(self, stream: TextIO, form: Format, level: Level, clock: Callable[[], float] = time.time) -> None:
        self.configure(form, level)
        self._stream = stream
        self._clock = clock
        self._waiting: list[str] = []
        self._second = -1
        self._stamp = ""
        self._lost = 0
        self._trouble = ""

    def configure(self, form: Format, level: Level) -> None:
        """How lines are written, and from which level on, from now on."""
        self.form: Format = form
        self.rank = _RANK[level]

    def stamp(self, at: float | None = None) -> str:
        """A time (default: now) as RFC 3339 in UTC with milliseconds."""
        now = self._clock() if at is None else at
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((now - second) * 1000):03d}Z"

    def write(self, line: str) -> None:
        """Write a line at once, after those that wait."""
        self._waiting.append(line)
        self.flush()

    def write_soon(self, line: str) -> bool:
        """Queue a line for the next flush; True if it is the first that waits."""
        self._waiting.append(line)
        return len(self._waiting) == 1

    def flush(self) -> None:
        """Write out what waits.

        Never raises: a full disk or a reader that left must not stop the mail. What could not be written is dropped,
        and how much that was is written once there is room again.
        """
        if not self._waiting:
            return
        lines, self._waiting = self._waiting, []
        text = "\n".join([*self._about_lost(), *lines]) + "\n"
        try:
            # Lone surrogates, as in names of files that are no UTF-8, can't be encoded.
            self._stream.write(text.encode("utf-8", "backslashreplace").decode("utf-8"))
            self._stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self._lost += len(lines)
            self._trouble = str(error)
        else:
            self._lost = 0

    def _about_lost(self) -> list[str]:
        if not self._lost:
            return []
        message = f"{self._lost} lines of this log were lost: {self._trouble}"
        if self.form == "json":
            record = {"time": self.stamp(), "level": "error", "logger": "stalwart.log", "message": message}
            return [json.dumps(record, ensure_ascii=False)]
        return [f"{self.stamp()} ERROR stalwart.log: {_one_line(message)}"]


class Syslog(StringIO):
    """The system's log as a stream of lines."""

    def __init__(self, name: str) -> None:
        super().__init__()
        syslog.openlog(name, syslog.LOG_PID, syslog.LOG_MAIL)

    def write(self, text: str) -> int:
        """Send each line as a message."""
        for line in text.splitlines():
            syslog.syslog(line)
        return len(text)


@implementer(ILogObserver)
class EventLog:
    """Writes `twisted.logger` events of the wanted level.

    What libraries tell at level info is shown from debug on, what they tell at debug only at trace.
    """

    def __init__(self, output: LogOutput, metrics: Metrics | None = None) -> None:
        self._output = output
        self._metrics = metrics

    def __call__(self, event: LogEvent) -> None:
        """Write one event, if its level is wanted."""
        level = event.get("log_level") or LogLevel.info
        name: str = level.name
        namespace: str = event.get("log_namespace") or "-"
        rank = _RANK[name]
        if not namespace.startswith("stalwart") and rank <= _RANK["info"]:
            rank -= 1
        if rank < self._output.rank:
            return
        if self._metrics is not None:
            self._metrics.log_lines.labels(name).inc()
        failure: Failure | None = event.get("log_failure")
        message = formatEvent(event)
        stamp = self._output.stamp(event.get("log_time"))
        if self._output.form == "json":
            self._output.write(self._as_json(event, stamp, name, namespace, message, failure))
            return
        line = f"{stamp} {name.upper():<5} {namespace}: {_one_line(message)}"
        if failure is not None:
            trace = "\n".join("    " + _one_line(part) for part in failure.getTraceback().rstrip().splitlines())
            line = f"{line}\n{trace}"
        self._output.write(line)

    @staticmethod
    def _as_json(event: LogEvent, stamp: str, level: str, namespace: str, message: str, failure: Failure | None) -> str:
        record: dict[str, object] = {"time": stamp, "level": level, "logger": namespace, "message": message}
        for key, value in event.items():
            if not key.startswith("log_") and key not in record and _is_scalar(value):
                record[key] = value
        if failure is not None:
            record["traceback"] = failure.getTraceback()
        return json.dumps(record, ensure_ascii=False)


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


class AccessLog:
    """One line per HTTP request."""

    def __init__(self, output: LogOutput, later: Later) -> None:
        self._output = output
        self._later = later

    def request(
        self,
        *,
        request_id: str,
        listener: str,
        client: str,
        method: str,
        path: str,
        protocol: str,
        status: int,
        octets: int,
        seconds: float,
        user: str | None,
        agent: str,
        peer: str | None = None,
    ) -> None:
        """Note an answered request. `path` comes without its query, which may hold secrets.

        `peer` is the socket's other end, told where it isn't the client.
        """
        if self._output.rank > _RANK["info"]:
            return
        stamp = self._output.stamp()
        if self._output.form == "json":
            record: dict[str, object] = {
                "time": stamp,
                "level": "info",
                "logger": "stalwart.access",
                "message": f"{method} {path} {status}",
                "request_id": request_id,
                "listener": listener,
                "client": client,
                "method": method,
                "path": path,
                "protocol": protocol,
                "status": status,
                "octets": octets,
                "seconds": round(seconds, 6),
                "user": user,
                "agent": agent,
            }
            if peer is not None and peer != client:
                record["peer"] = peer
            line = json.dumps(record, ensure_ascii=False)
        else:
            via = f" peer={peer}" if peer is not None and peer != client else ""
            line = (
                f"{stamp} INFO  stalwart.access: {client} {listener} {method} {path} {protocol} {status} {octets}B"
                f" {seconds * 1000:.1f}ms id={request_id} user={user or '-'}{via} agent={agent or '-'}"
            )
            if not line.isprintable():
                line = _one_line(line)
        if self._output.write_soon(line):
            self._later.callLater(_FLUSH_SECONDS, self._output.flush)
