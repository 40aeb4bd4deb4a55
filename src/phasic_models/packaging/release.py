"""From library folders to everything that is published: built files, packages, a channel, tarballs and checksums.

`build_models.py` calls this module.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

from ..errors import LibraryError
from ..files.atomic import write_atomic
from ..files.checksums import sha256_file
from ..formats import manifest_problems, read_manifest
from ..library import (
    Library,
    LibraryBuild,
    LibraryMistakes,
    Limits,
    Lock,
    discover,
    lock_differences,
    render_readme,
    updated_lock,
)
from ..library.build import build_libraries, load_isolated
from ..library.dispatch import Runner, run_locally, run_on_dask
from ..library.isolation import Workers
from ..library.one_model import Task
from ..library.shards import Part, build_shard, merging
from .channel import against, index_channel
from .conda import ALL_PACKAGE, all_recipe_text, package_all, package_library, package_name, recipe_text, require_tools
from .indexing import write_release_files
from .tarball import pack_library, tarball_name
from .versions import compatibility_text, version_due

__all__ = ["LibraryRelease", "Means", "Release", "check", "make_release", "make_shard", "release_version"]

# Only this project makes the package that pins every library, and the page of what works with what.
_PROJECT = "phasic-models"

#: Called with what is being done, how many models are done, and how many there are.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Means:
    """How models are built.

    Attributes
    ----------
    jobs
        Number of models at a time. The bytes do not depend on it.
    limits
        The limits of each model.
    dask
        Address of the scheduler of a dask cluster that builds them.
    parts
        Folders of parts of this build that `make_shard` has made: the models are taken from there.
    """

    jobs: int = 1
    limits: Limits = field(default_factory=Limits)
    dask: str | None = None
    parts: Sequence[Path] = ()

    def runner(self, libraries: Sequence[Library], workers: Workers) -> Runner:
        """Return the function that builds the models of these libraries."""
        if self.parts:
            return merging(libraries, self.parts)
        if self.dask is not None:
            return partial(run_on_dask, address=self.dask, limits=self.limits)
        return partial(run_locally, workers=workers, jobs=self.jobs)


@dataclass(frozen=True)
class LibraryRelease:
    """One library: its files, its conda package and its tarball."""

    build: LibraryBuild
    package: Path
    tarball: Path


@dataclass(frozen=True)
class Release:
    """The results of a build.

    Attributes
    ----------
    libraries
        One entry for each library.
    packages
        Every conda package, that of all libraries included.
    written
        Files among the sources that were renewed.
    advice
        Sentences for the author, such as which version number is due.
    """

    libraries: list[LibraryRelease]
    packages: list[Path]
    written: list[Path] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)


def make_release(
    root: Path,
    out: Path,
    *,
    categories: Sequence[str] = (),
    means: Means | None = None,
    update: bool = False,
    progress: Progress | None = None,
) -> Release:
    """Build, check, package and index libraries.

    Parameters
    ----------
    root
        Root of the repository: ``libraries``, ``recipes`` and ``LICENSE`` are there.
    out
        Receives ``libraries``, ``channel`` and ``archives``.
    categories
        Libraries to build; by default every one. The package that pins every library is made only then, and only in
        the repository of this project.
    means
        How the models are built; by default one after the other, on this machine.
    update
        Renew what is generated from library.yaml: changed entries of library.lock, recipes, tables of the READMEs.
    progress
        Called after each model, and when packaging begins.

    Returns
    -------
    Release
        The results.

    Raises
    ------
    LibraryError
        Where libraries are wrong, or a build disagrees with its lock, recipe or README. Nothing is packaged then.
    """
    require_tools()
    means = means or Means()
    with Workers(means.limits) as workers:
        libraries, locks = _load(root, categories, workers)
        licences = {library.category: _licence(root, library) for library in libraries}
        runner = means.runner(libraries, workers)
        builds = build_libraries(libraries, out / "libraries", locks, runner, _reporting(progress))
    advice = [line for build in builds if (lock := locks[build.category]) for line in version_due(lock, build)]
    collection = not categories and _is_the_project(root)
    files = _generated(root, libraries, collection=collection)
    written: list[Path] = []
    if update:
        for library, build in zip(libraries, builds, strict=True):
            files[library.lock_path] = updated_lock(build, locks[build.category]).encode().decode()
        written = [path for path, text in sorted(files.items()) if _renew(path, text)]
    else:
        _refuse_drift(root, builds, locks, files)
    if progress is not None:
        models = sum(len(build.models) for build in builds)
        progress("packaging", models, models)
    releases = []
    for build in builds:
        recipe = files[_recipe_path(root, package_name(build.category))]
        package = _package(recipe, licences[build.category], out, build)
        releases.append(LibraryRelease(build, package, _tarball(out, build)))
    packages = [release.package for release in releases]
    if collection:
        latest = max(_moment(build.created) for build in builds)
        recipe = files[_recipe_path(root, ALL_PACKAGE)]
        packages.append(package_all(recipe, out / "channel" / "noarch", timestamp=latest))
    _remove_outdated(out, releases, packages, complete=not categories)
    index_channel(out / "channel")
    write_release_files(out / "archives")
    _refuse_less(libraries, releases, packages)
    return Release(releases, packages, written, advice)


def make_shard(
    root: Path,
    out: Path,
    part: Part,
    *,
    categories: Sequence[str] = (),
    means: Means | None = None,
    progress: Progress | None = None,
) -> Path:
    """Build one part of the models; `make_release` puts the parts together and checks them against the locks.

    Parameters
    ----------
    root, categories, means, progress
        As in `make_release`.
    out
        Receives ``shards/I-of-N``.
    part
        Which part.

    Returns
    -------
    Path
        The folder of the part.
    """
    means = means or Means()
    with Workers(means.limits) as workers:
        libraries, locks = _load(root, categories, workers)
        runner = means.runner(libraries, workers)
        return build_shard(libraries, out / "shards", part, locks, runner, _reporting(progress))


def check(
    root: Path,
    *,
    categories: Sequence[str] = (),
    means: Means | None = None,
    built: Path | None = None,
    published: str | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Rebuild in a temporary folder, and say what differs.

    The rebuild is compared with every lock, with `built` and with `published`.

    Parameters
    ----------
    root, categories, means, progress
        As in `make_release`.
    built
        Folder of an earlier build on this machine, whose packages and tarballs must be the same to the byte.
    published
        A package or a channel, as in `phasic_models.packaging.channel.against`.

    Returns
    -------
    list of str
        One line for each difference.
    """
    with tempfile.TemporaryDirectory(prefix="phasic-models-check-") as scratch:
        out = Path(scratch) / "build"
        try:
            release = make_release(root, out, categories=categories, means=means, progress=progress)
        except LibraryMistakes:
            raise
        except LibraryError as error:
            return str(error).splitlines()
        lines = []
        if built is not None:
            lines += _compare_folders(out, built, [*release.packages, *(item.tarball for item in release.libraries)])
        if published is not None:
            compared = False
            for package in release.packages:
                found = against(package, published, Path(scratch))
                compared |= found is not None
                lines += [f"{package.name}: {line}" for line in found or ()]
            if not compared:
                # Silence would read as "the same", although the address may just be wrong.
                lines.append(
                    f"{published}: nothing was compared, it has no package of this name, version and build number: "
                    + ", ".join(package.name for package in release.packages)
                )
        return lines


def release_version(root: Path) -> str:
    """Version of the project, which is that of a release and of the package that pins every library.

    Parameters
    ----------
    root
        Folder that holds pyproject.toml.
    """
    found = _stated(root, "version")
    if not found:
        raise LibraryError(
            f'{root / "pyproject.toml"}: expected [project] with version = "…", the version of the release'
        )
    return found


def _is_the_project(root: Path) -> bool:
    return _stated(root, "name") == _PROJECT


def _stated(root: Path, key: str) -> str | None:
    """A text that pyproject.toml states of the project."""
    path = root / "pyproject.toml"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    # One line is wanted, and Python 3.10 has no reader of TOML.
    project = re.search(r"^\[project\]$(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)
    found = re.search(rf'^{key} *= *"([^"]+)"', project[1], re.MULTILINE) if project else None
    return found[1] if found else None


def _load(root: Path, categories: Sequence[str], workers: Workers) -> tuple[list[Library], dict[str, Lock | None]]:
    folders = {folder.name: folder for folder in discover(root / "libraries")}
    if not folders:
        raise LibraryError(f"{root / 'libraries'}: there is no library, that is, no folder with a library.yaml")
    if unknown := sorted(set(categories) - set(folders)):
        raise LibraryError(f"no library is called {', '.join(unknown)}; there are {', '.join(folders)}")
    asked = [folder for name, folder in folders.items() if not categories or name in categories]
    libraries = load_isolated(asked, workers)
    return libraries, {library.category: Lock.read_if_present(library.lock_path) for library in libraries}


def _reporting(progress: Progress | None) -> Callable[[int, int, Task], None]:
    def report(done: int, total: int, task: Task) -> None:
        if progress is not None:
            progress(task.name, done, total)

    return report


def _licence(root: Path, library: Library) -> Path:
    """The licence that goes into a package: that of the library, or of the whole repository."""
    places = [library.folder / "LICENSE", root / "LICENSE"]
    for path in places:
        if path.is_file():
            return path
    raise LibraryError(
        f"{library.category}: a package holds its licence, and there is neither {places[0]} nor {places[1]}"
    )


def _refuse_less(libraries: Sequence[Library], releases: Sequence[LibraryRelease], packages: Sequence[Path]) -> None:
    """Look at what is on the disk, and fail where it is not all that was asked for."""
    problems = [f"{path}: missing" for path in packages if not path.is_file()]
    problems += [f"{release.tarball}: missing" for release in releases if not release.tarball.is_file()]
    for library, release in zip(libraries, releases, strict=True):
        folder = release.build.folder
        manifest = read_manifest(folder / "manifest.json")
        problems += manifest_problems(folder, manifest)
        there = {model.name for model in manifest.models} & {path.stem for path in folder.glob("*.safetensors")}
        problems += [f"{folder / name}: missing" for name in library.model_names if name not in there]
    if problems:
        raise LibraryError("\n".join(["the build is not complete:", *problems]))


def _generated(root: Path, libraries: Sequence[Library], *, collection: bool) -> dict[Path, str]:
    """Return the texts that are generated from library.yaml and committed."""
    files = {}
    for library in libraries:
        files[_recipe_path(root, package_name(library.category))] = recipe_text(library.spec)
        readme = library.folder / "README.md"
        if readme.is_file():
            files[readme] = render_readme(library, readme.read_text(encoding="utf-8"))
    if collection:
        specs = [library.spec for library in libraries]
        files[_recipe_path(root, ALL_PACKAGE)] = all_recipe_text(specs, release_version(root))
        files[root / "docs" / "compatibility.md"] = compatibility_text(specs)
    return files


def _recipe_path(root: Path, package: str) -> Path:
    return root / "recipes" / package / "recipe.yaml"


def _renew(path: Path, text: str) -> bool:
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text)
    return True


def _refuse_drift(
    root: Path, builds: Sequence[LibraryBuild], locks: dict[str, Lock | None], files: dict[Path, str]
) -> None:
    lines = [line for build in builds for line in lock_differences(build, locks[build.category])]
    lines += [
        f"{path.relative_to(root).as_posix()}: not what library.yaml gives"
        for path, text in sorted(files.items())
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    if lines:
        raise LibraryError(
            "\n".join(lines)
            + "\nThe build disagrees with what is committed. If the change is meant: build_models.py --update-lock"
        )


def _package(recipe: str, licence: Path, out: Path, build: LibraryBuild) -> Path:
    channel = out / "channel" / "noarch"
    return package_library(recipe, build.folder, channel, timestamp=_moment(build.created), license_file=licence)


def _tarball(out: Path, build: LibraryBuild) -> Path:
    return pack_library(build.folder, out / "archives" / tarball_name(build.category, build.version))


def _moment(created: str) -> datetime:
    return datetime.fromisoformat(created.replace("Z", "+00:00"))


def _remove_outdated(
    out: Path, releases: Sequence[LibraryRelease], packages: Sequence[Path], *, complete: bool
) -> None:
    """Remove what earlier builds left in the output, so that its channel is what the sources say.

    Only the build's own output is meant here; nothing is ever removed from a channel that packages are added to.
    """
    names = {package_name(release.build.category) for release in releases}
    for path in (out / "channel" / "noarch").glob("*.conda"):
        if path not in packages and (complete or path.name.rsplit("-", 2)[0] in names):
            path.unlink()
    tarballs = {release.tarball for release in releases}
    categories = {release.build.category for release in releases}
    for path in (out / "archives").glob("*.tar.gz"):
        if path not in tarballs and (complete or path.name.split("_models_v")[0] in categories):
            path.unlink()


def _compare_folders(out: Path, built: Path, paths: Sequence[Path]) -> list[str]:
    lines = []
    for path in paths:
        other = built / path.relative_to(out)
        if not other.is_file():
            lines.append(f"{path.name}: not in {built}")
        elif sha256_file(other) != sha256_file(path):
            lines.append(f"{path.name}: sha256 {sha256_file(other)} in {built} is now {sha256_file(path)}")
    return lines
