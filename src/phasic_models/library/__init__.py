"""A library of models (library.yaml, models.py, library.lock and README.md in one folder): read, checked, built."""

from .build import build_library
from .isolation import Workers
from .loading import Library, discover, load_library
from .lock import Lock, LockedModel, lock_differences, updated_lock
from .mistakes import LibraryMistakes, Mistake
from .readme import render_readme, update_readme
from .records import LibraryBuild, ModelBuild
from .spec import Citation, Compatible, Erratum, LibrarySpec, ModelSpec, Parameter, Retraction, json_schema
from .worker import Limits

__all__ = [
    "Citation",
    "Compatible",
    "Erratum",
    "Library",
    "LibraryBuild",
    "LibraryMistakes",
    "LibrarySpec",
    "Limits",
    "Lock",
    "LockedModel",
    "Mistake",
    "ModelBuild",
    "ModelSpec",
    "Parameter",
    "Retraction",
    "Workers",
    "build_library",
    "discover",
    "json_schema",
    "load_library",
    "lock_differences",
    "render_readme",
    "update_readme",
    "updated_lock",
]
