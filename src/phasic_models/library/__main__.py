"""``python -m phasic_models.library [FOLDER …]`` renews the tables in the README of each library, by default of all."""

from __future__ import annotations

import sys

from ..errors import LibraryError
from . import discover, load_library, update_readme


def main(folders: list[str]) -> int:
    """Renew the READMEs of these library folders; returns the exit code."""
    failed = False
    try:
        paths = folders or discover()
    except LibraryError as error:
        print(error, file=sys.stderr)
        return 1
    for folder in paths:
        try:
            library = load_library(folder)
            print(f"{library.folder / 'README.md'}: {'renewed' if update_readme(library) else 'up to date'}")
        except (LibraryError, OSError) as error:
            print(error, file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
