"""The C core computes the same bits on every platform.

One digest is promised for moments, covariances and gradients of moments, whatever compiler, C library and machine. Densities also
call exp and log of the C library: they are the same wherever that is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import c_runner
import pytest
import same_bits

COMPILER = c_runner.find_compiler()
#: Set where everything is installed, so that nothing is skipped.
REQUIRED = bool(os.environ.get("PHASIC_MODELS_ALL_PLATFORMS"))


@pytest.mark.skipif(
    COMPILER is None or sys.platform == "win32", reason="needs a C compiler that speaks as gcc does; set CC"
)
def test_on_this_machine(tmp_path):
    found = same_bits.run(same_bits.compile_here(COMPILER, tmp_path))
    assert len(found["exact"]) > 2000
    # Where the change is meant: python tests/same_bits.py --renew
    assert same_bits.digest(found["exact"]) == same_bits.DIGEST.read_text().strip()


@pytest.fixture(scope="module")
def library_of_x86_64(tmp_path_factory):
    """The numbers that call exp and log, on one platform."""
    platform = same_bits.PLATFORMS["x86-64"]
    return same_bits.run(same_bits.compile_for(platform, tmp_path_factory.mktemp("first")), *platform.runner)["library"]


@pytest.mark.slow
@pytest.mark.parametrize("name", same_bits.PLATFORMS)
def test_on_other_platforms(name, tmp_path, request):
    platform = same_bits.PLATFORMS[name]
    for needed in (platform, same_bits.PLATFORMS["x86-64"]):
        if reason := same_bits.missing(needed):
            assert not REQUIRED, reason
            pytest.skip(reason)
    program = same_bits.compile_for(platform, tmp_path)
    found = same_bits.run(program, *platform.runner)
    assert same_bits.digest(found["exact"]) == same_bits.DIGEST.read_text().strip()
    assert found["library"] == request.getfixturevalue("library_of_x86_64")
    if name == "wasm32":
        print(f"WebAssembly: {program.stat().st_size:,} bytes")
        assert program.stat().st_size < 150_000


@pytest.mark.skipif(
    COMPILER is None or sys.platform == "win32", reason="needs a C compiler that speaks as gcc does; set CC"
)
def test_contraction_would_be_noticed(tmp_path):
    """With fused multiply-adds the digest differs, so it can fail."""
    if not c_runner.supports(COMPILER, "-mfma") or "fma" not in _processor():
        pytest.skip("needs a processor with fused multiply-adds that the compiler can use")
    command = [
        COMPILER,
        "-std=c11",
        "-O2",
        "-ffp-contract=fast",
        "-mfma",
        f"-I{c_runner.CORE}",
        f"-I{same_bits.SOURCES}",
    ]
    sources = [*same_bits.SOURCES.glob("*.c"), *c_runner.core_sources()]
    subprocess.run([*command, *map(str, sources), "-lm", "-o", str(tmp_path / "fused")], check=True)
    found = same_bits.run(tmp_path / "fused")
    assert same_bits.digest(found["exact"]) != same_bits.DIGEST.read_text().strip()


def _processor():
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""
