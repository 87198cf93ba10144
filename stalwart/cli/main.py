"""The entry point of the `stalwart` command."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper

import click

from stalwart import __version__
from stalwart.cli.account_access import account
from stalwart.cli.apikey import apikey
from stalwart.cli.app_password import app_password
from stalwart.cli.ban import ban
from stalwart.cli.cert import cert
from stalwart.cli.config import check, config
from stalwart.cli.dkim import dkim
from stalwart.cli.dns import dns
from stalwart.cli.domain import domain
from stalwart.cli.group import group
from stalwart.cli.importing import import_mail
from stalwart.cli.mailing_list import mailing_list
from stalwart.cli.oauth_client import oauth_client
from stalwart.cli.oauth_key import oauth_key
from stalwart.cli.policy import policy
from stalwart.cli.queue import queue
from stalwart.cli.reload import reload
from stalwart.cli.role import role
from stalwart.cli.token import token
from stalwart.store import StoreError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="stalwart", message="%(prog)s %(version)s")
@click.option(
    "-c",
    "--config",
    "config_path",
    metavar="FILE",
    help="The configuration file. Without it: $STALWART_CONFIG, then /etc/stalwart/stalwart.toml, then defaults.",
)
@click.pass_context
def stalwart(context: click.Context, config_path: str | None) -> None:
    """Administer a stalwart mail server.

    Accounts, domains and mail are changed in the store directly, so these commands work whether or not the daemon
    runs. Start the daemon with `twistd stalwart`.
    """
    context.obj = config_path


stalwart.add_command(check)
stalwart.add_command(config)
stalwart.add_command(account)
stalwart.add_command(app_password)
stalwart.add_command(apikey)
stalwart.add_command(role)
stalwart.add_command(group)
stalwart.add_command(mailing_list)
stalwart.add_command(domain)
stalwart.add_command(dkim)
stalwart.add_command(dns)
stalwart.add_command(ban)
stalwart.add_command(cert)
stalwart.add_command(import_mail)
stalwart.add_command(oauth_client)
stalwart.add_command(oauth_key)
stalwart.add_command(token)
stalwart.add_command(policy)
stalwart.add_command(queue)
stalwart.add_command(reload)


def main() -> None:
    """Run the command; errors of the store are one line, not a traceback."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for a terminal without Unicode
    try:
        stalwart(prog_name="stalwart")
    except StoreError as error:
        click.echo(f"stalwart: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output (`| head`) left; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
