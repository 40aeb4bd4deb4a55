"""The cffi builder: compiles the C core in API mode against the stable ABI. Run by setup.py.

pm_core.h is the one table of signatures. As a command this writes ``_core.pyi``, the same for type checkers.
"""

import os
import re
import sys
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent
SOURCES = sorted(path.name for path in HERE.glob("*.c") if path.name != "_core.c")


def declarations() -> str:
    """Return pm_core.h as cffi reads it: without preprocessor lines, the numeric constants left for the compiler to fill in."""
    header = (HERE / "pm_core.h").read_text(encoding="utf-8")
    header = re.sub(r"(?ms)^#ifdef __cplusplus$.*?^#endif$", "", header)
    lines = []
    for line in header.splitlines():
        constant = re.match(r"#define (PM_[A-Z_]+) \(?-?\d+\)?", line)
        if constant:
            lines.append(f"#define {constant[1]} ...")
        elif not line.startswith("#"):
            lines.append(re.sub(r"^PM_(API|CHECKED) ", "", line))
    # What `pm_control.poll` points to; phasic_models.core.stopping defines it.
    lines.append('extern "Python" int32_t pm_python_poll(void *);')
    return "\n".join(lines)


_STUB = """# Written from pm_core.h by build_core.py: what type checkers know of the compiled core.
from typing import Any, TypeAlias

# cffi checks at run time what a pointer points to.
Pointer: TypeAlias = Any

class _Library:
    pm_python_poll: Pointer
%s

ffi: Any
lib: _Library
"""


def _python_type(c_type: str) -> str:
    if "*" in c_type:
        return "Pointer"
    word = c_type.removeprefix("const ")
    return {"void": "None", "double": "float"}.get(word, "int")


def _stub_line(result: str, name: str, arguments: str) -> str:
    """Return a function as a method of the library, in the style of the formatter."""
    given = [] if arguments == "void" else re.findall(r"([\w *]+?)(\w+)(?:, |$)", arguments)
    words = ["self", *(f"{argument}: {_python_type(kind.strip())}" for kind, argument in given), "/"]
    tail = f" -> {_python_type(result)}: ..."
    if len(line := f"    def {name}({', '.join(words)}){tail}") <= 120:
        return line
    if len(inner := f"        {', '.join(words)}") <= 120:
        return f"    def {name}(\n{inner}\n    ){tail}"
    return "\n".join([f"    def {name}(", *(f"        {word}," for word in words), f"    ){tail}"])


def stub() -> str:
    """Return the text of ``_core.pyi``."""
    text = re.sub(r"(?s)/\*.*?\*/", "", declarations())
    constants = [f"    {name}: int" for name in re.findall(r"#define (\w+) \.\.\.", text)]
    functions = re.findall(r"(?m)^((?:const )?\w+(?: \*)?) ?(pm_\w+)\(([^)]*)\);", text)
    lines = [_stub_line(result, name, re.sub(r"\s+", " ", arguments)) for result, name, arguments in functions]
    return _STUB % "\n".join(constants + lines)


def make() -> FFI:
    """Return the builder, with source paths relative to the current folder, as setuptools wants them."""
    folder = Path(os.path.relpath(HERE))
    ffi = FFI()
    ffi.cdef(declarations())
    # No contraction: a fused multiply-add would make results depend on the machine.
    flags = ["/O2", "/fp:precise"] if sys.platform == "win32" else ["-O3", "-std=c11", "-ffp-contract=off"]
    ffi.set_source(
        "phasic_models.core._core",
        '#include "pm_core.h"',
        sources=[str(folder / name) for name in SOURCES],
        include_dirs=[str(folder)],
        depends=[str(folder / path.name) for path in sorted(HERE.glob("*.h"))],
        extra_compile_args=flags,
        py_limited_api=True,
    )
    return ffi


ffibuilder = make()

if __name__ == "__main__":
    (HERE / "_core.pyi").write_text(stub(), encoding="utf-8")
