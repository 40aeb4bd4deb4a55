"""Shared by all commands: JSON or tables, exit codes, and errors reported in one place without a traceback."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import typer

from ..errors import (
    CompatibilityError,
    DownloadError,
    FormatError,
    LibraryError,
    ModelNotFoundError,
    ParameterError,
    PhasicModelsError,
)

FOUND_PROBLEMS = 1
USAGE = 2
NOT_FOUND = 3
DAMAGED = 4
NETWORK = 5
INCOMPATIBLE = 6
DISK = 7

# The first that fits counts: DownloadError is an OSError too, and so is a local file or mirror that is not there.
_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (ModelNotFoundError, NOT_FOUND),
    (CompatibilityError, INCOMPATIBLE),
    (FileNotFoundError, NOT_FOUND),
    (DownloadError, NETWORK),
    (FormatError, DAMAGED),
    (LibraryError, DAMAGED),
    (ParameterError, USAGE),
    (OSError, DISK),
    (ValueError, USAGE),
    (PhasicModelsError, FOUND_PROBLEMS),
)

P = ParamSpec("P")
R = TypeVar("R")


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Turn the exceptions of a command into one message on standard error and a stable exit code."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with _plain_warnings():
                return function(*args, **kwargs)
        except BrokenPipeError:
            # The reader (head, less) has left; a second failure at interpreter exit would print a traceback.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except (PhasicModelsError, OSError, ValueError) as error:
            code = _code(error)
            if not isinstance(error, PhasicModelsError) and not isinstance(error, OSError) and _debug():
                raise
            print_error(_text(error))
            raise typer.Exit(code) from None
        except ImportError as error:
            if _debug():
                raise
            print_error(f"{error}. A package is missing: pip install 'phasic-models[cli,cloud]'")
            raise typer.Exit(FOUND_PROBLEMS) from None

    return wrapped


def _code(error: BaseException) -> int:
    if isinstance(error.__cause__, ImportError):  # a package is missing
        return FOUND_PROBLEMS
    code = next(code for kind, code in _CODES if isinstance(error, kind))
    # A transfer that the disk stopped, not the network.
    return DISK if code == NETWORK and isinstance(error, OSError) and error.errno is not None else code


def _debug() -> bool:
    """Whether the author of a bug report asked for tracebacks."""
    return bool(os.environ.get("PHASIC_MODELS_TRACEBACK"))


def _text(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and not isinstance(error, PhasicModelsError):
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def print_error(message: str) -> None:
    """Write a mistake to standard error."""
    typer.secho("ptd-cache: ", fg="red", nl=False, err=True)
    typer.echo(message, err=True)


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings as lines without the place in the source, which means nothing to the user of a command."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        typer.secho("warning: ", fg="yellow", nl=False, err=True)
        typer.echo(str(message), err=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def emit(value: Any, as_json: bool, text: str | Callable[[], object]) -> None:
    """Write a result to standard output: as one JSON document, or as text for a person."""
    if as_json:
        typer.echo(json.dumps(to_jsonable(value), indent=2, ensure_ascii=False, allow_nan=False))
    elif callable(text):
        text()
    elif text:
        typer.echo(text)


def to_jsonable(value: Any) -> Any:
    """Turn results into what JSON can hold; NaN and infinities become null."""
    if hasattr(value, "_asdict"):
        return to_jsonable(value._asdict())
    if hasattr(value, "__struct_fields__"):
        import msgspec

        return to_jsonable(msgspec.to_builtins(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_jsonable({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, dict):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return to_jsonable(value.tolist())
    if isinstance(value, list | tuple):
        return [to_jsonable(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    if isinstance(value, Path):
        return str(value)
    return value


def write_table(headers: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
    """Write a table: with colours and wrapped cells on a terminal, with tabs in a pipe, where programs cut columns."""
    texts = [[str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in [list(headers), *texts]:
            typer.echo("\t".join(cell.replace("\n", " ").replace("\t", " ") for cell in row))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(header, justify="right" if header in right else "left", overflow="fold")
    for row in texts:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def size_text(count: int) -> str:
    """Write a number of bytes in decimal units."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
