"""docs/cli.md names commands, options and exit codes that exist, and all of the commands and codes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("typer")
import typer.main

from phasic_models.cli import output
from phasic_models.cli.app import app

TEXT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
LINES = re.findall(r"`(ptd-cache [^`]+)`", TEXT) + re.findall(r"^    \$ (ptd-cache .+)$", TEXT, re.MULTILINE)


def test_every_command_is_shown():
    shown = [shlex.split(line)[1] for line in LINES]
    assert set(COMMANDS) <= set(shown)


@pytest.mark.parametrize("line", [line for line in LINES if not line.startswith("ptd-cache --")])
def test_commands_and_options_exist(line):
    _, name, *rest = shlex.split(line)
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {word for word in rest if word.startswith("-")} <= options


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_writes_json(name):
    assert "--json" in {option for parameter in COMMANDS[name].params for option in parameter.opts}


def test_every_exit_code_is_listed():
    listed = [int(code) for code in re.findall(r"^\| (\d) \|", TEXT, re.MULTILINE)]
    codes = [output.FOUND_PROBLEMS, output.USAGE, output.NOT_FOUND, output.DAMAGED, output.NETWORK]
    assert listed == [0, *codes, output.INCOMPATIBLE, output.DISK]
