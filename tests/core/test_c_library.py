"""The C core as a library without Python: its own build, and the examples in C that use it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import c_runner
import numpy as np
import pytest

import phasic_models as pm
from phasic_models.core.native import ffi, lib

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "c"
COMPILER = c_runner.find_compiler()
NEEDED = [name for name in ("cmake", "pkg-config") if shutil.which(name) is None]

pytestmark = pytest.mark.skipif(
    COMPILER is None or sys.platform == "win32", reason="needs a C compiler that speaks as gcc does; set CC"
)


def checked(*command: str | Path, **options) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """Where the library has been installed, after it was moved from where it was said to go."""
    if NEEDED:
        pytest.skip(f"needs {' and '.join(NEEDED)}")
    folder = tmp_path_factory.mktemp("library")
    build = folder / "build"
    # Other tests optimise; this is about what is built.
    options = [
        "-DCMAKE_BUILD_TYPE=Debug",
        f"-DCMAKE_C_COMPILER={COMPILER}",
        "-DCMAKE_C_FLAGS=-Wall -Wextra -Wconversion -Werror",
    ]
    checked("cmake", "-S", c_runner.CORE, "-B", build, *options, f"-DCMAKE_INSTALL_PREFIX={folder / 'first'}")
    checked("cmake", "--build", build, "--parallel", "2")
    checked("cmake", "--install", build)
    (folder / "first").rename(folder / "moved")
    return folder / "moved"


def flags(prefix: Path, *wanted: str) -> list[str]:
    path = next(prefix.rglob("*.pc")).parent
    environment = {**os.environ, "PKG_CONFIG_PATH": str(path)}
    return checked("pkg-config", *wanted, "phasic-models-core", env=environment).split()


def compiled(prefix: Path, folder: Path, name: str, *sources: str, static: bool = False) -> Path:
    """Compile an example as its page says, or against the static library."""
    link = flags(prefix, "--cflags", *(["--static"] if static else []), "--libs")
    if static:
        link = [str(next(prefix.rglob("*.a"))) if flag.startswith("-lphasic") else flag for flag in link]
    paths = [EXAMPLES / source for source in (f"{name}.c", *sources)]
    strict = [flag for flag in c_runner.WARNINGS if flag != "-Wcast-qual"]
    checked(
        COMPILER,
        *strict,
        "-O1",
        *paths,
        *link,
        "-lm",
        f"-Wl,-rpath,{next(prefix.rglob('*.pc')).parent.parent}",
        "-o",
        folder / name,
    )
    return folder / name


def test_the_stub_for_type_checkers_is_what_the_header_says():
    """Where it is not: uv run python src/phasic_models/core/build_core.py."""
    pytest.importorskip("cffi")
    spec = importlib.util.spec_from_file_location("build_core", c_runner.CORE / "build_core.py")
    build_core = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build_core)
    assert build_core.stub() == (c_runner.CORE / "_core.pyi").read_text(encoding="utf-8")
    named = set(re.findall(r"def (pm_\w+)|^    (PM_\w+): int$", build_core.stub(), re.MULTILINE))
    assert {a or b for a, b in named} == {name for name in dir(lib) if name != "pm_python_poll"}


def machine(state):
    failure, repair = pm.params("failure", "repair")
    if len(state) == 0:
        return [([2], 1.0)]
    return {2: [([1], failure)], 1: [([2], repair), ([0], 0.5)], 0: []}[int(state[0])]


def numbers(text: str) -> list[float]:
    return [float(word) for word in text.split()]


def test_installed_version(prefix):
    version = flags(prefix, "--modversion")
    assert version == [ffi.string(lib.pm_version()).decode()]
    assert version == [re.match(r"[\d.]*\d", pm.__version__)[0]]


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm")
def test_shared_library_exports_the_header_and_nothing_else(prefix):
    library = next(path for path in prefix.rglob("libphasic_models_core.*") if path.suffix in (".so", ".dylib"))
    flag = "-gU" if library.suffix == ".dylib" else "-D"
    lines = [line.split() for line in checked("nm", flag, library).splitlines()]
    exported = {line[-1].lstrip("_").split("@")[0] for line in lines if line[-2] in "TDRB"}
    declared = {name for name in dir(lib) if name.startswith("pm_") and name != "pm_python_poll"}
    assert exported - {"init", "fini"} == declared


@pytest.mark.parametrize("static", [False, True])
def test_mean(prefix, tmp_path, static):
    program = compiled(prefix, tmp_path, "mean", static=static)
    value, grad = pm.Graph(machine).model().moments_and_grad([0.7, 3.0], 1)
    assert numbers(checked(program, "0.7", "3")) == [*value, *grad[0]]
    assert numbers(checked(program, "1", "3"))[0] == 9.0  # by hand, in docs/format.md


def test_density_of_a_model_file(prefix, tmp_path):
    program = compiled(prefix, tmp_path, "density", "model_file.c")
    path = tmp_path / "machine.safetensors"
    graph = pm.Graph(machine)
    graph.eliminate().save(path)
    times = np.array([0.0, 0.25, 1.0, 10.0])
    printed = np.reshape(numbers(checked(program, path, "0.7,3", *map(str, times))), (-1, 2))
    assert (printed[:, 0] == times).all()
    # Both call the exp of some C library.
    np.testing.assert_allclose(printed[:, 1], graph.model().pdf([0.7, 3.0], times), rtol=1e-14)


def test_density_of_a_discrete_model(prefix, tmp_path):
    program = compiled(prefix, tmp_path, "density", "model_file.c")
    path = tmp_path / "coin.safetensors"
    coin = {2: [([1], pm.params("p"))], 1: []}
    pm.Graph(lambda s: coin[int(s[0])], ipv=[2], param_names=["p"], discrete=True).eliminate().save(path)
    printed = numbers(checked(program, path, "0.25", "1", "3"))
    assert printed == [1.0, 0.25, 3.0, 0.25 * 0.75**2]


def test_what_the_density_example_refuses(prefix, tmp_path):
    program = compiled(prefix, tmp_path, "density", "model_file.c")
    path = tmp_path / "machine.safetensors"
    pm.Graph(machine).eliminate().save(path)
    whole = path.read_bytes()
    cases = [
        (whole[:100], "1,1", "no safetensors file"),
        (whole[:-8], "1,1", "is missing or has another type or size"),
        (whole.replace(b"phasic_models", b"other_program"), "1,1", "no metadata of a model"),
        (whole.replace(b"edge_slot", b"edge_slop"), "1,1", "edge_slot"),
        (whole, "1", "has 2 parameters"),
        (whole, "1,-1", "a weight is negative"),
    ]
    for content, theta, message in cases:
        path.write_bytes(content)
        done = subprocess.run([str(program), str(path), theta, "1"], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert message in done.stderr
