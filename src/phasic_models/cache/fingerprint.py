"""A key for the graph that a callback computes, or none where that graph is not certain.

Two callbacks with one key give the same graph. The key covers the code of the callback and of every plain function that
it uses, their defaults, what they close over and the globals that they read, the arguments, and the versions of Python,
NumPy and this package. It is refused for everything whose value is not all there is to know: instances, classes,
modules outside a short list, imports at run time, random numbers, files.
"""

from __future__ import annotations

import builtins
import dis
import functools
import hashlib
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compat import installed_version
from ..statespace.expr import Expr, Parameter, params

if TYPE_CHECKING:
    import numpy.typing as npt

# To be raised when a callback gives another graph than before, in a version of the same number.
_GENERATION = "1"

# fmt: off
# Modules whose functions depend on nothing but their arguments. (In those with "_" some of them are defined.)
_MODULES = frozenset({
    "bisect", "cmath", "collections", "fractions", "functools", "heapq", "itertools", "math", "numbers", "numpy",
    "operator", "_bisect", "_collections", "_functools", "_heapq", "_operator",
})
_BUILTINS = frozenset({
    "abs", "all", "any", "bool", "bytes", "complex", "dict", "divmod", "enumerate", "filter", "float", "frozenset",
    "int", "isinstance", "iter", "len", "list", "map", "max", "min", "next", "pow", "range", "repr", "reversed",
    "round", "set", "slice", "sorted", "str", "sum", "tuple", "zip",
})
# Attributes of such modules that do depend on something else: files, seeds, memory, state.
_ATTRIBUTES = frozenset({
    "attrgetter", "cache", "ctypeslib", "empty", "empty_like", "fromfile", "genfromtxt", "lib", "load", "loadtxt",
    "lru_cache", "memmap", "methodcaller", "open", "random", "testing",
})
_REFUSED = frozenset({
    "IMPORT_NAME", "IMPORT_FROM", "IMPORT_STAR", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "STORE_NAME",
    "LOAD_BUILD_CLASS", "LOAD_LOCALS", "STORE_ATTR", "DELETE_ATTR", "LOAD_SUPER_ATTR",
})
# fmt: on


class _Unsure(Exception):
    """The value does not determine what the callback computes, so that there is no key."""


def callback_key(callback: Callable[..., Any], options: Mapping[str, Any]) -> str | None:
    """Return a key of 64 hexadecimal digits for the graph of a callback, or None where it cannot be known.

    Parameters
    ----------
    callback
        A plain function, or a `functools.partial` of one.
    options
        Everything else that the graph depends on.
    """
    try:
        mark = _Mark()
        for text in (
            _GENERATION,
            installed_version("phasic-models") or "",
            sys.version,
            sys.platform,
            platform.machine(),
            np.__version__,
        ):
            mark.add("version", text)
        mark.value(dict(sorted(options.items())))
        mark.callback(callback)
    except (_Unsure, RecursionError):
        return None
    return mark.digest.hexdigest()


class _Mark:
    """A digest of values; each goes in with its type and its length, so that no two sequences of values look alike."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        # Functions met so far; one that uses itself is named by its place here.
        self.functions: list[FunctionType] = []

    def add(self, kind: str, data: str | bytes) -> None:
        raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
        self.digest.update(f"{kind} {len(raw)} ".encode() + raw)

    def values(self, kind: str, items: Iterable[Any]) -> None:
        listed = list(items)
        self.add(kind, str(len(listed)))
        for item in listed:
            self.value(item)

    def value(self, value: Any) -> None:
        """Add any value."""
        kind = type(value)
        if value is None or value is Ellipsis or kind is bool:
            self.add("constant", repr(value))
        elif kind is int:
            self.add("int", hex(value))
        elif kind is float:
            self.add("float", value.hex())
        elif kind is complex:
            self.values("complex", (value.real, value.imag))
        elif kind is str or kind is bytes:
            self.add(kind.__name__, value)
        elif kind is tuple or kind is list:
            self.values(kind.__name__, value)
        elif kind is dict:
            self.values("dict", (part for item in value.items() for part in item))
        elif kind is range or kind is slice:
            self.values(kind.__name__, (value.start, value.stop, value.step))
        elif kind is Fraction:
            self.values("fraction", (value.numerator, value.denominator))
        elif kind is Expr:
            self.expression(value)
        elif kind is np.ndarray or isinstance(value, np.generic):
            self.array(np.asarray(value), kind.__name__)
        else:
            self.callback(value)

    def callback(self, value: Any) -> None:
        """Add something that can be called, or a module."""
        kind = type(value)
        if value is params or value is Expr:
            self.add("own", "params" if value is params else "Expr")
        elif isinstance(value, ModuleType):
            if value.__name__ not in _MODULES or sys.modules.get(value.__name__) is not value:
                raise _Unsure
            self.add("module", value.__name__)
        elif kind is functools.partial:
            self.callback(value.func)
            self.values("partial", (value.args, value.keywords))
        elif kind is FunctionType and not _is_named(value):
            self.function(value)
        elif isinstance(value, (FunctionType, BuiltinFunctionType, type)) and _is_named(value):
            self.add("named", f"{value.__module__}.{value.__qualname__}")
        else:
            raise _Unsure

    def array(self, value: npt.NDArray[Any], kind: str) -> None:
        if value.dtype.kind not in "biufcSU":
            raise _Unsure
        self.add(kind, f"{value.dtype.str} {value.shape}")
        self.add("data", value.tobytes())

    def expression(self, value: Expr) -> None:
        """Add an expression; its terms have no order, so they are sorted by what they add."""
        self.add("expression", b"".join(sorted(self._alone(self._term, term) for term in value.terms.items())))

    def _term(self, term: tuple[Any, Fraction]) -> None:
        monomial, coefficient = term
        self.value(coefficient)
        self.add("monomial", b"".join(sorted(self._alone(self._factor, factor) for factor in monomial)))

    def _factor(self, factor: tuple[Parameter | Expr, int]) -> None:
        atom, exponent = factor
        self.value(exponent)
        self.value((atom.names, atom.index) if isinstance(atom, Parameter) else atom)

    def _alone(self, add: Callable[[Any], None], value: Any) -> bytes:
        """Return the digest of one value alone."""
        kept, self.digest = self.digest, hashlib.sha256()
        add(value)
        kept, self.digest = self.digest, kept
        return kept.digest()

    def function(self, function: FunctionType) -> None:
        for place, known in enumerate(self.functions):
            if known is function:
                self.add("again", str(place))
                return
        if getattr(function, "__builtins__", None) is not builtins.__dict__:
            raise _Unsure
        self.functions.append(function)
        self.add("function", function.__name__)
        names: set[str] = set()
        self.code(function.__code__, names)
        self.value(function.__defaults__)
        self.value(function.__kwdefaults__)
        self.value(dict(function.__dict__))
        for cell in function.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:
                raise _Unsure from None
            self.value(content)
        for name in sorted(names):
            self.add("global", name)
            if name in function.__globals__:
                self.value(function.__globals__[name])
            else:
                self.callback(getattr(builtins, name, None))

    def code(self, code: CodeType, names: set[str]) -> None:
        """Add a code object and collect the globals that it reads."""
        for instruction in dis.get_instructions(code):
            name, what = instruction.opname, instruction.argval
            if name in _REFUSED:
                raise _Unsure
            if name.startswith("LOAD_GLOBAL") or name == "LOAD_FROM_DICT_OR_GLOBALS":
                names.add(what)
            elif name in ("LOAD_ATTR", "LOAD_METHOD") and (what in _ATTRIBUTES or what.startswith("__")):
                raise _Unsure
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        tables = (code.co_code, getattr(code, "co_exceptiontable", b""))
        self.value((counts, tables, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))
        self.add("constants", str(len(code.co_consts)))
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self.code(constant, names)
            elif isinstance(constant, frozenset):  # what stands behind "in"; its order plays no part
                self.add("frozenset", b"".join(sorted(self._alone(self.value, item) for item in constant)))
            else:
                self.value(constant)


def _is_named(value: Any) -> bool:
    """Whether this is the function or class that a module of the list, or Python itself, has under its name."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if module == "builtins":
        return (name in _BUILTINS or _is_exception(value)) and getattr(builtins, str(name), None) is value
    return module in _MODULES and name not in _ATTRIBUTES and getattr(sys.modules.get(module), str(name), None) is value


def _is_exception(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException) and value.__module__ == "builtins"
