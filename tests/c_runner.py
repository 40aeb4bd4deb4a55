"""Compiles the C core together with its tests in tests/c/ and runs them; also a command, for a run under valgrind.

``python tests/c_runner.py`` runs everything with the address and undefined-behaviour sanitizers, ``--valgrind`` under
valgrind instead, ``--threads`` under the thread sanitizer, ``--compiler clang`` with another compiler.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

CORE = Path(__file__).parent.parent / "src" / "phasic_models" / "core"
TESTS = Path(__file__).parent / "c"

#: What every compiler must accept without a word, and no less.
WARNINGS = (
    "-std=c11",
    "-pedantic-errors",
    "-Werror",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wsign-conversion",
    "-Wshadow",
    "-Wvla",
    "-Wundef",
    "-Wcast-qual",
    "-Wcast-align",
    "-Wpointer-arith",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
    "-Wdouble-promotion",
    "-Wwrite-strings",
    "-Wswitch-default",
)
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
#: Data races; not to be had together with the address sanitizer.
THREAD_SANITIZER = ("-fsanitize=thread", "-fno-omit-frame-pointer")
#: The core asks the tests for its memory, so that they can count it and refuse it, and for the time.
_ALLOCATOR = ("malloc", "calloc", "realloc", "free")
HOOKS = (*(f"-DPM_{name.upper()}=test_{name}" for name in _ALLOCATOR), "-Dtimespec_get=test_timespec_get")
#: Tests free what the core has allocated, so they go through the same functions.
SAME_ALLOCATOR = tuple(f"-D{name}=test_{name}" for name in _ALLOCATOR)
#: Pretends to be a compiler without extensions: no builtins, no kernels for one instruction set.
PLAIN = ("-include", str(TESTS / "plain.h"))


def core_sources() -> list[Path]:
    """Return the C files of the core, without the binding that cffi writes."""
    return sorted(path for path in CORE.glob("*.c") if path.name != "_core.c")


def test_sources() -> list[Path]:
    """Return the tests, one program each."""
    return sorted(TESTS.glob("test_*.c"))


def find_compiler() -> str | None:
    """Return the C compiler of this machine, CC first, or None where it does not speak as gcc does."""
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        if name and (found := shutil.which(name)):
            return found
    return None


@dataclass
class Build:
    """The core, compiled once in one way, and the tests linked against it."""

    compiler: str
    folder: Path
    flags: tuple[str, ...] = ()
    jobs: int = 2
    objects: list[Path] = field(default_factory=list)

    def compile(self, source: Path, *flags: str) -> Path:
        """Compile one file; its warnings are errors.

        Raises
        ------
        AssertionError
            If the compiler says anything.
        """
        target = self.folder / f"{source.stem}.o"
        command = [self.compiler, *WARNINGS, "-O1", "-g", "-ffp-contract=off", *self.flags, *flags]
        command += [f"-I{CORE}", f"-I{TESTS}", "-c", str(source), "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or done.stderr:
            raise AssertionError(f"{' '.join(command)}\n{done.stderr}")
        return target

    def compile_core(self) -> Build:
        """Compile the core and what the tests share."""
        support = [path for path in sorted(TESTS.glob("*.c")) if not path.name.startswith("test_")]
        with ThreadPoolExecutor(self.jobs) as pool:
            core = pool.map(lambda path: self.compile(path, *HOOKS), core_sources())
            shared = pool.map(self.compile, support)
            self.objects = [*core, *shared]
        return self

    def link(self, test: Path) -> Path:
        """Compile and link one test."""
        program = self.folder / test.stem
        own = self.compile(test, *SAME_ALLOCATOR)
        command = [self.compiler, *self.flags, str(own), *map(str, self.objects), "-lm", "-pthread", "-o", str(program)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
        return program

    def run(self, test: Path, *wrapper: str, timeout: float = 300) -> str:
        """Build and run one test; return what it prints.

        Raises
        ------
        AssertionError
            If a check fails or a sanitizer speaks up; with all that was printed.
        """
        environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1", "LD_PRELOAD": ""}
        environment["TSAN_OPTIONS"] = "halt_on_error=1"
        done = subprocess.run(
            [*wrapper, str(self.link(test))],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env=environment,
        )
        assert done.returncode == 0, f"{test.name}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def supports(compiler: str, *flags: str) -> bool:
    """Return whether programs built with `flags` compile, link and run here."""
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "probe.c"), Path(folder, "probe")
        source.write_text("int main(void) { return 0; }\n")
        built = subprocess.run([compiler, *flags, str(source), "-o", str(program)], capture_output=True, check=False)
        return (
            built.returncode == 0 and subprocess.run([str(program)], capture_output=True, check=False).returncode == 0
        )


VALGRIND = (
    "valgrind",
    "--quiet",
    "--error-exitcode=99",
    "--leak-check=full",
    "--errors-for-leak-kinds=definite,possible",
)


def main() -> int:
    """Run all tests as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", default=find_compiler())
    parser.add_argument("--valgrind", action="store_true", help="run under valgrind instead of the sanitizers")
    parser.add_argument("--threads", action="store_true", help="run under the thread sanitizer instead of the others")
    parser.add_argument("--plain", action="store_true", help="pretend that the compiler has no GNU extensions")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("tests", nargs="*", help="names of tests, for example moments; default all")
    options = parser.parse_args()
    if options.compiler is None:
        sys.exit("no C compiler found; set CC")
    wanted = [path for path in test_sources() if not options.tests or path.stem.removeprefix("test_") in options.tests]
    flags = () if options.valgrind else THREAD_SANITIZER if options.threads else SANITIZERS
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        build = Build(
            options.compiler, Path(folder), flags + (PLAIN if options.plain else ()), options.jobs
        ).compile_core()
        with ThreadPoolExecutor(options.jobs) as pool:
            runs = [
                (path, pool.submit(build.run, path, *(VALGRIND if options.valgrind else ()), timeout=3600))
                for path in wanted
            ]
            for path, run in runs:
                try:
                    print(f"{path.name}: {run.result().strip()}")
                except AssertionError as error:
                    print(error)
                    failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
