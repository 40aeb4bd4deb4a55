"""The cffi builder: compiles the C core in API mode against the stable ABI. Run by setup.py."""

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
