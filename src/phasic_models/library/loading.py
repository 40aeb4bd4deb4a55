"""A library folder, loaded and checked: library.yaml with the functions of models.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from .callbacks import WrongCallback, check_call, details, graph_of, load_functions
from .checks import semantic_mistakes
from .mistakes import LibraryMistakes, Mistake
from .spec import LibrarySpec, ModelSpec
from .yaml_source import Decoder, Located, read_yaml

if TYPE_CHECKING:
    import os

    from ..graph import Graph


@dataclass(frozen=True)
class Library:
    """A library folder whose library.yaml and models.py were read and agree.

    Attributes
    ----------
    folder : Path
        The folder.
    spec : LibrarySpec
        Content of library.yaml.
    source : Located
        library.yaml with its lines, for messages.
    code : bytes
        Content of models.py.
    """

    folder: Path
    spec: LibrarySpec
    source: Located
    code: bytes

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the functions, which another process makes anew from the code."""
        return {name: value for name, value in self.__dict__.items() if name != "functions"}

    @cached_property
    def functions(self) -> dict[str, Callable[..., Any]]:
        """Functions of models.py by name; the file is run when they are first asked for.

        Raises
        ------
        LibraryMistakes
            The file cannot be run.
        """
        mistakes: list[Mistake] = []
        functions = load_functions(self.code, self.models_path, shown_path(self.models_path), mistakes)
        if functions is None:
            raise LibraryMistakes(mistakes)
        return functions

    @property
    def models_path(self) -> Path:
        """The file of the callbacks."""
        return self.folder / "models.py"

    @property
    def category(self) -> str:
        """Name of the library."""
        return self.spec.category

    @property
    def version(self) -> str:
        """Version of the library."""
        return self.spec.version

    @property
    def models(self) -> tuple[ModelSpec, ...]:
        """The models, in the order of library.yaml."""
        return tuple(self.spec.models)

    @property
    def model_names(self) -> tuple[str, ...]:
        """Names of the models, in the order of library.yaml."""
        return tuple(model.name for model in self.spec.models)

    @property
    def lock_path(self) -> Path:
        """Where the library's lock belongs."""
        return self.folder / "library.lock"

    def model(self, name: str) -> ModelSpec:
        """The entry of one model.

        Raises
        ------
        LookupError
            The library has no model of this name; the message lists its models.
        """
        for model in self.spec.models:
            if model.name == name:
                return model
        raise LookupError(f"library {self.category!r} has no model {name!r}; it has {', '.join(self.model_names)}")

    def graph(self, model: ModelSpec | str) -> Graph:
        """Run a model's callback and return its graph.

        Parameters
        ----------
        model : ModelSpec or str
            One of `models`, or its name.

        Raises
        ------
        LibraryMistakes
            The callback raises, returns what is not a phase-type distribution, or has other parameters than
            library.yaml names. The message has file and line.
        """
        spec = self.model(model) if isinstance(model, str) else model
        try:
            return graph_of(self.functions[spec.function], spec, self.models_path)
        except WrongCallback as error:
            raise LibraryMistakes([self.mistake(spec, str(error), error.key, error.line, details(error))]) from error

    def mistake(self, spec: ModelSpec, message: str, key: str, line: int | None, trace: str = "") -> Mistake:
        """A mistake in one model: at a line of models.py, or where that is not known, at a key of its entry."""
        return _located(message, key, line, self.folder, self.source, self._index(spec), trace)

    def _index(self, spec: ModelSpec) -> int:
        return self.model_names.index(spec.name)


def discover(root: str | os.PathLike[str] = "libraries") -> list[Path]:
    """Folders below `root` that hold a library.yaml, sorted by name.

    Raises
    ------
    LibraryError
        `root` is not a folder.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise LibraryMistakes([Mistake(shown_path(folder), None, "", "not a folder; libraries are looked for here")])
    return sorted(path.parent for path in folder.glob("*/library.yaml"))


def load_library(folder: str | os.PathLike[str]) -> Library:
    """Read a library folder and check library.yaml against the format and against models.py, which is run for that.

    Parameters
    ----------
    folder : path-like
        The folder, ``libraries/<category>``.

    Raises
    ------
    LibraryMistakes
        Something is wrong; the message lists every mistake with file, line, key and what was expected.
    """
    library = examine(Path(folder))
    if isinstance(library, Library):
        return library
    # The author shall see the mistakes in the callbacks together with those in library.yaml, not one after the other.
    raise LibraryMistakes([*library, *callback_mistakes(Path(folder))])


def examine(folder: Path) -> Library | list[Mistake]:
    """Read a library folder; gives the mistakes in library.yaml, and of models.py as a whole, where there are any."""
    yaml_path, models_path = folder / "library.yaml", folder / "models.py"
    mistakes: list[Mistake] = []
    code = _read(models_path, mistakes)
    functions = None if code is None else load_functions(code, models_path, shown_path(models_path), mistakes)
    source = read_yaml(yaml_path, shown_path(yaml_path), mistakes)
    if source is None:
        return mistakes
    spec = Decoder(shown_path(yaml_path), mistakes).decode(source, LibrarySpec)
    mistakes += semantic_mistakes(source, shown_path(yaml_path), folder.resolve().name, functions)
    if mistakes or spec is msgspec.UNSET or code is None or functions is None:
        return list(dict.fromkeys(mistakes))
    library = Library(folder, spec, source, code)
    # A module that has been run need not run again.
    library.__dict__["functions"] = functions
    return library


def callback_mistakes(folder: Path) -> list[Mistake]:
    """Run the callbacks of those models whose entries are right, in a folder where not all is."""
    models_path, unheeded = folder / "models.py", list[Mistake]()
    code = _read(models_path, unheeded)
    functions = None if code is None else load_functions(code, models_path, "", unheeded)
    source = read_yaml(folder / "library.yaml", "", unheeded)
    models = source.value.get("models") if source is not None and isinstance(source.value, dict) else None
    if source is None or functions is None or models is None or not isinstance(models.value, list):
        return []
    found: list[Mistake] = []
    for index, item in enumerate(models.value):
        spec = Decoder("", []).decode(item, ModelSpec)
        if spec is msgspec.UNSET or check_call(spec.function, spec.arguments, functions) is not None:
            continue
        try:
            graph_of(functions[spec.function], spec, models_path)
        except WrongCallback as error:
            found.append(_located(str(error), error.key, error.line, folder, source, index, details(error)))
    return found


def _read(path: Path, mistakes: list[Mistake]) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError as error:
        mistakes.append(Mistake(shown_path(path), None, "", f"cannot be read: {error.strerror or error}"))
        return None


def _located(
    message: str, key: str, line: int | None, folder: Path, source: Located, index: int, trace: str
) -> Mistake:
    if line is not None:
        return Mistake(shown_path(folder / "models.py"), line, "", message, trace)
    place = source.at("models", index, key)
    return Mistake(shown_path(folder / "library.yaml"), place, f"models[{index}].{key}", message, trace)


def shown_path(path: Path) -> str:
    """A path as messages name it: relative to the working folder where that is shorter."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
