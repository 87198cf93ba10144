"""`stalwart check` and `stalwart config`: what is wrong with a configuration, what results from it, what it can say."""

from __future__ import annotations

import click

from stalwart.cli.opening import load_settings
from stalwart.cli.output import as_json
from stalwart.config import Settings
from stalwart.config.document import read_document
from stalwart.config.errors import printable
from stalwart.config.old_toml import as_toml
from stalwart.config.reference import reference as reference_text
from stalwart.config.show import as_text, as_values


def _load(argument: str | None) -> Settings:
    """The settings, with warnings on standard error; or all errors there, and exit code 1."""
    settings = load_settings(argument)
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    return settings


@click.command(short_help="Report every error of a configuration.")
@click.argument("file", required=False)
@click.pass_obj
def check(config_path: str | None, file: str | None) -> None:
    """Report every error of a configuration; exit code 1 if there is any.

    Without FILE, the configuration that the daemon would read is checked. Certificates and files that it names
    are read too; nothing is changed.
    """
    settings = _load(file if file is not None else config_path)
    name = "the built-in defaults" if settings.source is None else printable(settings.source)
    listeners = ", ".join(
        f"{printable(listener.id)} ({listener.protocol}{' with TLS' if listener.tls_implicit else ''} on "
        f"{', '.join(printable(str(address)) for address in listener.bind)})"
        for listener in settings.listeners
    )
    warnings = len(settings.warnings)
    verdict = "no errors" + (f", {warnings} warning{'s' if warnings > 1 else ''}" if warnings else "")
    click.echo(f"{name}: {verdict}. Listeners: {listeners}.")


@click.group(short_help="The settings in effect, or what each of them means.")
def config() -> None:
    """Show the settings in effect, explain all settings, or turn an old file into TOML."""


@config.command()
@click.option("--json", "json_", is_flag=True, help="An array of objects with key, value and source.")
@click.pass_obj
def show(config_path: str | None, json_: bool) -> None:
    """Print the effective settings and where each comes from. Secrets are masked."""
    settings = _load(config_path)
    click.echo(as_json(list(as_values(settings))) if json_ else as_text(settings))


@config.command()
@click.argument("file")
def convert(file: str) -> None:
    """Print the TOML that means the same as FILE, a YAML file of stalwart-jmap.

    Nothing is changed. A FILE with errors is not converted: all of them are reported, and the exit code is 1.
    """
    _load(file)
    old = read_document(file).old
    if old is None:
        raise click.ClickException(f"{printable(file)} is no file of stalwart-jmap: their names end in .yml or .yaml")
    click.echo(as_toml(old, file), nl=False)


@config.command()
def reference() -> None:
    """Print the documentation of every setting, in Markdown."""
    click.echo(reference_text(), nl=False)
