"""The C core by itself: its unit tests under the sanitizers, and what compilers say about it.

Under valgrind: ``python tests/c_runner.py --valgrind``, or set PHASIC_MODELS_VALGRIND=1 for this module.
"""

import os
import shutil
import subprocess
import sys

import c_runner
import pytest

COMPILER = c_runner.find_compiler()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        COMPILER is None or sys.platform == "win32", reason="needs a C compiler that speaks as gcc does; set CC"
    ),
]


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    flags = c_runner.SANITIZERS if c_runner.supports(COMPILER, *c_runner.SANITIZERS) else ()
    return c_runner.Build(COMPILER, tmp_path_factory.mktemp("core"), flags).compile_core()


@pytest.mark.parametrize("test", c_runner.test_sources(), ids=lambda path: path.stem)
def test_unit_tests_under_the_sanitizers(build, test):
    assert " 0 failures" in build.run(test)


def test_threads_under_the_thread_sanitizer(tmp_path):
    if not c_runner.supports(COMPILER, *c_runner.THREAD_SANITIZER):
        pytest.skip("the compiler has no thread sanitizer that runs here")
    build = c_runner.Build(COMPILER, tmp_path, c_runner.THREAD_SANITIZER).compile_core()
    assert " 0 failures" in build.run(c_runner.TESTS / "test_threads.c")


def test_every_source_file_has_a_test():
    tested = " ".join(path.read_text() for path in c_runner.test_sources())
    missing = [path.name for path in c_runner.core_sources() if path.name not in tested and "kernels" not in path.name]
    assert not missing, f"no test in tests/c/ says that it covers {missing}"


def test_without_gnu_extensions(tmp_path):
    plain = c_runner.Build(COMPILER, tmp_path, c_runner.PLAIN).compile_core()
    for name in ("bits", "order", "kernels"):
        assert " 0 failures" in plain.run(c_runner.TESTS / f"test_{name}.c")


# One of the two has been found already.
OTHERS = [name for name in ("clang", "gcc") if shutil.which(name) and shutil.which(name) != COMPILER]


@pytest.mark.parametrize("compiler", OTHERS)
def test_other_compilers(compiler, tmp_path):
    if os.path.realpath(shutil.which(compiler)) == os.path.realpath(COMPILER):
        pytest.skip("is the compiler that was used")
    c_runner.Build(shutil.which(compiler), tmp_path).compile_core()


@pytest.mark.parametrize("target", ["x86_64-windows-gnu", "aarch64-macos", "aarch64-linux-musl", "x86-linux-gnu"])
def test_compiles_for_other_platforms(target, tmp_path):
    """With the C compiler that the ziglang wheel brings, where it is installed."""
    pytest.importorskip("ziglang")
    for source in c_runner.core_sources():
        command = [
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            "-target",
            target,
            *c_runner.WARNINGS,
            "-O1",
            "-ffp-contract=off",
        ]
        command += [f"-I{c_runner.CORE}", "-c", str(source), "-o", str(tmp_path / f"{source.stem}.o")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(
    shutil.which("valgrind") is None or not os.environ.get("PHASIC_MODELS_VALGRIND"),
    reason="slow; set PHASIC_MODELS_VALGRIND=1, with valgrind installed",
)
@pytest.mark.parametrize("test", c_runner.test_sources(), ids=lambda path: path.stem)
def test_unit_tests_under_valgrind(test, tmp_path):
    build = c_runner.Build(COMPILER, tmp_path).compile_core()
    assert " 0 failures" in build.run(test, *c_runner.VALGRIND, timeout=1800)
