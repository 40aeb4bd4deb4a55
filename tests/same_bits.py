"""Compiles the C core for many platforms, runs it there and compares what it prints, bit by bit.

``python tests/same_bits.py`` prints a line for each platform; ``--renew`` writes the digest of this machine's numbers, which is due
when the core changes what it computes. ziglang (from PyPI) compiles; qemu-user, wine and node run what this machine cannot.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import c_runner

SOURCES = Path(__file__).parent / "bits"
#: SHA-256 of the numbers that the core promises to be the same everywhere.
DIGEST = SOURCES / "exact.sha256"
FLAGS = ("-std=c11", "-O2", "-ffp-contract=off")


@dataclass(frozen=True)
class Platform:
    """Where the core runs: the compiler's name for it, and the program that runs its programs here."""

    target: str
    runner: tuple[str, ...]
    flags: tuple[str, ...] = ("-static",)


PLATFORMS = {
    "x86-64": Platform("x86_64-linux-musl", ("qemu-x86_64",)),
    "i386": Platform("x86-linux-musl", ("qemu-i386",), ("-static", "-msse2", "-mfpmath=sse")),
    "aarch64": Platform("aarch64-linux-musl", ("qemu-aarch64",)),
    "arm": Platform("arm-linux-musleabihf", ("qemu-arm",)),
    "riscv64": Platform("riscv64-linux-musl", ("qemu-riscv64",)),
    "s390x": Platform("s390x-linux-musl", ("qemu-s390x",)),
    "powerpc64le": Platform("powerpc64le-linux-musl", ("qemu-ppc64le",)),
    "windows": Platform("x86_64-windows-gnu", ("wine",), ()),
    "wasm32": Platform(
        "wasm32-wasi",
        ("node", str(SOURCES / "print_bits.mjs")),
        # Without a clock nothing is imported; a caller without one is asked whether to stop after a number of operations.
        (
            "-Os",
            "-DPM_NO_CLOCK",
            "-msimd128",
            "-mexec-model=reactor",
            "-Wl,--strip-all",
            *(f"-Wl,--export=same_bits_{name}" for name in ("run", "count", "values")),
        ),
    ),
}


def missing(platform: Platform) -> str | None:
    """Return what is not installed here and needed, or None."""
    if find_spec("ziglang") is None:
        return "needs ziglang: uv sync --group cross"
    if shutil.which(platform.runner[0]) is None:
        return f"needs {platform.runner[0]}"
    return None


def compile_for(platform: Platform, folder: Path) -> Path:
    """Return the program, or the module, for a platform.

    Raises
    ------
    AssertionError
        If the compiler complains.
    """
    program = folder / f"{platform.target}{'.wasm' if platform.target.startswith('wasm') else '.exe'}"
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", platform.target]
    own = ["same_bits.c"] if platform.target.startswith("wasm") else ["same_bits.c", "print_bits.c"]
    return _compile([*compiler, *FLAGS, *platform.flags], own, program)


def compile_here(compiler: str, folder: Path) -> Path:
    """Return the program for this machine, made by its own compiler."""
    return _compile([compiler, *FLAGS], ["same_bits.c", "print_bits.c"], folder / "here")


def _compile(compiler: list[str], own: list[str], program: Path) -> Path:
    sources = [*(str(SOURCES / name) for name in own), *map(str, c_runner.core_sources())]
    command = [*compiler, f"-I{c_runner.CORE}", f"-I{SOURCES}", *sources, "-lm", "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    return program


def run(program: Path, *runner: str) -> dict[str, list[str]]:
    """Return the numbers that a program prints, as hexadecimal digits: those of the kinds "exact" and "library".

    Raises
    ------
    AssertionError
        If it fails.
    """
    # Wine keeps its settings in the home folder unless it is told of another.
    environment = {**os.environ, "WINEDEBUG": "-all", "WINEPREFIX": str(program.parent / "wine")}
    done = subprocess.run(
        [*runner, str(program)], capture_output=True, text=True, check=False, env=environment, timeout=900
    )
    assert done.returncode == 0, f"{' '.join(runner)} {program.name}: exit {done.returncode}\n{done.stderr}"
    exact, library = done.stdout.replace("\r\n", "\n").removeprefix("kind 0\n").split("kind 1\n")
    return {"exact": exact.split(), "library": library.split()}


def digest(lines: list[str]) -> str:
    """Return the SHA-256 of numbers."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def main() -> int:
    """Compare all platforms that can be run here; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--renew", action="store_true", help="write the digest of this machine's numbers")
    parser.add_argument("platforms", nargs="*", help=f"of {', '.join(PLATFORMS)}; default all")
    options = parser.parse_args()
    compiler = c_runner.find_compiler()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if options.renew:
            if compiler is None:
                sys.exit("no C compiler found; set CC")
            DIGEST.write_text(digest(run(compile_here(compiler, folder))["exact"]) + "\n")
        failed = 0
        first: list[str] | None = None
        for name in options.platforms or ([] if options.renew else PLATFORMS):
            platform = PLATFORMS[name]
            if reason := missing(platform):
                print(f"{name}: skipped, {reason}")
                continue
            program = compile_for(platform, folder)
            found = run(program, *platform.runner)
            first = first or found["library"]
            same = digest(found["exact"]) == DIGEST.read_text().strip(), found["library"] == first
            failed += not all(same)
            print(
                f"{name}: {len(found['exact'])} + {len(found['library'])} numbers, same: {same}, {program.stat().st_size:,} bytes"
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
