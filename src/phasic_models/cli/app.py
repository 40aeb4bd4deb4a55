"""The application: every command, in the order in which ``--help`` lists them."""

from __future__ import annotations

from typing import Annotated

import typer

from . import checks, libraries, models

app = typer.Typer(
    name="ptd-cache",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Install, inspect, evaluate, check and publish libraries of phase-type models.",
    epilog="Exit codes: 0 done, 1 a check found problems, 2 wrong usage, 3 not found, 4 damaged file, 5 network, "
    "6 incompatible versions, 7 disk or permission. `ptd-cache COMMAND --help` has examples.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from ..compat import installed_version

        typer.echo(f"ptd-cache {installed_version('phasic-models') or '(not installed, run from its source)'}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Install, inspect, evaluate, check and publish libraries of phase-type models."""


for name, command in {**libraries.COMMANDS, **models.COMMANDS, **checks.COMMANDS}.items():
    app.command(name)(command)
