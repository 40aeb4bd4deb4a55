"""The JSON Schemas of the files, which ship with the package."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

NAMES = ("model", "meta", "manifest")


def json_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a kind of file.

    Parameters
    ----------
    name : str
        ``"model"``, ``"meta"`` or ``"manifest"``, or another schema of ``phasic_models/schemas``.

    Raises
    ------
    KeyError
        There is no such schema.
    """
    resource = files("phasic_models") / "schemas" / f"{name}.schema.json"
    if not name.isidentifier() or not resource.is_file():
        raise KeyError(f"there is no schema {name!r}; the file formats have {', '.join(NAMES)}")
    result: dict[str, Any] = json.loads(resource.read_text(encoding="utf-8"))
    return result
