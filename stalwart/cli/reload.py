"""`stalwart reload`: has the running daemon read its configuration again, and tells what became of it."""

from __future__ import annotations

import click

from stalwart.cli.control import tell
from stalwart.net.control import ReloadCommand


@click.command(short_help="Have the running daemon read its configuration again.")
@click.option("--force", is_flag=True, help="Also if that locks out whoever administers the server just now.")
@click.pass_obj
def reload(config_path: str | None, force: bool) -> None:
    """Have the running daemon read its configuration again, without dropping a connection.

    All or nothing: with any error in the file, everything stays as it was. Exit code 0 if it was done, 1 if it was
    refused or no daemon could be asked; the errors are printed as `stalwart check` prints them.
    """
    tell(config_path, ReloadCommand(force=force))
