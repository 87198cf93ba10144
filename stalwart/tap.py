"""The `twistd stalwart` command: reads the configuration, prints every error in it, and hands over to `app`."""

from __future__ import annotations

import datetime
import os
import signal
import socket
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import TextIO, cast

from twisted.application.service import IService, IServiceCollection
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile

from stalwart import __version__, config
from stalwart.app import Daemon
from stalwart.http.rules import check_rule
from stalwart.ops.log import EventLog, LogOutput, Syslog
from stalwart.ops.metrics import Metrics

_log = Logger(namespace="stalwart")


class Options(usage.Options):
    """The options after `twistd stalwart`."""

    optParameters = [
        [
            "config",
            "c",
            None,
            "The configuration file. Without it: $STALWART_CONFIG, then /etc/stalwart/stalwart.toml, then defaults "
            "(HTTP on 127.0.0.1:8080, LMTP on 127.0.0.1:8024, data in $STALWART_HOME or ./stalwart-data).",
        ]
    ]
    longdesc = (
        "Mail over HTTP: receives mail by LMTP and serves it by JMAP. `stalwart check FILE` tells every error of a "
        "configuration, `stalwart config reference` explains every setting, `stalwart account create` makes an account."
    )
    parent: usage.Options

    settings: config.Settings
    path: str | None
    metrics: Metrics
    output: LogOutput
    log_file: LogFile | None

    def opt_version(self) -> None:
        """Print the version and leave."""
        print(f"stalwart {__version__}")  # noqa: T201 - this is the command's answer
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Load the settings; every error in them is told at once, and the exit code is 1."""
        try:
            self.path = config.find_config(self["config"], os.environ)
            self.settings = _load(self.path)
        except config.ConfigErrors as errors:
            sys.stderr.write(f"{errors}\n")
            raise SystemExit(1) from None
        self.metrics = Metrics(__version__)
        # A later reload reads the same file, in whatever folder the process works then.
        self.path = None if self.path is None else os.path.abspath(self.path)
        self.log_file = None if self.parent.get("syslog") else self._open_log_file()
        self.output = LogOutput(self._log_stream(), self.settings.log_format, self.settings.log_level)

    def _log_stream(self) -> TextIO:
        if self.parent.get("syslog"):
            return Syslog(self.parent["prefix"])
        return cast(TextIO, self.log_file) if self.log_file is not None else _standard_output()

    def _open_log_file(self) -> LogFile | None:
        """The file to log into, None for standard output. One that can't be opened ends the start with 1."""
        path = self.parent["logfile"]
        if path == "-" or (not path and self.foreground):
            return None
        try:
            return cast(LogFile, LogFile.fromFullPath(path or "twistd.log"))
        except OSError as error:
            sys.stderr.write(f"stalwart: can't write the log {path or 'twistd.log'}: {error.strerror or error}\n")
            raise SystemExit(1) from None

    def reload(self) -> config.Settings:
        """The settings as the file has them now; raises ConfigErrors."""
        return _load(self.path)

    @property
    def foreground(self) -> bool:
        """Whether twistd stays in the foreground, so that standard error reaches a person."""
        return bool(self.parent["nodaemon"] or self.parent["debug"])


def _load(path: str | None) -> config.Settings:
    now = datetime.datetime.now(datetime.UTC)
    return config.load(path, os.environ, hostname=socket.gethostname(), now=now, check_rule=check_rule)


def _standard_output() -> TextIO:
    """Standard output, in UTF-8 whatever the locale is; nowhere, if it was closed."""
    if sys.stdout is None:
        return open(os.devnull, "w", encoding="utf-8")
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    return sys.stdout


class LoggingDaemon(Daemon):
    """The daemon, with its log in place of twistd's."""

    def __init__(self, options: Options, reactor: object) -> None:
        super().__init__(
            options.settings,
            reactor,
            metrics=options.metrics,
            output=options.output,
            foreground=options.foreground,
            load=options.reload,
        )
        self._log_file = options.log_file
        self._observer = EventLog(options.output, options.metrics)

    def setServiceParent(self, parent: IServiceCollection) -> None:
        """Become the application's service, and its log; `--logger` goes before."""
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)  # type: ignore[no-untyped-call]
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        """Take the signals that would otherwise end the process in the middle of its work."""
        self._on_signal(signal.SIGUSR1, self._rotate)
        # A terminal that is closed sends SIGHUP: then there is nobody left to stop the daemon.
        on_terminal = sys.__stdin__ is not None and sys.__stdin__.isatty()
        self._on_signal(signal.SIGHUP, self._leave if on_terminal else self._on_hangup)
        super().privilegedStartService()

    def stopService(self) -> Deferred[None]:
        """Stop; further signals to do so are answered in the log."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._reactor.callFromThread(self._stops_already))
        return super().stopService()

    def _on_signal(self, number: signal.Signals, act: Callable[[], None]) -> None:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda *_: self._reactor.callFromThread(act))

    def _rotate(self) -> None:
        """Begin a new log file. One that was moved away, as logrotate does, is only opened again."""
        log_file = self._log_file
        if log_file is None:
            _log.info("SIGUSR1: the log goes to no file, nothing to rotate")
        elif os.path.exists(log_file.path):
            log_file.rotate()
        else:
            log_file.reopen()

    def _stops_already(self) -> None:
        _log.info("stopping already: running work has ten seconds to finish; kill -9 ends it at once")

    def _leave(self) -> None:
        _log.info("SIGHUP: the terminal was closed")
        self._reactor.stop()

    def _on_hangup(self) -> None:
        _log.info("SIGHUP: reading the configuration again")
        self.reload().addErrback(lambda failure: _log.failure("the reload failed", failure))


def makeService(options: Options) -> IService:
    """The service that `twistd stalwart` runs."""
    from twisted.internet import reactor

    return LoggingDaemon(options, reactor)
