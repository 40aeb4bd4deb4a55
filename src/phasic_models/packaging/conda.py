"""Conda packages of model libraries: the recipe, and the package that is the same to the byte at every build.

The recipe is the readable form of a package's metadata and works with a plain ``rattler-build build``. That route
stamps the time of the build into the package, so a release goes another way: the recipe is rendered by rattler-build,
and the package is assembled from the rendered metadata with a time that comes from ``library.lock``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..compat import VersionRange
from ..errors import FormatError, LibraryError, PhasicModelsError
from ..files.checksums import sha256_file
from ..files.names import PREFIX_FOLDER, SYMBOLIC_FOLDER, path_problem
from ..files.staging import staging_folder

if TYPE_CHECKING:
    from ..library.spec import LibrarySpec

__all__ = [
    "ALL_PACKAGE",
    "CACHE_FOLDER",
    "PackageContent",
    "all_recipe_text",
    "package_all",
    "package_differences",
    "package_library",
    "package_name",
    "read_package",
    "recipe_text",
    "require_tools",
]

ALL_PACKAGE = "phasic-models-all"
#: Where a library lands in an environment.
CACHE_FOLDER = f"{PREFIX_FOLDER}/{SYMBOLIC_FOLDER}"
HOMEPAGE = "https://github.com/munch-group/phasic-models"
#: Another level gives other bytes. Every .conda that was published was packed at this one.
_COMPRESSION_LEVEL = 9


def require_tools() -> None:
    """Check that what packages are made with is installed; the toolkit itself does without.

    Raises
    ------
    PhasicModelsError
        Where something is missing; the message says what, and how to get it.
    """
    missing = [
        package
        for package, module in (
            ("py-rattler-build", "rattler_build"),
            ("py-rattler", "rattler"),
            ("deflate", "deflate"),
        )
        if importlib.util.find_spec(module) is None
    ]
    if missing:
        raise PhasicModelsError(
            f"packages and channels are made with {', '.join(missing)}, which this Python does not have. "
            "In a checkout 'uv run' installs them; their versions are in the group 'build' of pyproject.toml"
        )


def package_name(category: str) -> str:
    """Name of the conda package of a library."""
    return f"phasic-models-{category}"


# -- recipes ------------------------------------------------------------------------------------------------------


def _description(spec: LibrarySpec) -> str:
    """Describe a library's package: its models, how to load one, and the models that were retracted."""
    names = ", ".join(model.name for model in spec.models)
    description = (
        f"Pre-computed phase-type models: {names}. "
        f"After installation, phasic_models.load_model('{spec.category}/{spec.models[0].name}') finds them."
    )
    for model in spec.models:
        if model.retraction is not None:
            description += f" Retracted: {model.name}: {model.retraction}."
    return description


def recipe_text(spec: LibrarySpec) -> str:
    """Write the recipe of a library's package; everything in it comes from library.yaml.

    Parameters
    ----------
    spec
        Content of library.yaml.

    Returns
    -------
    str
        ``recipe.yaml``, for a folder two levels below the root of the repository.
    """
    constraints = "\n".join(
        f"    - {package} {VersionRange.parse(allowed).conda_constraint}"
        for package, allowed in (("phasic", spec.compatible.phasic), ("phasic-models", spec.compatible.phasic_models))
    )
    return f"""\
# Written by build_models.py from libraries/{spec.category}/library.yaml: change that file, then run
#     uv run build_models.py --update-lock
# `rattler-build build --recipe` packages what build_models.py left in build/libraries.
schema_version: 1

context:
  category: {_quoted(spec.category)}
  version: {_quoted(spec.version)}

package:
  name: phasic-models-${{{{ category }}}}
  version: ${{{{ version }}}}

source:
  - path: ../../build/libraries/${{{{ category }}}}
    target_directory: library
  - path: ../../LICENSE

build:
  number: {spec.build}
  noarch: generic
  script:
    - if: unix
      then:
        - mkdir -p "$PREFIX/{CACHE_FOLDER}"
        - cp -R library "$PREFIX/{CACHE_FOLDER}/${{{{ category }}}}"
      else:
        - xcopy /E /I library "%PREFIX%\\{CACHE_FOLDER.replace("/", chr(92))}\\${{{{ category }}}}"

requirements:
  run_constraints:
{constraints}

tests:
  - package_contents:
      files:
        - {CACHE_FOLDER}/${{{{ category }}}}/manifest.json
        - {CACHE_FOLDER}/${{{{ category }}}}/*.json
        - {CACHE_FOLDER}/${{{{ category }}}}/*.meta
        - {CACHE_FOLDER}/${{{{ category }}}}/*.safetensors

about:
  homepage: {HOMEPAGE}
  license: {_quoted(spec.license)}
  license_file: LICENSE
  summary: {_quoted(spec.description)}
  description: {_quoted(_description(spec))}
"""


def all_recipe_text(specs: Iterable[LibrarySpec], version: str) -> str:
    """Write the recipe of the package that installs every library at its version.

    Parameters
    ----------
    specs
        Every library.
    version
        Version of the release.

    Returns
    -------
    str
        ``recipe.yaml``.
    """
    ordered = sorted(specs, key=lambda spec: spec.category)
    pins = "\n".join(f"    - {_quoted(f'{package_name(spec.category)} =={spec.version}')}" for spec in ordered)
    return f"""\
# Written by build_models.py from every libraries/*/library.yaml and the version of the project.
schema_version: 1

package:
  name: {ALL_PACKAGE}
  version: {_quoted(version)}

build:
  number: 0
  noarch: generic

requirements:
  run:
{pins}

about:
  homepage: {HOMEPAGE}
  license: MIT
  summary: Every library of pre-computed phase-type models
  description: {_quoted("Holds no file itself: it installs " + ", ".join(spec.category for spec in ordered) + ".")}
"""


def _quoted(text: str) -> str:
    # A JSON string is a YAML string; Jinja must find nothing to evaluate in it, and white space is one space.
    return json.dumps(" ".join(text.split()).replace("${{", "$ {{"), ensure_ascii=False)


# -- packages -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Metadata:
    """The metadata of a package in a rendered recipe."""

    name: str
    version: str
    build_number: int
    depends: tuple[str, ...]
    constrains: tuple[str, ...]
    homepage: str
    license: str
    summary: str
    description: str


def package_library(
    recipe: str,
    built_folder: Path,
    output_dir: Path,
    *,
    timestamp: datetime,
    license_file: Path,
) -> Path:
    """Package a built library; the same recipe, files and time always give the same bytes.

    Parameters
    ----------
    recipe
        Text of its recipe, as `recipe_text` writes it.
    built_folder
        The built library; its name is the category.
    output_dir
        Where to put the package: the ``noarch`` folder of a channel.
    timestamp
        Time that the package bears, from the library's lock.
    license_file
        Licence to put into the package.

    Returns
    -------
    Path
        The package; a package of the same name that was there is replaced.

    Raises
    ------
    LibraryError
        Where the recipe cannot be rendered or the folder holds something that cannot be packaged.
    """
    from rattler_build import FileEntry

    files = sorted(path for path in built_folder.rglob("*") if not path.is_dir())
    if not files:
        raise LibraryError(f"{built_folder}: there is no file to package; build the library first")
    entries, digests = [], []
    for path in files:
        destination = f"{CACHE_FOLDER}/{built_folder.name}/{path.relative_to(built_folder).as_posix()}"
        if path.is_symlink() or not path.is_file():
            raise LibraryError(f"{path}: only plain files can be packaged, and this is a link or a device")
        if problem := path_problem(destination):
            raise LibraryError(f"{path}: its path in the package, {destination!r}, {problem}")
        entries.append(FileEntry.from_paths(path.resolve(), destination))
        digests.append((destination, sha256_file(path)))
    digests.append(("info/licenses/LICENSE", sha256_file(license_file)))
    return _assemble(recipe, output_dir, timestamp, entries, digests, license_file)


def package_all(recipe: str, output_dir: Path, *, timestamp: datetime) -> Path:
    """Package the recipe that `all_recipe_text` wrote; the package holds no file.

    Parameters
    ----------
    recipe
        Text of the recipe.
    output_dir
        Where to put the package.
    timestamp
        Time that the package bears: the latest of its libraries.

    Returns
    -------
    Path
        The package.
    """
    return _assemble(recipe, output_dir, timestamp, [], [], None)


def _assemble(
    recipe: str,
    output_dir: Path,
    timestamp: datetime,
    entries: Sequence[Any],
    digests: Sequence[tuple[str, str]],
    license_file: Path | None,
) -> Path:
    from rattler_build import RattlerBuildError, assemble_package

    with staging_folder(output_dir) as staging:
        recipe_dir = staging / "recipe"
        recipe_dir.mkdir()
        (recipe_dir / "recipe.yaml").write_text(recipe, encoding="utf-8", newline="\n")
        metadata = _render(recipe_dir / "recipe.yaml")
        when = timestamp.astimezone(timezone.utc).replace(microsecond=0)
        content = json.dumps([asdict(metadata), recipe, when.isoformat(), list(digests)], sort_keys=True)
        try:
            output = assemble_package(
                name=metadata.name,
                version=metadata.version,
                target_platform="noarch",
                build_string=f"h{hashlib.sha256(content.encode()).hexdigest()[:8]}_{metadata.build_number}",
                output_dir=staging / "package",
                files=list(entries),
                homepage=metadata.homepage,
                license=metadata.license,
                summary=metadata.summary,
                description=metadata.description,
                depends=metadata.depends,
                constrains=metadata.constrains,
                build_number=metadata.build_number,
                noarch="generic",
                license_files=[license_file.resolve()] if license_file else None,
                recipe_dir=recipe_dir,
                compression_level=_COMPRESSION_LEVEL,
                timestamp=when,
                # Searching for the build prefix would make the bytes depend on where the build ran.
                detect_prefix=False,
            )
        except RattlerBuildError as error:
            raise LibraryError(f"{metadata.name} {metadata.version} cannot be packaged: {error}") from error
        return output.path.replace(output_dir / output.path.name)


def _render(recipe_path: Path) -> _Metadata:
    """Let rattler-build parse and evaluate a recipe, so that both routes read it in the same way."""
    from rattler_build import PlatformConfig, RattlerBuildError, RenderConfig, Stage0Recipe, VariantConfig

    text = recipe_path.read_text(encoding="utf-8")
    try:
        # linux-64 although the package is noarch: it decides only which branch of the script is chosen.
        config = RenderConfig(PlatformConfig(target_platform="linux-64"))
        variants = Stage0Recipe.from_file(recipe_path).render(VariantConfig(), config)
    except RattlerBuildError as error:
        raise LibraryError(f"the recipe cannot be rendered: {error}\n{text}") from error
    if len(variants) != 1:
        raise LibraryError(f"the recipe renders to {len(variants)} packages, expected one\n{text}")
    recipe = variants[0].recipe
    requirements = recipe.requirements.to_dict()
    unknown = set(requirements) - {"run", "run_constraints"}
    if str(recipe.build.noarch) != "generic" or unknown:
        raise LibraryError(f"the recipe must be noarch: generic, with run and run_constraints only\n{text}")
    return _Metadata(
        name=recipe.package.name,
        version=recipe.package.version,
        build_number=recipe.build.number,
        depends=tuple(requirements.get("run", ())),
        constrains=tuple(requirements.get("run_constraints", ())),
        homepage=recipe.about.homepage or "",
        license=recipe.about.license or "",
        summary=recipe.about.summary or "",
        description=recipe.about.description or "",
    )


# -- reading packages back ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PackageContent:
    """The content of a package.

    Attributes
    ----------
    index
        ``info/index.json``: name, version, build, dependencies, time.
    files
        From the path of every other file, those below ``info`` included, to its SHA-256.
    sha256
        SHA-256 of the package itself.
    """

    index: dict[str, Any]
    files: dict[str, str]
    sha256: str

    @property
    def identity(self) -> tuple[str, str, int]:
        """Name, version and build number: what may be published only once."""
        return self.index["name"], self.index["version"], self.index["build_number"]


def read_package(path: Path) -> PackageContent:
    """Read what is in a .conda package.

    Parameters
    ----------
    path
        The package.

    Returns
    -------
    PackageContent
        Its metadata and the checksums of its files.

    Raises
    ------
    FormatError
        Where the file is not a conda package.
    """
    from rattler.package_streaming import extract

    with tempfile.TemporaryDirectory(prefix="phasic-models-") as scratch:
        folder = Path(scratch)
        try:
            extract(path, folder)
            index = json.loads((folder / "info" / "index.json").read_text(encoding="utf-8"))
            files = {p.relative_to(folder).as_posix(): sha256_file(p) for p in folder.rglob("*") if p.is_file()}
            del files["info/index.json"]
            content = PackageContent(index, dict(sorted(files.items())), sha256_file(path))
            _ = content.identity
        except FileNotFoundError:
            raise
        except Exception as error:  # the extractor raises a bare Exception for a damaged archive
            raise FormatError(f"{path}: not a conda package ({error})") from error
    return content


def package_differences(ours: PackageContent, theirs: PackageContent) -> list[str]:
    """Say how two packages differ, for a person to read.

    Parameters
    ----------
    ours, theirs
        The packages.

    Returns
    -------
    list of str
        One line for each difference; empty where the packages are the same to the byte.
    """
    if ours.sha256 == theirs.sha256:
        return []
    lines = [
        f"{key}: {theirs.index.get(key)!r} is now {ours.index.get(key)!r}"
        for key in sorted({*ours.index, *theirs.index})
        if ours.index.get(key) != theirs.index.get(key)
    ]
    for name in sorted({*ours.files, *theirs.files}):
        if name not in ours.files:
            lines.append(f"{name}: is gone")
        elif name not in theirs.files:
            lines.append(f"{name}: is new")
        elif ours.files[name] != theirs.files[name] and name != "info/paths.json":  # it repeats the other checksums
            lines.append(f"{name}: sha256 {theirs.files[name][:16]}… is now {ours.files[name][:16]}…")
    return lines or ["same content, other bytes: packed by another version of rattler-build or at another level"]
