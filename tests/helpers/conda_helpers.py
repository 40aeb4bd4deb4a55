"""What the tests of packages and channels share: stub packages, a web server on loopback, solve and install."""

from __future__ import annotations

import asyncio
import http.server
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import rattler
import yaml
from rattler_build import FileEntry, assemble_package

from phasic_models.library.spec import Citation, Compatible, LibrarySpec, ModelSpec, Parameter
from phasic_models.packaging.channel import index_channel
from phasic_models.packaging.conda import package_library, recipe_text

ROOT = Path(__file__).resolve().parents[2]
TIMESTAMP = datetime(2026, 11, 20, 12, 30, tzinfo=timezone.utc)


def make_spec(category: str = "coalescent", version: str = "1.0.0", build: int = 0, **changes: Any) -> LibrarySpec:
    model = ModelSpec(
        name="n_samples_3",
        function="kingman",
        description="Height of the tree of 3 samples",
        parameters=[Parameter(name="rate", description="Coalescence rate", unit="1/time", example=1.0)],
        citation=Citation(
            authors=["Kingman, J. F. C."], year=1982, title="The coalescent", doi="10.1016/0304-4149(82)90011-4"
        ),
    )
    fields: dict[str, Any] = {
        "category": category,
        "version": version,
        "build": build,
        "description": "Coalescent models: tree heights",
        "license": "MIT",
        "compatible": Compatible(phasic=">=0.21,<0.33", phasic_models=">=0.1,<1"),
        "models": [model],
    }
    return LibrarySpec(**fields | changes)


def reduced_library(root: Path, category: str, models: Sequence[str], version: str | None = None) -> None:
    """Copy a library of this repository below another root, with only some of its models."""
    source, target = ROOT / "libraries" / category, root / "libraries" / category
    target.mkdir(parents=True, exist_ok=True)
    content = yaml.safe_load((source / "library.yaml").read_text(encoding="utf-8"))
    content["models"] = [model for model in content["models"] if model["name"] in models]
    assert len(content["models"]) == len(models)
    content["version"] = version or content["version"]
    (target / "library.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    shutil.copyfile(source / "models.py", target / "models.py")


def mini_repository(
    root: Path, *, version: str = "1.0.0", models: Sequence[str] = ("n_samples_3", "n_samples_10")
) -> None:
    """Make a repository with the coalescent and queuing libraries of this one, reduced to a few models."""
    reduced_library(root, "coalescent", models, version)
    reduced_library(root, "queuing", ["mm1_queue"])
    shutil.copyfile(ROOT / "LICENSE", root / "LICENSE")
    (root / "pyproject.toml").write_text(f'[project]\nname = "phasic-models"\nversion = "{version}"\n')


def read_toml(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(path.read_text(encoding="utf-8"))


def bare_environment(home: Path, **variables: str) -> dict[str, str]:
    """Return the variables of a user who set nothing: only the home folder is not the tester's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PHASIC", "CONDA", "PYTHON"))}
    return kept | {"HOME": str(home), "USERPROFILE": str(home), **variables}


def library_package(
    tmp_path: Path, content: str = "{}", *, version: str = "1.0.0", build: int = 0, category: str = "coalescent"
) -> Path:
    folder = tmp_path / "libraries" / category
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(content)
    (tmp_path / "LICENSE").write_text("MIT\n")
    spec = make_spec(category, version, build)
    out = tmp_path / "packages"
    return package_library(recipe_text(spec), folder, out, timestamp=TIMESTAMP, license_file=tmp_path / "LICENSE")


def stub(
    channel: Path,
    name: str,
    version: str,
    *,
    depends: Sequence[str] = (),
    constrains: Sequence[str] = (),
    files: Mapping[str, Path] | None = None,
) -> Path:
    """Put a package into a channel that has only a name, a version and, if asked, some files."""
    entries = [FileEntry.from_paths(source, target) for target, source in (files or {}).items()]
    return assemble_package(
        name,
        version,
        "noarch",
        "hstub_0",
        channel / "noarch",
        files=entries,
        depends=depends,
        constrains=constrains,
        noarch="generic",
        timestamp=TIMESTAMP,
        detect_prefix=False,
    ).path


def solve(channel: str, *specs: str, client: rattler.Client | None = None) -> list[rattler.RepoDataRecord]:
    """Solve for an environment with packages from one channel; nothing is remembered from an earlier solve."""

    async def run(cache: str) -> list[rattler.RepoDataRecord]:
        gateway = rattler.Gateway(cache_dir=Path(cache), client=client)
        return await rattler.solve([rattler.Channel(channel)], list(specs), gateway=gateway, platforms=["noarch"])

    with tempfile.TemporaryDirectory() as cache:
        return asyncio.run(run(cache))


def install(
    records: Sequence[rattler.RepoDataRecord], prefix: Path, package_cache: Path, client: rattler.Client | None = None
) -> None:
    async def run() -> None:
        await rattler.install(list(records), prefix, package_cache, show_progress=False, client=client)

    asyncio.run(run())


def names(records: Sequence[rattler.RepoDataRecord]) -> list[str]:
    return sorted(f"{record.name.normalized} {record.version}" for record in records)


def index(channel: Path) -> str:
    """Index a channel folder and return its URL."""
    index_channel(channel)
    return channel.resolve().as_uri()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP on loopback; gives its URL."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
