#!/usr/bin/env python3
"""Build every model library: files, conda packages, a channel and tarballs, the same bytes at every run.

uv run build_models.py                     build into build/, check against the locks, package, index
uv run build_models.py --category queuing  only that library
uv run build_models.py --update-lock       accept what changed: renew locks, recipes and README tables
uv run build_models.py --check             rebuild into a temporary folder and say what differs
uv run build_models.py --shard 2/4         build every fourth model, on one machine of four, into build/shards/2-of-4
uv run build_models.py --merge build/shards  take the models from there instead of building them

The exit code is 0 only if all that was asked for is there.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from phasic_models.errors import PhasicModelsError
from phasic_models.library import LibraryMistakes, Limits
from phasic_models.library.shards import Part
from phasic_models.packaging.channel import add_packages
from phasic_models.packaging.release import Means, Release, check, make_release, make_shard

ROOT = Path(__file__).resolve().parent


def main(
    category: Annotated[list[str] | None, typer.Option(help="Build this library only; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for everything that is made; by default ROOT/build.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Number of models that are built at a time.")] = os.cpu_count() or 1,
    update_lock: Annotated[
        bool, typer.Option("--update-lock", help="Renew changed lock entries, recipes and README tables.")
    ] = False,
    only_check: Annotated[
        bool, typer.Option("--check", help="Rebuild into a temporary folder, compare, and change nothing.")
    ] = False,
    against: Annotated[
        str | None, typer.Option(help="With --check: a published package or channel (file, folder or URL).")
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(help="Publish the packages: a folder, s3://bucket/folder, prefix:channel or anaconda:owner."),
    ] = None,
    root: Annotated[Path, typer.Option(help="Folder with libraries/, recipes/ and LICENSE.")] = ROOT,
    time_limit: Annotated[float, typer.Option(min=0.1, help="Seconds that one model may take.")] = 600.0,
    memory_limit: Annotated[
        float, typer.Option(min=0.001, help="GiB of memory that one model may take (kept on Linux only).")
    ] = 4.0,
    shard: Annotated[
        str | None, typer.Option(help="I/N: build only the I-th of N parts of the models, to be merged later.")
    ] = None,
    merge: Annotated[
        list[Path] | None, typer.Option(help="Take the models from this part, or folder of parts; may be repeated.")
    ] = None,
    dask: Annotated[
        str | None, typer.Option(help="Build on the dask cluster with its scheduler at this address.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the tracebacks of what went wrong.")] = False,
) -> None:
    """Build model libraries, check them against their locks, package them and index a conda channel."""
    console = Console()
    target = out or root / "build"
    with _reported(target, verbose):
        start = time.perf_counter()
        if shard is not None and (merge or update_lock or only_check or against or channel):
            raise typer.BadParameter("--shard only builds models; give the other options to --merge")
        if dask is not None and merge:
            raise typer.BadParameter("--merge builds no model, so there is nothing for --dask to do")
        means = Means(jobs, Limits(time_limit, int(memory_limit * 2**30)), dask, merge or ())
        options: dict[str, Any] = {"categories": category or (), "means": means}
        if shard is not None:
            with _bar(console) as report:
                made = make_shard(root, target, Part.parse(shard), progress=report, **options)
            console.print(f"{made}, {time.perf_counter() - start:.1f} s.", highlight=False, soft_wrap=True)
            return
        if only_check or against:
            with _bar(console) as report:
                built = target if (target / "channel").is_dir() else None
                lines = check(root, built=built, published=against, progress=report, **options)
            for line in lines:
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            if lines:
                raise typer.Exit(1)
            console.print(f"Nothing differs. {time.perf_counter() - start:.1f} s.")
            return
        with _bar(console) as report:
            release = make_release(root, target, update=update_lock, progress=report, **options)
        _show(console, release, target, time.perf_counter() - start)
        if channel:
            added = add_packages(release.packages, channel)
            console.print(f"Added to {channel}: {', '.join(added) or 'nothing, all were there'}", soft_wrap=True)


@contextmanager
def _reported(out: Path, verbose: bool) -> Iterator[None]:
    """Turn what goes wrong into lines for a person and an exit code; the tracebacks are shown if asked for."""
    # Ended by a batch system, it cleans up as after Ctrl-C.
    signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    except LibraryMistakes as error:
        _complain(str(error))
        traces = [mistake for mistake in error.mistakes if mistake.details]
        for mistake in traces if verbose else ():
            _complain(f"\n{mistake}\n{mistake.details.rstrip()}")
        if traces and not verbose:
            _complain("--verbose shows the tracebacks")
        raise typer.Exit(1) from None
    except PhasicModelsError as error:
        _complain(str(error))
        raise typer.Exit(1) from None
    except OSError as error:
        # A full or read-only disk; what was begun has been removed.
        _complain(f"{error.filename or out}: {error.strerror or error}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        _complain("interrupted; no file is half-written, and the next run starts anew")
        raise typer.Exit(130) from None
    except (typer.Exit, typer.BadParameter):
        raise
    except Exception as error:
        if verbose:
            raise
        _complain(f"unexpected {type(error).__name__}: {error}; --verbose shows the traceback")
        raise typer.Exit(1) from None


def _stop(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _complain(text: str) -> None:
    Console(stderr=True).print(text, style="red", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar, where the output is a terminal, and give the function that moves it."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading the libraries", total=None)
        yield lambda model, done, total: bar.update(task, description=model, completed=done, total=total)


def _show(console: Console, release: Release, out: Path, seconds: float) -> None:
    table = Table("model", header_style="bold", box=None, pad_edge=False)
    for heading in ("vertices", "operations", "kB", "s"):
        table.add_column(heading, justify="right")
    for library in release.libraries:
        for model in library.build.models:
            table.add_row(
                f"{library.build.category}/{model.name}",
                f"{model.vertices:,}",
                f"{model.operations:,}",
                f"{model.bytes / 1e3:,.1f}",
                f"{model.seconds:.2f}",
            )
    console.print(table)
    for package in release.packages:
        console.print(f"{package.stat().st_size / 1e3:9,.1f} kB  {package.name}", highlight=False, soft_wrap=True)
    for path in release.written:
        console.print(f"renewed {path}", markup=False, highlight=False, soft_wrap=True)
    for line in release.advice:
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
    models = sum(len(library.build.models) for library in release.libraries)
    libraries = "1 library" if len(release.libraries) == 1 else f"{len(release.libraries)} libraries"
    console.print(
        f"{models} models in {libraries}, {seconds:.1f} s. Channel: {out / 'channel'}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
