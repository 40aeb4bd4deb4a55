"""models.py: run by its path, its functions found and compared with what library.yaml says about them."""

from __future__ import annotations

import difflib
import inspect
import secrets
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from .mistakes import Mistake


def load_functions(path: Path, shown: str, mistakes: list[Mistake]) -> dict[str, Callable[..., Any]] | None:
    """Run a models.py and return its functions by name.

    The file is compiled and run directly: nothing stays in `sys.modules`, so that two libraries may both have a
    ``models`` module, and no ``__pycache__`` appears in the library's folder.

    Parameters
    ----------
    path : Path
        The file.
    shown : str
        Its name in messages.
    mistakes : list of Mistake
        A file that cannot be read or run is noted here.

    Returns
    -------
    dict or None
        None if the file cannot be run.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        mistakes.append(Mistake(shown, None, "", f"cannot be read: {error.strerror or error}"))
        return None
    # dataclasses, for one, look their module up while it runs.
    module = ModuleType(f"_phasic_models_library_{secrets.token_hex(8)}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    except SyntaxError as error:
        mistakes.append(Mistake(shown, error.lineno, "", f"{type(error).__name__}: {error.msg}"))
        return None
    except (Exception, SystemExit) as error:
        mistakes.append(Mistake(shown, line_in(path, error), "", f"{type(error).__name__} while it was run: {error}"))
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
        The key of library.yaml that is to blame, relative to its model; None if all is well.
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


def line_in(path: Path, error: BaseException) -> int | None:
    """Line of the innermost frame of a traceback that lies in this file."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else None
