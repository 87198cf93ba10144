"""How the commands reach the store that the configuration names."""

from __future__ import annotations

import datetime
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from stalwart import config
from stalwart.http.rules import check_rule
from stalwart.store import Store, StoreError, open_blobs


def load_settings(config_path: str | None, *, code: int = 1) -> config.Settings:
    """The settings, or every error of the file on standard error and exit code `code`."""
    try:
        path = config.find_config(config_path, os.environ)
        now = datetime.datetime.now(datetime.UTC)
        return config.load(path, os.environ, hostname=socket.gethostname(), now=now, check_rule=check_rule)
    except config.ConfigErrors as errors:
        click.echo(str(errors), err=True)
        raise SystemExit(code) from None


@contextmanager
def open_store(config_path: str | None) -> Iterator[Store]:
    """The store, opened beside a daemon that may be running.

    Run by root on a folder of another user, the command becomes that user first: files made by root would stop the
    daemon from writing.
    """
    settings = load_settings(config_path)
    become_owner(Path(settings.data.path).parent)
    try:
        store = Store.open(settings.data.path, open_blobs(settings.blob), clock=time.time, exclusive=False)
    except StoreError as error:
        if isinstance(error.__cause__, PermissionError):
            raise StoreError(f"{error}; run this as root, or as the user that the daemon runs as") from error
        raise
    try:
        yield store
    finally:
        store.close()


def become_owner(folder: Path) -> None:
    """As root, become the user that a folder, or the one it is to lie in, belongs to. Raises StoreError."""
    if os.geteuid() != 0:
        return
    while not folder.exists():
        folder = folder.parent
    owner = folder.stat()
    if owner.st_uid != 0:
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
        if not os.access(os.__file__, os.R_OK):
            raise StoreError(
                f"the Python of this program lies in {Path(os.__file__).parent}, where {folder}'s owner can't read,"
                " nor could the daemon: install the program with a Python for all users, such as /usr/bin/python3"
            )
