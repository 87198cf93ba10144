"""`stalwart reload`: has the running daemon read its configuration again, and tells what became of it."""

from __future__ import annotations

import socket

import click
import msgspec

from stalwart.cli.opening import load_settings
from stalwart.net.control import LONGEST_ANSWER, Answer, Command, ReloadCommand, control_path

_SECONDS = 60.0


class NoDaemon(Exception):
    """Nobody answers at the control socket; the text says where, and what to do."""


@click.command(short_help="Have the running daemon read its configuration again.")
@click.option("--force", is_flag=True, help="Also if that locks out whoever administers the server just now.")
@click.pass_obj
def reload(config_path: str | None, force: bool) -> None:
    """Have the running daemon read its configuration again, without dropping a connection.

    All or nothing: with any error in the file, everything stays as it was. Exit code 0 if it was done, 1 if it was
    refused or no daemon could be asked; the errors are printed as `stalwart check` prints them.
    """
    settings = load_settings(config_path)
    try:
        answer = ask(control_path(settings.data.path), ReloadCommand(force=force))
    except NoDaemon as error:
        click.echo(f"stalwart: {error}", err=True)
        raise SystemExit(1) from None
    for line in answer.lines:
        click.echo(line, err=not answer.done)
    raise SystemExit(0 if answer.done else 1)


def ask(path: str, command: Command) -> Answer:
    """Send a command to the daemon whose control socket is at `path`; raises NoDaemon."""
    received = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_SECONDS)
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
                "configuration; SIGHUP to its process does the same"
            ) from None
        except ConnectionRefusedError:
            raise NoDaemon(f"nobody listens at {path}: the daemon doesn't run") from None
        except PermissionError:
            raise NoDaemon(f"{path} is for root and the daemon's own user only: run this as one of them") from None
        except OSError as error:
            raise NoDaemon(f"no answer at {path}: {error.strerror or error}") from None
    try:
        return msgspec.json.decode(received, type=Answer)
    except msgspec.DecodeError:
        raise NoDaemon(f"the daemon at {path} closed without an answer: see its log") from None
