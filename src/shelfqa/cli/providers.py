"""`shelfqa providers`."""

from __future__ import annotations

import json

import click

from shelfqa.cli.options import json_option


@click.command(epilog="Example:  shelfqa providers --json")
@json_option
def providers(as_json: bool) -> None:
    """List who can write questions, answer and judge: hosted models, and what each needs.

    Keys are read from the environment alone; whether one is set is all that is told of it.
    """
    from shelfqa.providers.about import about_providers

    found = about_providers()
    if as_json:
        click.echo(json.dumps([one._asdict() for one in found]))
        return
    from shelfqa.cli.screen import columns, screen

    table = columns(header=("provider", "speaks to", "package", "key", "base URL", "batches"), wrapped=1)
    for one in found:
        package = one.package + ("" if one.installed else " (missing)") if one.package else ""
        key = f"{' or '.join(one.key_variables)} {'(set)' if one.key_set else '(not set)'}" if one.key_variables else ""
        table.add_row(one.name, one.about, package, key, one.base_url_variable, "yes" if one.batches else "")
    screen().print(table)
    click.echo("Missing packages: pip install 'shelfqa[providers]'; for local: pip install 'shelfqa[models,local]'.")
