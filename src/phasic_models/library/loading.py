"""A library folder, loaded and checked: library.yaml with the functions of models.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from .callbacks import WrongCallback, check_call, graph_of, load_functions
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
    functions : dict
        Functions of models.py by name.
    source : Located
        library.yaml with its lines, for messages.
    """

    folder: Path
    spec: LibrarySpec
    functions: dict[str, Callable[..., Any]]
    source: Located

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
            return graph_of(self.functions[spec.function], spec, self.folder / "models.py")
        except WrongCallback as error:
            raise LibraryMistakes([_located(error, self.folder, self.source, self._index(spec))]) from error

    def mistake(self, spec: ModelSpec, message: str, *path: str | int) -> Mistake:
        """A mistake in the entry of one model, at the line of its key."""
        return _model_mistake(self.folder, self.source, self._index(spec), f"{spec.name}: {message}", path)

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
    """Read a library folder and check library.yaml against the format and against models.py.

    Parameters
    ----------
    folder : path-like
        The folder, ``libraries/<category>``.

    Raises
    ------
    LibraryMistakes
        Something is wrong; the message lists every mistake with file, line, key and what was expected.
    """
    path = Path(folder)
    yaml_path, models_path = path / "library.yaml", path / "models.py"
    mistakes: list[Mistake] = []
    functions = load_functions(models_path, shown_path(models_path), mistakes)
    source = read_yaml(yaml_path, shown_path(yaml_path), mistakes)
    if source is None:
        raise LibraryMistakes(mistakes)
    spec = Decoder(shown_path(yaml_path), mistakes).decode(source, LibrarySpec)
    mistakes += semantic_mistakes(source, shown_path(yaml_path), path.resolve().name, functions)
    if mistakes or spec is msgspec.UNSET or functions is None:
        # The author shall see the mistakes in the callbacks together with those in library.yaml, not one after the other.
        mistakes += _callback_mistakes(path, source, functions or {})
        raise LibraryMistakes(list(dict.fromkeys(mistakes)))
    return Library(path, spec, functions, source)


def _callback_mistakes(folder: Path, source: Located, functions: dict[str, Callable[..., Any]]) -> list[Mistake]:
    """Run the callbacks of those models whose entries are right."""
    models = source.value.get("models") if isinstance(source.value, dict) else None
    found: list[Mistake] = []
    for index, item in enumerate(models.value if models is not None and isinstance(models.value, list) else []):
        spec = Decoder("", []).decode(item, ModelSpec)
        if spec is msgspec.UNSET or check_call(spec.function, spec.arguments, functions) is not None:
            continue
        try:
            graph_of(functions[spec.function], spec, folder / "models.py")
        except WrongCallback as error:
            found.append(_located(error, folder, source, index))
    return found


def _located(error: WrongCallback, folder: Path, source: Located, index: int) -> Mistake:
    if error.line is not None:
        return Mistake(shown_path(folder / "models.py"), error.line, "", str(error))
    return _model_mistake(folder, source, index, str(error), (error.key,))


def _model_mistake(folder: Path, source: Located, index: int, message: str, path: tuple[str | int, ...]) -> Mistake:
    steps = ("models", index, *path)
    key = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)[1:]
    return Mistake(shown_path(folder / "library.yaml"), source.at(*steps), key, message)


def shown_path(path: Path) -> str:
    """A path as messages name it: relative to the working folder where that is shorter."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)
