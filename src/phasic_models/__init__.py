"""Pre-computed libraries of parameterised phase-type models, and a fast, exact toolkit to evaluate them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache.catalogue import list_models, load_model
    from .core.stopping import deadline
    from .dag import SymbolicDAG
    from .errors import DeadlineExceededError
    from .graph import Graph
    from .model import Model
    from .statespace.expr import params
    from .symbolic_cache import SymbolicCache

    __version__: str

# The module of each public name. It is imported when the name is first used, which keeps `import phasic_models` fast.
_ROOMS = {
    "DeadlineExceededError": "errors",
    "Graph": "graph",
    "Model": "model",
    "SymbolicCache": "symbolic_cache",
    "SymbolicDAG": "dag",
    "deadline": "core.stopping",
    "list_models": "cache.catalogue",
    "load_model": "cache.catalogue",
    "params": "statespace.expr",
}

__all__ = [
    "DeadlineExceededError",
    "Graph",
    "Model",
    "SymbolicCache",
    "SymbolicDAG",
    "__version__",
    "deadline",
    "list_models",
    "load_model",
    "params",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("phasic-models")
    elif name in _ROOMS:
        value = getattr(import_module(f".{_ROOMS[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
