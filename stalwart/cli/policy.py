"""`stalwart policy`: what the rules let in, and why."""

from __future__ import annotations

import click

from stalwart.cli.policy_explain import explain
from stalwart.cli.policy_replay import replay
from stalwart.cli.policy_table import table


@click.group(short_help="Explain the rules, try new ones, show what they let in.")
def policy() -> None:
    """What the rules in `http.allowed-endpoint` let in, and why. Nothing is changed, and no daemon is asked."""


policy.add_command(explain)
policy.add_command(replay)
policy.add_command(table)
