"""`make run`: a server to try things out, with an account and a small mailbox, all under ./run."""

from __future__ import annotations

import datetime
import os
import re
import subprocess
import sys
from pathlib import Path

from stalwart.tls import self_signed

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "run"
CONFIG = RUN / "stalwart.toml"
CERTIFICATE = RUN / "localhost.pem"
KEY = RUN / "localhost-key.pem"
READY = RUN / ".ready"
MAIL = ROOT / "etc" / "demo" / "mail"
ADDRESS = "ada@example.org"
SEEN = dict.fromkeys(("Archive", "Drafts", "Sent", "Trash"), ("--seen",))
BIN = Path(sys.executable).parent

SETTINGS = f"""\
# Written by `make run`. Change it as you like; remove the folder `run` to start anew.
# Every setting is explained in docs/configuration.md and by `stalwart config reference`.

[server]
hostname = "localhost"

[server.listener.http]
protocol = "http"
bind = "127.0.0.1:8080"

[server.listener.https]
protocol = "http"
bind = "127.0.0.1:8443"
tls.implicit = true

[server.listener.lmtp]
protocol = "lmtp"
bind = "127.0.0.1:8024"

[certificate.localhost]
cert = "%{{file:{CERTIFICATE}}}%"
private-key = "%{{file:{KEY}}}%"

[storage]
data = "db"
fts = "db"
blob = "files"

[store.db]
type = "sqlite"
path = "{RUN / "data" / "stalwart.sqlite"}"

[store.files]
type = "fs"
path = "{RUN / "data" / "blobs"}"
"""


def stalwart(*arguments: str) -> str:
    """Run the admin command on the configuration of ./run; leave with its error if it fails."""
    command = [str(BIN / "stalwart"), "--config", str(CONFIG), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode:
        raise SystemExit(f"make run: `{' '.join(command)}` failed (exit code {done.returncode})")
    return done.stdout


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def make_files() -> None:
    """The configuration and the certificate, if they are not there."""
    RUN.mkdir(mode=0o700, exist_ok=True)
    if not (CERTIFICATE.exists() and KEY.exists()):
        certificate, key = self_signed(["localhost", "127.0.0.1"], now=datetime.datetime.now(datetime.UTC))
        write_private(KEY, key)
        CERTIFICATE.write_text(certificate)
    if not CONFIG.exists():
        CONFIG.write_text(SETTINGS)


def make_account() -> str:
    """The account with its mail; returns its password. Goes on where an earlier run was interrupted."""
    if '"example.org"' not in stalwart("domain", "list", "--json"):
        stalwart("domain", "create", "example.org")
    there = f'"{ADDRESS}"' in stalwart("account", "list", "--json")
    command = ("passwd", ADDRESS) if there else ("create", ADDRESS, "--name", "Ada Example", "--admin")
    found = re.search(r"password: (\S+)", stalwart("account", *command))
    if found is None:
        raise SystemExit("make run: `stalwart account` printed no password")
    for folder in sorted(MAIL.iterdir()):
        stalwart("import", ADDRESS, str(folder), "--mailbox", folder.name, *SEEN.get(folder.name, ()))
    READY.touch()
    return found[1]


def main() -> None:
    """Make what is missing, tell how to reach the server, and become the daemon."""
    make_files()
    password = None if READY.exists() else make_account()
    user = f"{ADDRESS}:{password}" if password else ADDRESS  # without a password curl asks for it
    print(f"""
stalwart on this machine (configuration: {CONFIG.relative_to(ROOT)}, stop with Ctrl-C)

  HTTP   http://127.0.0.1:8080
  HTTPS  https://localhost:8443   certificate to trust: {CERTIFICATE.relative_to(ROOT)}
  LMTP   127.0.0.1:8024
  user   {ADDRESS}""")
    if password:
        print(f"  password   {password}   (shown this once)")
    else:
        print(
            f"  password   as printed at the first start; a new one: "
            f"{os.path.relpath(BIN / 'stalwart', ROOT)} -c {CONFIG.relative_to(ROOT)} account passwd {ADDRESS}"
        )
    print(
        f"""
Read its mail:
  curl -u '{user}' http://127.0.0.1:8080/jmap/session
  curl -u '{user}' -H 'Content-Type: application/json' http://127.0.0.1:8080/jmap/ -d '{{"using":\
["urn:ietf:params:jmap:core","urn:ietf:params:jmap:mail"],"methodCalls":[["Mailbox/get",{{"accountId":"A1",\
"properties":["name","totalEmails"]}},"0"]]}}'
""",
        flush=True,
    )
    os.chdir(ROOT)
    twistd = str(BIN / "twistd")
    os.execv(twistd, [twistd, "--nodaemon", "--pidfile=", "stalwart", "--config", str(CONFIG)])  # noqa: S606


if __name__ == "__main__":
    main()
