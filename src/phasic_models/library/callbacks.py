"""models.py: run by its path, its functions found and compared with what library.yaml says about them."""

from __future__ import annotations

import difflib
import inspect
import secrets
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from .mistakes import Mistake
from .spec import ModelSpec

if TYPE_CHECKING:
    from ..graph import Graph


class WrongCallback(Exception):
    """A callback raised or did not return what library.yaml says.

    Parameters
    ----------
    message : str
        The mistake, with the name of the model.
    key : str
        The key of the model's entry that is wrong.
    line : int, optional
        Line of models.py, where it is known.
    """

    def __init__(self, message: str, key: str, line: int | None = None) -> None:
        super().__init__(message)
        self.key = key
        self.line = line


def load_functions(
    code: bytes, path: Path, shown: str, mistakes: list[Mistake]
) -> dict[str, Callable[..., Any]] | None:
    """Run a models.py and return its functions by name.

    The file is compiled and run directly: nothing stays in `sys.modules`, so that two libraries may both have a
    ``models`` module, and no ``__pycache__`` appears in the library's folder.

    Parameters
    ----------
    code : bytes
        Content of the file.
    path : Path
        The file, as tracebacks name it; it need not be there.
    shown : str
        Its name in messages.
    mistakes : list of Mistake
        A file that cannot be run is noted here.

    Returns
    -------
    dict or None
        None if the file cannot be run.
    """
    # dataclasses, for one, look their module up while it runs.
    module = ModuleType(f"_phasic_models_library_{secrets.token_hex(8)}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    try:
        exec(compile(code, str(path), "exec", dont_inherit=True), module.__dict__)
    except SyntaxError as error:
        mistakes.append(Mistake(shown, error.lineno, "", f"{type(error).__name__}: {error.msg}"))
        return None
    except (Exception, SystemExit) as error:
        text = f"{type(error).__name__} while it was run: {error}"
        mistakes.append(Mistake(shown, line_in(path, error), "", text, details(error)))
        return None
    finally:
        del sys.modules[module.__name__]
    return {name: value for name, value in vars(module).items() if isinstance(value, FunctionType)}


def check_call(
    function: str, arguments: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]
) -> tuple[str, str] | None:
    """Say what is wrong with calling a function of models.py in this way.

    Returns
    -------
    (key, message) or None
        The key of library.yaml that is wrong, relative to its model; None if nothing is wrong.
    """
    if function not in functions:
        own = [name for name in functions if not name.startswith("_")]
        close = difflib.get_close_matches(function, own, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(own) or 'no function'}"
        return "function", f"models.py has no function {function!r}; {hint}"
    signature = inspect.signature(functions[function])
    try:
        signature.bind(None, **arguments)
    except TypeError as error:
        return "arguments", f"{function}{signature} cannot be called with a state and these arguments: {error}"
    return None


def graph_of(function: Callable[..., Any], spec: ModelSpec, path: Path) -> Graph:
    """Run a callback with the arguments of its model.

    Parameters
    ----------
    function : callable
        The callback.
    spec : ModelSpec
        The model.
    path : Path
        The models.py from which the callback came.

    Raises
    ------
    WrongCallback
        It raises, returns what is not a phase-type distribution, or has other parameters than library.yaml names.
    """
    # Only here: reading a library.yaml for its metadata needs no engine.
    from ..errors import GraphError
    from ..graph import Graph

    names = spec.parameter_names
    try:
        graph = Graph(
            # Bound here, so that an argument may have the name of an option of Graph.
            partial(function, **spec.arguments),
            # Several models are built at once; their builder has a bar of its own.
            progress=lambda explored, found: None,
            discrete=spec.discrete,
            parameterized=bool(names),
            param_names=names or None,
        )
    except (GraphError, ValueError, TypeError, ArithmeticError, LookupError, SystemExit) as error:
        # The callback's own exception, if there is one, knows the line; the graph's error knows the state.
        inner: BaseException | None = error
        while inner is not None and line_in(path, inner) is None:
            inner = inner.__cause__
        if inner is None:
            raise WrongCallback(f"{spec.name}: {spec.function}: {error}", "function") from error
        text = f"{spec.name}: {type(inner).__name__} in {spec.function}: {error}"
        raise WrongCallback(text, "function", line_in(path, inner)) from error
    if graph.param_length() != len(names):
        raise WrongCallback(
            f"{spec.name}: the transitions of {spec.function} have {graph.param_length()} parameters, "
            f"but library.yaml names {len(names)}: {', '.join(names) or 'none'}",
            "parameters",
        )
    used = set(graph.weights.affine_param.tolist())
    if unused := [name for index, name in enumerate(names) if index not in used]:
        raise WrongCallback(
            f"{spec.name}: no transition of {spec.function} depends on {', '.join(unused)}", "parameters"
        )
    return graph


def details(error: BaseException) -> str:
    """The traceback of an exception, for those who ask for it."""
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def line_in(path: Path, error: BaseException) -> int | None:
    """Line of the innermost frame of a traceback that is in this file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else None
