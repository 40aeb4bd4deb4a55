"""Commands on whole libraries: install, import, export, list, search, remove, publish."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import LibraryError, ModelNotFoundError, ParameterError
from .options import CacheDir, Index, Json, Offline, complete_library
from .output import command, emit, size_text, write_table

if TYPE_CHECKING:
    from ..cache.catalogue import Located
    from ..remote.search import Hit


@command
def install(
    libraries: Annotated[list[str], typer.Argument(help="coalescent, coalescent==1.2.0 or 'coalescent>=1.1'.")],
    index: Index = None,
    cache_dir: CacheDir = None,
    offline: Offline = None,
    json_: Json = False,
) -> None:
    """Install libraries from a release index: the newest version that works here.

    Examples
    --------
        ptd-cache install coalescent

        ptd-cache install 'coalescent>=1.1' queuing

        ptd-cache install coalescent --index https://models.example.org/index.json
    """
    from ..progress import reporting
    from ..remote.choosing import parse_requirement
    from ..remote.index_sources import index_addresses
    from ..remote.installing import install_from_index
    from ..remote.options import TransferOptions

    # All of them before the first is fetched: a typing error in the second is known at once.
    try:
        requirements = [parse_requirement(library) for library in libraries]
    except LibraryError as error:
        raise ParameterError(str(error)) from None
    addresses, options = index_addresses(index or None), TransferOptions.from_environment(offline)
    results = []
    for requirement in requirements:
        with reporting(None) as progress:
            done = install_from_index(requirement, addresses, options=options, cache_dir=cache_dir, progress=progress)
        results.append(done)
        if not json_:
            _report_install(done)
    emit(results, json_, "")


def _report_install(done: Any) -> None:
    for version, reason in done.passed_over:
        typer.echo(f"passed over {done.category} {version}: {reason}", err=True)
    state = "installed" if done.changed else "is already installed"
    typer.echo(f"{done.category} {done.version} {state} in {done.path}")
    for model, reason in done.retracted:
        typer.echo(f"warning: {done.category}/{model} was retracted by its authors: {reason}", err=True)
    if done.shadowed_by is not None:
        typer.echo(f"warning: {done.shadowed_by} is searched earlier, so its models are the ones that load", err=True)


@command
def import_(
    source: Annotated[str, typer.Argument(help="A tarball or folder, or the address of a tarball.")],
    symbolic: Annotated[
        bool, typer.Option("--symbolic", help="The archive holds symbolic models (there is no other kind).")
    ] = True,
    sha256: Annotated[str | None, typer.Option("--sha256", help="The checksum that the archive must have.")] = None,
    cache_dir: CacheDir = None,
    offline: Offline = None,
    json_: Json = False,
) -> None:
    """Take over a library from a file or an address.

    Examples
    --------
        ptd-cache import downloaded_models.tar.gz --symbolic

        ptd-cache import https://example.com/models/coalescent_v1.tar.gz --symbolic
    """
    from ..cache.prefix import writable_layer
    from ..remote.take_over import import_from

    hashes = import_from(source, cache_dir=cache_dir, sha256=sha256, offline=offline)
    into = writable_layer(cache_dir).symbolic
    text = f"imported {len(hashes)} {_models(len(hashes))} from {source} into {into}"
    emit({"source": source, "imported": hashes, "path": into}, json_, text)


@command
def export(
    output_dir: Annotated[Path, typer.Argument(help="Folder to write.")],
    hashes: Annotated[list[str] | None, typer.Argument(help="Graph hashes; all of the user's own by default.")] = None,
    category: Annotated[str | None, typer.Option(help="Name of the library; by default the folder's.")] = None,
    version: Annotated[str, typer.Option(help="Version of the library.")] = "1.0.0",
    description: Annotated[str, typer.Option(help="What the library is.")] = "",
    cache_dir: CacheDir = None,
    json_: Json = False,
) -> None:
    """Write entries of the cache, with a manifest, into a folder.

    Examples
    --------
        ptd-cache export coalescent_models

        ptd-cache export my_models a3f2… f8d7… --version 1.1.0
    """
    from ..symbolic_cache import SymbolicCache

    folder = SymbolicCache(cache_dir).export_library(
        output_dir, hashes or None, category=category, version=version, description=description
    )
    models = len(list(folder.glob("*.safetensors")))
    emit({"path": folder, "models": models}, json_, f"exported {models} {_models(models)} to {folder}")
    if not models and not json_:
        typer.echo(
            "the cache has no entries of its own; models of libraries are exported by hash, which "
            "`ptd-cache list --json` shows",
            err=True,
        )


def _models(count: int) -> str:
    return "model" if count == 1 else "models"


@command
def list_(
    category: Annotated[str | None, typer.Argument(help="Only this library.", autocompletion=complete_library)] = None,
    entries: Annotated[bool, typer.Option("--entries", help="The cache's entries by hash, instead of models.")] = False,
    cache_dir: CacheDir = None,
    json_: Json = False,
) -> None:
    """List the installed models, or the cache's own entries.

    Examples
    --------
        ptd-cache list

        ptd-cache list coalescent --json

        ptd-cache list --entries
    """
    if entries:
        from ..symbolic_cache import SymbolicCache

        found = SymbolicCache(cache_dir).list_entries()
        rows = [(entry.hash, size_text(entry.bytes), "yes" if entry.own else "", entry.layer) for entry in found]
        emit(found, json_, lambda: write_table(("hash", "size", "own", "folder"), rows, right=("size",)))
        return
    from ..cache.catalogue import list_models, models
    from ..errors import ModelNotFoundError
    from ..remote.search import retraction

    by_name = {located.name: located for located in models(cache_dir=cache_dir)}
    chosen = [by_name[name] for name in list_models(category, cache_dir=cache_dir)]
    if category is not None and not chosen:
        raise ModelNotFoundError(f"the library {category!r} is not installed; ptd-cache install {category}")
    values = [
        {
            "name": located.name,
            "description": located.model.description,
            "version": located.library.manifest.version,
            "vertices": located.model.vertices,
            "parameters": located.model.parameters,
            "status": located.model.status,
            "retraction": retraction(located),
            "hash": located.model.hash,
            "layer": located.library.layer.origin,
            "folder": located.library.folder,
        }
        for located in chosen
    ]
    emit(values, json_, lambda: _show_models(chosen))


def _show_models(chosen: list[Located]) -> None:
    from ..remote.search import retraction

    if not chosen:
        typer.echo("no library is installed; try: ptd-cache install coalescent", err=True)
        return
    rows = [
        (
            located.name,
            located.library.manifest.version,
            located.model.vertices or "",
            ", ".join(located.model.parameters),
            _marked(located.model.description, retraction(located)),
        )
        for located in chosen
    ]
    write_table(("model", "version", "vertices", "parameters", "description"), rows, right=("vertices",))


def _marked(description: str, retraction: str) -> str:
    """Put a retraction before a description, where nobody overlooks it."""
    return f"RETRACTED: {retraction}. {description}" if retraction else description


@command
def search(
    words: Annotated[list[str], typer.Argument(help="All of them must occur in name, description or parameters.")],
    index: Index = None,
    installed_only: Annotated[bool, typer.Option("--installed", help="Do not ask the index.")] = False,
    cache_dir: CacheDir = None,
    offline: Offline = None,
    json_: Json = False,
) -> None:
    """Search models, installed or in the release index.

    Examples
    --------
        ptd-cache search coalescent island

        ptd-cache search queue --installed
    """
    from ..remote.search import search_models

    found, note = search_models(
        words, index=index or None, ask_index=not installed_only, offline=offline, cache_dir=cache_dir
    )
    emit(found, json_, lambda: _show_hits(found, note))


def _show_hits(found: list[Hit], note: str) -> None:
    rows = [
        (hit.name, hit.version, "yes" if hit.installed else "", _marked(hit.description, hit.retraction))
        for hit in found
    ]
    if rows:
        write_table(("model", "version", "installed", "description"), rows)
    else:
        typer.echo("nothing found", err=True)
    if note:
        typer.echo(note, err=True)


@command
def remove(
    libraries: Annotated[
        list[str], typer.Argument(help="Libraries that ptd-cache installed.", autocompletion=complete_library)
    ],
    cache_dir: CacheDir = None,
    json_: Json = False,
) -> None:
    """Remove libraries from the user's own layer; those of packages are left to the package manager.

    Example:

        ptd-cache remove coalescent
    """
    from ..upkeep.removal import remove_library

    removed = [remove_library(library, cache_dir=cache_dir) for library in libraries]
    emit({"removed": removed}, json_, "\n".join(f"removed {folder}" for folder in removed))


@command
def publish(
    library: Annotated[str, typer.Argument(help="A library folder, its tarball, or the name of an installed library.")],
    to: Annotated[
        str, typer.Option("--to", help="s3://…, gs://…, az://…, file://…, a folder, or github:owner/repo@tag.")
    ],
    cache_dir: CacheDir = None,
    offline: Offline = None,
    json_: Json = False,
) -> None:
    """Publish a library: tarball, SHA256SUMS and then the index; what was published is never overwritten.

    Examples
    --------
        ptd-cache publish build/libraries/coalescent --to s3://my-org-models/phasic

        ptd-cache publish build/libraries/coalescent --to github:my-org/models@v1.0.0
    """
    from ..remote.publish import publish as publish_library
    from ..remote.targets import TARGETS

    places = r"(?:s3|gs|az)://[^/].*|file://.+|github:[^/@]+/[^/@]+@.+"
    if ("://" in to or to.startswith("github:")) and not re.fullmatch(places, to, re.IGNORECASE):
        raise ParameterError(f"{to!r}: cannot publish there; write {TARGETS}")
    if not Path(library).expanduser().exists() and not _is_installed(library, cache_dir):
        raise ModelNotFoundError(
            f"{library!r} is neither a file, nor a folder, nor an installed library; `ptd-cache list` shows those"
        )
    done = publish_library(library, to, cache_dir=cache_dir, offline=offline)
    state = "published" if done.changed else "was published already:"
    emit(done, json_, f"{done.category} {done.version} {state} {done.url}\nindex: {done.index}")


def _is_installed(library: str, cache_dir: Path | None) -> bool:
    from ..cache.catalogue import library_folder

    try:
        return library_folder(library, cache_dir=cache_dir).is_dir()
    except ModelNotFoundError:
        return False


COMMANDS: dict[str, Callable[..., None]] = {
    "install": install,
    "import": import_,
    "export": export,
    "list": list_,
    "search": search,
    "remove": remove,
    "publish": publish,
}
