"""Kinds of values that several commands take."""

from __future__ import annotations

from typing import cast

import click

from stalwart.config.kinds import DURATION, NETWORK, BadValue, IPNetwork


class NetworkType(click.ParamType[IPNetwork]):
    """An IP address or network."""

    name = "address"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> IPNetwork:
        """The network, or a usage error that says what was wanted."""
        try:
            return cast(IPNetwork, NETWORK.read(value, ""))
        except BadValue as error:
            self.fail(f"found {value!r}; wanted {str(error) or NETWORK.wanted}", param, ctx)


class DurationType(click.ParamType[float | None]):
    """A duration with its unit, in seconds; None for no end."""

    name = "duration"

    def __init__(self, endless: str) -> None:
        """`endless` is the word for no end that goes with the option's name."""
        self.endless = endless

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Seconds, or a usage error that says what was wanted."""
        if value == self.endless:
            return None
        try:
            return cast(float, DURATION.read(value, ""))
        except BadValue as error:
            self.fail(f'found {value!r}; wanted {str(error) or DURATION.wanted}, or "{self.endless}"', param, ctx)
