"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _complete_model(incomplete: str) -> list[str]:
    from ..cache.catalogue import list_models

    return [name for name in list_models() if name.startswith(incomplete)]


def complete_library(incomplete: str) -> list[str]:
    """List the installed libraries whose names begin so."""
    from ..cache.catalogue import list_models

    return sorted({name.split("/")[0] for name in list_models() if name.startswith(incomplete)})


def _folder(text: str) -> Path:
    # An unset variable in a script gives an empty text, which would otherwise mean the working directory.
    if not text.strip():
        raise typer.BadParameter("it is empty; name a folder, or leave the option out")
    return Path(text)


Model = Annotated[
    str,
    typer.Argument(
        help="coalescent/n_samples_10, a unique bare name, or a graph hash.", autocompletion=_complete_model
    ),
]
InstalledLibraries = Annotated[
    list[str] | None, typer.Argument(help="Installed libraries.", autocompletion=complete_library)
]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON document instead of text.")]
CacheDir = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        help="Cache root to search first and to write to.",
        envvar=[],
        show_default=False,
        parser=_folder,
        metavar="FOLDER",
    ),
]
Offline = Annotated[
    bool | None,
    typer.Option("--offline/--online", help="Use no network. [default: PHASIC_MODELS_OFFLINE]", show_default=False),
]
Index = Annotated[
    list[str] | None,
    typer.Option(
        "--index",
        help="Address or path of an index.json; several are tried in order. [default: PHASIC_MODELS_INDEX, "
        "the configuration file, the project's release]",
        show_default=False,
    ),
]
