"""`python -m tests.live.testssl [FOLDER]`: Debian's testssl.sh against the daemon, and what it found as a table.

Exit code 1 if there is anything of severity MEDIUM or worse that lies with the daemon.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.live.daemon import Daemon, free_port
from tests.live.tls import Authority

NAME = "localhost"

CONFIG = """
[server.listener.https]
protocol = "http"
bind = "127.0.0.1:{port}"
tls.implicit = true

[certificate.main]
cert = "%{{file:{cert}}}%"
private-key = "%{{file:{key}}}%"

[http]
hsts = true
"""

SEVERITIES = ("OK", "INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL", "WARN", "FATAL")
_BAD = ("MEDIUM", "HIGH", "CRITICAL", "FATAL")

# The authority is the tests' own, and has no list of what it revoked.
ELSEWHERE = frozenset(("cert_revocation",))


def run(folder: Path, *options: str, seconds: float = 900.0) -> list[dict[str, str]]:
    """What testssl.sh says of a daemon that runs meanwhile in `folder`; `options` are its own."""
    authority = Authority("Authority of the tests")
    trusted = folder / "ca.pem"
    authority.write(trusted)
    cert, key = authority.issue(folder, NAME, days=80)
    port, report = free_port(), folder / "testssl.json"
    daemon = Daemon.start(folder / "daemon", extra_config=CONFIG.format(port=port, cert=cert, key=key))
    try:
        subprocess.run(
            [
                "testssl",
                "--warnings",
                "off",
                "--color",
                "0",
                "--quiet",
                "--nodns",
                "none",
                "--ip",
                "127.0.0.1",
                "--add-ca",
                str(trusted),
                "--jsonfile",
                str(report),
                *options,
                f"https://{NAME}:{port}/healthz/live",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,  # its exit code counts findings
        )
        found: list[dict[str, str]] = json.loads(report.read_text())
        return found
    finally:
        daemon.close()


def ours(found: list[dict[str, str]]) -> list[dict[str, str]]:
    """The findings of severity MEDIUM or worse that lie with the daemon."""
    return [one for one in found if one["severity"] in _BAD and one["id"].partition(" ")[0] not in ELSEWHERE]


def main(arguments: list[str]) -> int:
    """Run all checks, print what they found."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments[0] if arguments else temporary)
        os.makedirs(folder, exist_ok=True)
        found = run(folder.resolve())
    for one in found:
        print(f"{one['severity']:<9} {one['id']:<40} {one['finding']}")
    counted = Counter(one["severity"] for one in found)
    print(", ".join(f"{severity} {counted[severity]}" for severity in SEVERITIES if counted[severity]))
    bad = ours(found)
    for one in bad:
        print(f"to be mended: {one['severity']} {one['id']}: {one['finding']}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
