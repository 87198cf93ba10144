"""The real daemon behind a real HAProxy: who the client is, over every way that HAProxy can tell, and health checks."""

from __future__ import annotations

import base64
import http.client
import json
import re
import smtplib
import ssl
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import ADDRESS, PASSWORD, Daemon, free_port
from tests.live.haproxy import Haproxy

CLIENT = "127.0.0.77"
"""The address that the clients have; HAProxy itself comes from 127.0.0.1."""

WAYS = ("v1", "v2", "passed", "reencrypted", "socket", "mail", "fields")

SETTINGS = """\
[server.listener.proxied]
protocol = "http"
bind = ["127.0.0.1:{proxied}", "unix:{home}/http.sock"]
proxy.trusted-networks = ["127.0.0.1"]

[server.listener.proxied-tls]
protocol = "http"
bind = "127.0.0.1:{tls}"
tls.implicit = true
proxy.trusted-networks = ["127.0.0.1"]

[server.listener.proxied-lmtp]
protocol = "lmtp"
bind = "127.0.0.1:{lmtp}"
proxy.trusted-networks = ["127.0.0.1"]

[http]
use-x-forwarded = true
trusted-proxies = ["127.0.0.1"]
"""

CONFIGURATION = """\
defaults
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout check 5s
    default-server inter 200ms

listen v1
    mode tcp
    bind 127.0.0.1:{v1}
    server stalwart 127.0.0.1:{proxied} send-proxy check

listen v2
    mode tcp
    bind 127.0.0.1:{v2}
    option httpchk GET /healthz/ready
    server stalwart 127.0.0.1:{proxied} send-proxy-v2 check

listen passed
    mode tcp
    bind 127.0.0.1:{passed}
    option httpchk GET /healthz/ready
    server stalwart 127.0.0.1:{tls} send-proxy-v2 check check-ssl verify none

listen reencrypted
    mode http
    bind 127.0.0.1:{reencrypted}
    option httpchk GET /healthz/ready
    server stalwart 127.0.0.1:{tls} ssl verify none send-proxy-v2 check

listen socket
    mode tcp
    bind 127.0.0.1:{socket}
    server stalwart unix@{home}/http.sock send-proxy-v2 check

listen mail
    mode tcp
    bind 127.0.0.1:{mail}
    server stalwart 127.0.0.1:{lmtp} send-proxy-v2 check

listen fields
    mode http
    bind 127.0.0.1:{fields}
    option httpchk GET /healthz/ready
    option forwardfor
    http-request deny status 404 if {{ path_beg /metrics/ }}
    http-request del-header Forwarded
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    server stalwart 127.0.0.1:{plain} check
"""


class HaproxyTests(SynchronousTestCase):
    """One daemon and one HAProxy for all the ways."""

    def test_ways(self) -> None:
        """Each way brings the client's own address and scheme; health checks pass, and leave no complaint."""
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            ports = {name: free_port() for name in (*WAYS, "proxied", "tls", "lmtp")}
            settings = SETTINGS.format(home=home, **ports)
            with Daemon.start(home, extra_config=settings) as daemon:
                configuration = CONFIGURATION.format(home=home, plain=daemon.http_port, **ports)
                with Haproxy(home, configuration) as haproxy:
                    checks = dict.fromkeys(WAYS, "L4OK") | dict.fromkeys(
                        ("v2", "passed", "reencrypted", "fields"), "L7OK"
                    )
                    self.assertEqual(haproxy.checks(), checks, daemon.log)
                    for way in ("v1", "v2", "passed", "reencrypted", "socket", "fields"):
                        self._ask(daemon, way, ports[way])
                    self._deliver(daemon, ports["mail"])
                    time.sleep(0.5)  # a few more rounds of checks
                    self.assertEqual(haproxy.checks(), checks, daemon.log)
            after_start = daemon.log.partition("is ready")[2]
            self.assertEqual(re.findall(r".* (?:WARN|ERROR) .*", after_start), [])

    def _ask(self, daemon: Daemon, way: str, port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(CLIENT, 0))
        if way == "passed":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection = http.client.HTTPSConnection(
                "127.0.0.1", port, timeout=30, source_address=(CLIENT, 0), context=context
            )
        fields = {"Host": "mail.example.org", "Forwarded": "for=203.0.113.9", "X-Forwarded-For": "203.0.113.9"}
        connection.request("GET", f"/by-{way}", headers=fields if way == "fields" else {})
        answer = connection.getresponse()
        answer.read()
        self.assertEqual(answer.status, 404, way)
        line = _wait(daemon, f" /by-{way} ")
        self.assertIn(f" {CLIENT} ", line)
        self.assertIn(f" peer={'unix' if way == 'socket' else '127.0.0.1'} ", line)
        if way == "fields":
            credentials = base64.b64encode(f"{ADDRESS}:{PASSWORD}".encode()).decode()
            connection.request("GET", "/jmap/session", headers=fields | {"Authorization": f"Basic {credentials}"})
            session = json.loads(connection.getresponse().read())
            self.assertEqual(session["apiUrl"], "https://mail.example.org/jmap/")
        connection.close()

    def _deliver(self, daemon: Daemon, port: int) -> None:
        with smtplib.LMTP("127.0.0.1", port, source_address=(CLIENT, 0)) as client:
            client.sendmail("sender@example.net", [ADDRESS], b"Subject: through HAProxy\r\n\r\nbody\r\n")
        self.assertIn(f" peer={CLIENT} 250 ", _wait(daemon, "stalwart.delivery: "))


def _wait(daemon: Daemon, text: str) -> str:
    """The last line of the log with this text, once there is one."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if found := re.findall(f".*{re.escape(text)}.*", daemon.log):
            return str(found[-1])
        time.sleep(0.05)
    raise AssertionError(f"{text!r} is not in the log\n{daemon.log}")
