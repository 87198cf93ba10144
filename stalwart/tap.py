"""The `twistd stalwart` command: reads the configuration, prints every error in it, and hands over to `app`."""

from __future__ import annotations

import datetime
import os
import socket
import sys
from typing import TextIO, cast

from twisted.application.service import IService, IServiceCollection
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile

from stalwart import __version__, config
from stalwart.app import Daemon
from stalwart.ops.log import EventLog, LogOutput
from stalwart.ops.metrics import Metrics


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
    metrics: Metrics
    output: LogOutput

    def opt_version(self) -> None:
        """Print the version and leave."""
        print(f"stalwart {__version__}")  # noqa: T201 - this is the command's answer
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Load the settings; every error in them is told at once, and the exit code is 1."""
        try:
            path = config.find_config(self["config"], os.environ)
            now = datetime.datetime.now(datetime.UTC)
            self.settings = config.load(path, os.environ, hostname=socket.gethostname(), now=now)
        except config.ConfigErrors as errors:
            sys.stderr.write(f"{errors}\n")
            raise SystemExit(1) from None
        self.metrics = Metrics(__version__)
        self.output = LogOutput(self._log_stream(), self.settings.log_format, self.settings.log_level)

    def _log_stream(self) -> TextIO:
        path = self.parent["logfile"]
        if path == "-" or (not path and self.foreground):
            return sys.stdout
        return cast(TextIO, LogFile.fromFullPath(path or "twistd.log"))

    @property
    def foreground(self) -> bool:
        """Whether twistd stays in the foreground, so that standard error reaches a person."""
        return bool(self.parent["nodaemon"] or self.parent["debug"])


class LoggingDaemon(Daemon):
    """The daemon, with its log in place of twistd's."""

    def __init__(self, options: Options, reactor: object) -> None:
        super().__init__(
            options.settings, reactor, metrics=options.metrics, output=options.output, foreground=options.foreground
        )
        self._observer = None if options.parent.get("syslog") else EventLog(options.output, options.metrics)

    def setServiceParent(self, parent: IServiceCollection) -> None:
        """Become the application's service, and its log; `--logger` and `--syslog` go before."""
        if self._observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)  # type: ignore[no-untyped-call]
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]


def makeService(options: Options) -> IService:
    """The service that `twistd stalwart` runs."""
    from twisted.internet import reactor

    return LoggingDaemon(options, reactor)
