"""Log lines: their form, which levels show, and that a peer can't forge one."""

from __future__ import annotations

import errno
import io
import json
import syslog

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, Logger, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from stalwart.ops.log import AccessLog, EventLog, Format, Level, LogOutput, Syslog


@implementer(ILogObserver)
class _AtOneTime:
    """Gives every event the same time."""

    def __init__(self, observer: EventLog) -> None:
        self._observer = observer

    def __call__(self, event: LogEvent) -> None:
        """Pass the event on."""
        self._observer({**event, "log_time": 1_800_000_000.25})


class _Full(io.StringIO):
    """A file on a disk without room."""

    room = False

    def write(self, text: str) -> int:
        """Refuse, as long as there is no room."""
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


class LogTests(SynchronousTestCase):
    """Events and access lines as they stand in the file."""

    def make(self, form: Format = "text", level: Level = "info") -> tuple[io.StringIO, Logger, AccessLog, Clock]:
        """A log into memory at the time 1,800,000,000.25."""
        stream = io.StringIO()
        clock = Clock()
        output = LogOutput(stream, form, level, clock=lambda: 1_800_000_000.25)
        logger = Logger(
            namespace="stalwart.test",
            observer=_AtOneTime(EventLog(output)),
        )
        return stream, logger, AccessLog(output, clock), clock

    def access(self, log: AccessLog, path: str = "/jmap/", peer: str | None = None) -> None:
        """An access line for a request to a path."""
        log.request(
            request_id="r1",
            listener="http",
            client="192.0.2.1",
            method="GET",
            path=path,
            protocol="HTTP/1.1",
            status=200,
            octets=17,
            seconds=0.0123,
            user=None,
            agent="curl/8",
            peer=peer,
        )

    def test_text_event(self) -> None:
        """An event is a line with time, level, place and message."""
        stream, logger, _, _ = self.make()
        logger.info("delivered {id} to {rcpt}", id="d1", rcpt="ada@example.org")
        self.assertEqual(
            stream.getvalue(),
            "2027-01-15T08:00:00.250Z INFO  stalwart.test: delivered d1 to ada@example.org\n",
        )

    def test_json_event(self) -> None:
        """As JSON the fields stand beside the message, so that they can be filtered."""
        stream, logger, _, _ = self.make("json")
        logger.warn("slow {id}", id="d1", seconds=1.5, thing=object())
        record = json.loads(stream.getvalue())
        self.assertEqual((record["level"], record["message"], record["id"]), ("warn", "slow d1", "d1"))
        self.assertEqual(record["seconds"], 1.5)
        self.assertNotIn("thing", record)

    def test_levels(self) -> None:
        """Each level shows itself and what is graver."""
        shown = {}
        for level in ("error", "warn", "info", "debug", "trace"):
            stream, logger, _, _ = self.make(level=level)
            for name in ("debug", "info", "warn", "error", "critical"):
                getattr(logger, name)("x")
            shown[level] = len(stream.getvalue().splitlines())
        self.assertEqual(shown, {"error": 2, "warn": 3, "info": 4, "debug": 5, "trace": 5})

    def test_libraries_are_quieter(self) -> None:
        """What a library tells at info is shown from debug on, its warnings always."""
        expected: tuple[tuple[Level, int], ...] = (("info", 1), ("debug", 2), ("trace", 3))
        for level, lines in expected:
            stream = io.StringIO()
            output = LogOutput(stream, "text", level)
            logger = Logger(namespace="twisted.web", observer=LogPublisher(EventLog(output)))
            logger.debug("d")
            logger.info("i")
            logger.warn("w")
            self.assertEqual(len(stream.getvalue().splitlines()), lines, level)

    def test_line_can_not_be_forged(self) -> None:
        """Line breaks and control characters from a peer are written as escapes."""
        stream, logger, access, clock = self.make()
        logger.info("from {who}", who="a\r\n2027 INFO forged\x1b[2J\u2028")
        self.access(access, "/a\nb\x9b")
        clock.advance(1)
        lines = stream.getvalue().splitlines()
        self.assertEqual(len(lines), 2)
        self.assertIn(r"a\r\n2027 INFO forged\x1b[2J\u2028", lines[0])
        self.assertIn(r"/a\nb\x9b", lines[1])

    def test_disk_without_room(self) -> None:
        """A log that can't be written stops nobody; when it can be written again, it says how much is missing."""
        forms: tuple[Format, ...] = ("text", "json")
        for form in forms:
            stream = _Full()
            clock = Clock()
            output = LogOutput(stream, form, "info")
            access = AccessLog(output, clock)
            output.write("lost")
            self.access(access)
            clock.advance(1)
            stream.room = True
            output.write("kept")
            first, second = stream.getvalue().splitlines()
            self.assertIn("2 lines of this log were lost: [Errno 28] No space left on device", first)
            self.assertEqual(second, "kept")
            output.write("again")
            self.assertEqual(len(stream.getvalue().splitlines()), 3)

    def test_what_is_no_unicode(self) -> None:
        """A lone surrogate, as in the name of a file, is written as an escape."""
        stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        LogOutput(stream, "text", "info").write("file \udcff")
        self.assertEqual(stream.buffer.getvalue(), b"file \\udcff\n")

    def test_syslog(self) -> None:
        """Each line is a message of the system's log, under the name that twistd was given."""
        messages: list[str] = []
        opened: list[tuple[object, ...]] = []
        self.patch(syslog, "openlog", lambda *arguments: opened.append(arguments))
        self.patch(syslog, "syslog", messages.append)
        output = LogOutput(Syslog("mail1"), "text", "info")
        output.write_soon("one")
        output.write("two\n    traceback")
        self.assertEqual(messages, ["one", "two", "    traceback"])
        self.assertEqual(opened[0][0], "mail1")

    def test_failure_has_its_traceback(self) -> None:
        """A failure is followed by its traceback, indented."""
        stream, logger, _, _ = self.make()
        try:
            raise ValueError("broken")
        except ValueError:
            logger.failure("no luck", failure=Failure())
        lines = stream.getvalue().splitlines()
        self.assertIn("CRITICAL stalwart.test: no luck", lines[0])
        self.assertTrue(all(line.startswith("    ") for line in lines[1:]))
        self.assertIn("ValueError: broken", lines[-1])

    def test_access_lines_wait_a_moment(self) -> None:
        """Access lines are written together after a quarter of a second, and before a later event."""
        stream, logger, access, clock = self.make()
        self.access(access)
        self.access(access)
        self.assertEqual(stream.getvalue(), "")
        clock.advance(0.25)
        self.assertEqual(len(stream.getvalue().splitlines()), 2)
        self.access(access, "/third")
        logger.info("fourth")
        self.assertIn("/third", stream.getvalue().splitlines()[2])
        self.assertIn("fourth", stream.getvalue().splitlines()[3])

    def test_access_line(self) -> None:
        """The line names client, listener, request, answer, time and id."""
        stream, _, access, clock = self.make()
        self.access(access)
        clock.advance(1)
        self.assertEqual(
            stream.getvalue(),
            "2027-01-15T08:00:00.250Z INFO  stalwart.access: 192.0.2.1 http GET /jmap/ HTTP/1.1 200 17B 12.3ms"
            " id=r1 user=- agent=curl/8\n",
        )

    def test_access_line_of_a_proxy(self) -> None:
        """The socket's other end is told where it isn't the client."""
        forms: tuple[Format, ...] = ("text", "json")
        for form in forms:
            for peer, told in (("192.0.2.1", False), ("10.0.0.1", True), (None, False)):
                stream, _, access, clock = self.make(form)
                self.access(access, peer=peer)
                clock.advance(1)
                if form == "text":
                    end = " id=r1 user=- peer=10.0.0.1 agent=curl/8\n" if told else " id=r1 user=- agent=curl/8\n"
                    self.assertTrue(stream.getvalue().endswith(end), stream.getvalue())
                else:
                    self.assertEqual(json.loads(stream.getvalue()).get("peer"), "10.0.0.1" if told else None)

    def test_access_line_as_json(self) -> None:
        """The same as one JSON object."""
        stream, _, access, clock = self.make("json")
        self.access(access)
        clock.advance(1)
        record = json.loads(stream.getvalue())
        self.assertEqual((record["request_id"], record["status"], record["seconds"]), ("r1", 200, 0.0123))
