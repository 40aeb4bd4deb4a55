"""Commands that look after an installation: verify, validate, prune, path, migrate, doctor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import CacheDir, InstalledLibraries, Json, complete_library
from .output import FOUND_PROBLEMS, command, emit, size_text, write_table

if TYPE_CHECKING:
    from ..upkeep.compatibility import Compatibility
    from ..upkeep.doctor import Check
    from ..upkeep.pruning import Removable


@command
def verify(
    libraries: InstalledLibraries = None,
    everything: Annotated[
        bool, typer.Option("--all", help="The cache's own entries and hidden copies as well.")
    ] = False,
    cache_dir: CacheDir = None,
    json_: Json = False,
) -> None:
    """Check installed files against checksums and graph hashes; exit code 1 if anything is wrong.

    Examples
    --------
        ptd-cache verify

        ptd-cache verify coalescent

        ptd-cache verify --all --json
    """
    from ..upkeep.verify import verify as check

    results = []
    for result in check(libraries, everything=everything, cache_dir=cache_dir):
        results.append(result)
        if not json_:
            state = "ok" if not result.problems else "DAMAGED"
            typer.echo(f"{state}\t{result.name}\t{result.files} files\t{size_text(result.bytes)}\t{result.folder}")
            for problem in result.problems:
                typer.echo(f"  {problem}", err=True)
    emit(results, json_, "")
    if not (results or json_):
        typer.echo("nothing is installed", err=True)
    damaged = [result for result in results if result.problems]
    if damaged:
        if not json_:
            for result in damaged:
                typer.echo(f"{result.name}: repair it with: {result.remedy}", err=True)
        raise typer.Exit(FOUND_PROBLEMS)


@command
def validate(cache_dir: CacheDir = None, json_: Json = False) -> None:
    """Compare libraries with the installed phasic and phasic-models, offline; exit code 1 if one does not fit.

    Example:

        ptd-cache validate
    """
    from ..upkeep.compatibility import compatibility

    rows = compatibility(cache_dir=cache_dir)
    emit(rows, json_, lambda: _show_compatibility(rows))
    if not all(row.fits for row in rows):
        raise typer.Exit(FOUND_PROBLEMS)


def _show_compatibility(rows: list[Compatibility]) -> None:
    if rows:
        write_table(
            ("library", "version", "requires", "installed", "", "repair with"),
            [
                (row.category, row.version, row.requires, row.installed, "ok" if row.fits else "NO", row.remedy)
                for row in rows
            ],
        )
        for row in rows:
            if row.reason:
                typer.echo(f"{row.category}: {row.reason}", err=True)
    else:
        typer.echo("no library is installed", err=True)


@command
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing; say what would go.")] = False,
    max_size_gb: Annotated[
        float | None, typer.Option("--max-size-gb", help="Shrink the user's own entries to this.", min=0)
    ] = None,
    cache_dir: CacheDir = None,
    json_: Json = False,
) -> None:
    """Remove leftovers of killed processes and corrupt entries; libraries and read-only layers are never touched.

    Examples
    --------
        ptd-cache prune --dry-run

        ptd-cache prune --max-size-gb 2
    """
    from ..upkeep.pruning import prune as sweep

    swept = sweep(dry_run=dry_run, max_size_gb=max_size_gb, cache_dir=cache_dir)
    emit({"dry_run": dry_run, "items": swept}, json_, lambda: _show_removed(swept, dry_run))


def _show_removed(swept: list[Removable], dry_run: bool) -> None:
    for item in swept:
        typer.echo(f"{'would remove' if dry_run else 'removed'}\t{item.path}\t{size_text(item.bytes)}\t{item.why}")
    total = size_text(sum(item.bytes for item in swept))
    typer.echo(f"{len(swept)} items, {total}" if swept else "nothing to remove", err=True)


@command
def path(
    library: Annotated[
        str | None,
        typer.Argument(help="A library; without it, the folder that is written to.", autocompletion=complete_library),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every layer, in look-up order.")] = False,
    cache_dir: CacheDir = None,
    json_: Json = False,
) -> None:
    """Print where things are.

    Examples
    --------
        ptd-cache path

        ptd-cache path coalescent

        ptd-cache path --all
    """
    from ..cache import prefix
    from ..cache.catalogue import library_folder

    if library is not None:
        folder = library_folder(library, cache_dir=cache_dir)
        emit({"library": library, "path": folder}, json_, str(folder))
    elif all_:
        layers = prefix.layers(cache_dir)
        rows = [(layer.symbolic, layer.origin, "yes" if layer.writable else "") for layer in layers]
        emit(layers, json_, lambda: write_table(("folder", "origin", "writable"), rows))
    else:
        folder = prefix.writable_layer(cache_dir).symbolic
        emit({"path": folder}, json_, str(folder))


@command
def migrate(
    paths: Annotated[list[Path], typer.Argument(help="Files or library folders.")],
    output_dir: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the result here instead of in place.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would change.")] = False,
    json_: Json = False,
) -> None:
    """Bring files of older formats to the current one; what is current already is left as it is.

    Examples
    --------
        ptd-cache migrate old_models --dry-run

        ptd-cache migrate old_models --output new_models
    """
    from ..upkeep.migration import migrate as convert

    results = convert(paths, output_dir=output_dir, dry_run=dry_run)
    emit(results, json_, "\n".join(f"{result.state}\t{result.path}\t{result.text}" for result in results))


@command
def doctor(cache_dir: CacheDir = None, json_: Json = False) -> None:
    """Examine the installation: engine, versions, layers, libraries; exit code 1 if something needs a repair.

    Example:

        ptd-cache doctor
    """
    from ..upkeep.doctor import examine

    findings = examine(cache_dir=cache_dir)
    emit(findings, json_, lambda: _show_findings(findings))
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(FOUND_PROBLEMS)


def _show_findings(findings: list[Check]) -> None:
    colours = {"ok": "green", "note": "yellow", "problem": "red"}
    for finding in findings:
        typer.secho(f"{finding.level:<8}", fg=colours[finding.level], nl=False)
        typer.echo(f"{finding.subject}: {finding.text}")


COMMANDS: dict[str, Callable[..., None]] = {
    "verify": verify,
    "validate": validate,
    "prune": prune,
    "path": path,
    "migrate": migrate,
    "doctor": doctor,
}
