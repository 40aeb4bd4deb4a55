"""Would the tests notice? Small mistakes are put into a copy of the source, one at a time, and the tests of the file run.

``python tests/mutants.py --number 60 --seed 7 --minutes 30`` takes lines of the C core and of the Python package at random and
says of each mistake whether a test failed. ``--file core/order.c --line 151`` makes all mistakes of one line. The exit code is
1 if the share of noticed mistakes is below ``--at-least``, and 2 if the tests fail without any mistake.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "phasic_models"

# The folders of tests/ that cover a room, the quickest first; a room that is not named here has a folder of its own name.
NUMBERS = ["evaluation", "elimination", "model", "core", "verification/test_search.py", "verification/test_exact.py"]
COVERED_BY = {
    "core": ["elimination/test_engine.py", "core/test_twin_vs_core.py", "core/test_status.py", *NUMBERS],
    "elimination": ["elimination", *NUMBERS],
    "evaluation": NUMBERS,
    "model": ["model", *NUMBERS],
    "statespace": ["statespace", "formats"],
    "symbolic_cache": ["symbolic_cache", "cache"],
    "cache": ["cache", "symbolic_cache", "upkeep", "cli"],
    "files": ["files", "packaging", "remote", "library"],
    "packaging": ["packaging", "remote", "library"],
    "formats": ["formats", "remote/test_index.py", "upkeep"],
    "graph.py": ["statespace", "elimination", "model"],
    "dag.py": ["elimination", "formats"],
    "cloud_cache.py": ["remote"],
    "compat.py": ["library"],
    "progress.py": ["cli", "statespace"],
}
# core/build_core.py and declarations are seen by the compiler; schemas and the command line's texts are no numbers.
LEFT_OUT = re.compile(r"core/(build_core|native)\.py$|errors\.py$|phasic_bridge\.py$|__init__\.py$|__main__\.py$")

OTHER = {
    " + ": " - ", " - ": " + ", " * ": " / ", " / ": " * ", " += ": " -= ", " -= ": " += ", " < ": " <= ", " <= ": " < ",
    " > ": " >= ", " >= ": " > ", " == ": " != ", " != ": " == ", " && ": " || ", " || ": " && ", " and ": " or ",
    " or ": " and ", "break;": ";", "continue;": ";", " % ": " * ", " is not ": " is ", "++": "--", "True": "False",
    "False": "True", "min(": "max(", "max(": "min(",
}  # fmt: skip
SIGNS = re.compile(
    "|".join(re.escape(sign) for sign in sorted(OTHER, key=len, reverse=True)) + r"|(?<![\w.])[0-9](?![\w.])"
)
ARGUMENT = re.compile(r", (\w+)=\1(?=[,)])")


class Mutant(NamedTuple):
    """One mistake: the file below src/phasic_models, the line from 1 on, and what the line becomes."""

    file: str
    line: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.before.strip()}  ->  {self.after.strip()}"


def code_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that do something: without comments, docstrings, imports and preprocessor."""
    text = path.read_text(encoding="utf-8")
    dead: set[int] = set()
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            constant = isinstance(node, ast.Constant) and isinstance(node.value, str)
            joined = isinstance(node, ast.JoinedStr)
            if constant or joined or isinstance(node, ast.Import | ast.ImportFrom | ast.Raise):
                dead.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    else:
        for comment in re.finditer(r"/\*.*?\*/", text, re.DOTALL):
            first = text.count("\n", 0, comment.start()) + 1
            dead.update(range(first, first + comment.group().count("\n") + 1))
    for number, line in enumerate(text.splitlines(), 1):
        if number not in dead and line.strip() and not line.lstrip().startswith(("#", "//", "@", "*", "return PM_E")):
            yield number, line


def mistakes(file: str) -> list[Mutant]:
    """Every mistake that can be made in a file."""
    found = []
    for number, line in code_lines(PACKAGE / file):
        code = line.split("  #")[0].split("//")[0]
        for match in SIGNS.finditer(code):
            sign = match.group()
            if sign in ("++", "--") and not file.endswith(".c"):
                continue
            new = OTHER[sign] if sign in OTHER else str(int(sign) + 1)
            found.append(Mutant(file, number, line, line[: match.start()] + new + line[match.end() :]))
        for match in ARGUMENT.finditer(code):
            found.append(Mutant(file, number, line, line[: match.start()] + line[match.end() :]))
    return found


def sources() -> list[str]:
    files = (path.relative_to(PACKAGE).as_posix() for pattern in ("*.py", "*.c") for path in PACKAGE.rglob(pattern))
    return sorted(file for file in files if not LEFT_OUT.search(file))


def tests_of(file: str) -> list[str]:
    """The tests that cover a file: those of its name first, then its room's."""
    room, stem = file.split("/")[0], Path(file).stem
    own = sorted((ROOT / "tests").rglob(f"test_{stem}.py"))
    folders = [ROOT / "tests" / name for name in COVERED_BY.get(room, [room.removesuffix(".py")])]
    return [str(path.relative_to(ROOT)) for path in [*own, *folders] if path.exists()]


class Workshop:
    """A copy of the repository in which one file at a time is wrong."""

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder, self.limit = folder, limit
        ignored = shutil.ignore_patterns(".*", "build", "__pycache__", "*.egg-info")
        for name in ("src", "tests", "libraries", "docs", "benchmarks", "examples", "recipes"):
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        for path in ROOT.glob("*.*"):
            if path.is_file() and not path.name.startswith("."):
                shutil.copy(path, folder)
        shutil.copytree(ROOT / ".github", folder / ".github")

    def run(self, *command: str) -> int:
        environment = {**os.environ, "PYTHONPATH": str(self.folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                [sys.executable, *command],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self.limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return -1  # a loop without end is noticed, too
        return done.returncode

    def compiled(self) -> bool:
        return self.run("setup.py", "-q", "build_ext", "--inplace") == 0

    def noticed(self, file: str) -> bool:
        """Whether a test fails; for a file of the core, its own test in C comes first."""
        stem = Path(file).stem
        if (ROOT / "tests" / "c" / f"test_{stem}.c").exists() and self.run("tests/c_runner.py", stem) != 0:
            return True
        options = ("-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", "not slow")
        return self.run("-m", "pytest", *options, *tests_of(file)) != 0

    def outcome(self, mutant: Mutant) -> str:
        path = self.folder / "src" / "phasic_models" / mutant.file
        original = path.read_bytes()
        lines = original.decode().splitlines(keepends=True)
        lines[mutant.line - 1] = mutant.after + "\n"
        path.write_text("".join(lines), encoding="utf-8", newline="\n")
        try:
            if mutant.file.endswith(".c") and not self.compiled():
                return "does not compile"
            return "noticed" if self.noticed(mutant.file) else "SURVIVED"
        finally:
            path.write_bytes(original)


def chosen(options: argparse.Namespace) -> list[Mutant]:
    """The mistakes to try, the core and Python by turns, no two in one line."""
    if options.file:
        return [m for m in mistakes(options.file) if options.line in (None, m.line)][: options.number]
    rng = random.Random(options.seed)
    core = [file for file in sources() if file.endswith(".c")]
    python = [file for file in sources() if not file.endswith(".c")]
    picked = []
    for files in (core, python):
        pool = [mutant for file in files for mutant in mistakes(file)]
        by_line = {(mutant.file, mutant.line): mutant for mutant in rng.sample(pool, len(pool))}
        picked.append(rng.sample(list(by_line.values()), len(by_line)))
    return [mutant for pair in zip(*picked, strict=False) for mutant in pair][: options.number]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=60, help="how many mistakes to try")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30.0, help="begin no further mistake after this time")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for the tests of one file")
    parser.add_argument("--at-least", type=float, default=0.9, help="the share that must be noticed")
    parser.add_argument("--file", help="a file below src/phasic_models")
    parser.add_argument("--line", type=int)
    return parser.parse_args()


def main() -> int:
    options = arguments()
    end = time.monotonic() + 60 * options.minutes
    counts = {"noticed": 0, "SURVIVED": 0, "does not compile": 0}
    sound: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        workshop = Workshop(Path(folder), options.limit)
        if not workshop.compiled():
            print("the core does not compile")
            return 2
        for mutant in chosen(options):
            if time.monotonic() > end:
                break
            found = workshop.outcome(mutant)
            room = mutant.file.split("/")[0]
            if found == "noticed" and room not in sound:
                # Tests that fail without any mistake would notice everything.
                if mutant.file.endswith(".c"):
                    workshop.compiled()
                if workshop.noticed(mutant.file):
                    print(f"the tests of {room} fail without any mistake, or take more than {options.limit:g} s")
                    return 2
                sound.add(room)
            counts[found] += 1
            print(f"{found:16} {mutant}", flush=True)
    tried = counts["noticed"] + counts["SURVIVED"]
    share = counts["noticed"] / tried if tried else 0.0
    print(f"{counts['noticed']} of {tried} noticed ({share:.0%}); seed {options.seed}")
    return 0 if share >= options.at_least else 1


if __name__ == "__main__":
    sys.exit(main())
