"""policy."""

import click


@click.command("policy")
def command() -> None:
    """To be written."""
