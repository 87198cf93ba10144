"""How the commands ask the running daemon for something: by its control socket."""

from __future__ import annotations

import socket
from typing import NoReturn

import click
import msgspec

from stalwart.cli.opening import load_settings
from stalwart.net.control import LONGEST_ANSWER, Answer, Command, control_path

_SECONDS = 60.0


class NoDaemon(Exception):
    """Nobody answers at the control socket; the text says where, and what to do."""


def tell(config_path: str | None, command: Command, *, seconds: float = _SECONDS) -> NoReturn:
    """Have the daemon do something, print what it answers, and leave: with 0 if it was done, with 1 if not.

    `seconds` is how long the answer may take.
    """
    settings = load_settings(config_path)
    try:
        answer = _ask(control_path(settings.data.path), command, seconds)
    except NoDaemon as error:
        click.echo(f"stalwart: {error}", err=True)
        raise SystemExit(1) from None
    for line in answer.lines:
        click.echo(line, err=not answer.done)
    raise SystemExit(0 if answer.done else 1)


def _ask(path: str, command: Command, seconds: float) -> Answer:
    """Send a command to the daemon whose control socket is at `path`; raises NoDaemon."""
    received = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(seconds)
        try:
            sock.connect(path)
            sock.sendall(msgspec.json.encode(command) + b"\n")
            while not received.endswith(b"\n") and len(received) <= LONGEST_ANSWER:
                data = sock.recv(65_536)
                if not data:
                    break
                received += data
        except FileNotFoundError:
            raise NoDaemon(
                f"there is no control socket at {path}: no daemon runs on this data, or it runs with another "
                "configuration"
            ) from None
        except ConnectionRefusedError:
            raise NoDaemon(f"nobody listens at {path}: the daemon doesn't run") from None
        except TimeoutError:
            raise NoDaemon(f"the daemon at {path} has not answered in {seconds:g} s: see its log") from None
        except PermissionError:
            raise NoDaemon(f"{path} is for root and the daemon's own user only: run this as one of them") from None
        except OSError as error:
            raise NoDaemon(f"no answer at {path}: {error.strerror or error}") from None
    try:
        return msgspec.json.decode(received, type=Answer)
    except msgspec.DecodeError:
        raise NoDaemon(f"the daemon at {path} closed without an answer: see its log") from None
