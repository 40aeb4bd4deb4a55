"""A library folder, loaded and checked: library.yaml with the functions of models.py."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..compat import VersionRange
from ..errors import GraphError, LibraryError
from .callbacks import check_call, line_in, load_functions
from .mistakes import LibraryMistakes, Mistake
from .spec import LibrarySpec, ModelSpec
from .yaml_source import Decoder, Located, read_yaml

if TYPE_CHECKING:
    import os

    from ..graph import Graph

_WINDOWS_NAMES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])")
# A model of this name would take the place of the library's own file.
_TAKEN_NAMES = ("manifest",)


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
        # Only here: reading a library.yaml for its metadata needs no numpy.
        from ..graph import Graph

        spec = self.model(model) if isinstance(model, str) else model
        names = spec.parameter_names
        try:
            graph = Graph(
                # Bound here, so that an argument may have the name of an option of Graph.
                partial(self.functions[spec.function], **spec.arguments),
                discrete=spec.discrete,
                parameterized=bool(names),
                param_names=names or None,
            )
        except (GraphError, ValueError, TypeError, ArithmeticError, LookupError) as error:
            raise LibraryMistakes([self._callback_mistake(spec, error)]) from error
        if graph.param_length() != len(names):
            raise LibraryMistakes(
                [
                    self.mistake(
                        spec,
                        f"the transitions of {spec.function} have {graph.param_length()} parameters, "
                        f"but library.yaml names {len(names)}: {', '.join(names) or 'none'}",
                        "parameters",
                    )
                ]
            )
        used = set(graph.weights.affine_param.tolist())
        unused = [name for index, name in enumerate(names) if index not in used]
        if unused:
            message = f"no transition of {spec.function} depends on {', '.join(unused)}"
            raise LibraryMistakes([self.mistake(spec, message, "parameters")])
        return graph

    def mistake(self, spec: ModelSpec, message: str, *path: str | int) -> Mistake:
        """A mistake in the entry of one model, at the line of its key."""
        index = self.model_names.index(spec.name)
        steps = ("models", index, *path)
        key = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)[1:]
        shown = shown_path(self.folder / "library.yaml")
        return Mistake(shown, self.source.at(*steps), key, f"{spec.name}: {message}")

    def _callback_mistake(self, spec: ModelSpec, error: BaseException) -> Mistake:
        path = self.folder / "models.py"
        # The callback's own exception, if there is one, knows the line; the graph's error knows the state.
        inner: BaseException | None = error
        while inner is not None:
            line = line_in(path, inner)
            if line is not None:
                text = f"{spec.name}: {type(inner).__name__} in {spec.function}: {error}"
                return Mistake(shown_path(path), line, "", text)
            inner = inner.__cause__
        return self.mistake(spec, f"{spec.function}: {error}", "function")


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
    mistakes += _Checks(source, shown_path(yaml_path), path.resolve().name, functions).run()
    if mistakes or spec is msgspec.UNSET or functions is None:
        raise LibraryMistakes(list(dict.fromkeys(mistakes)))
    return Library(path, spec, functions, source)


def shown_path(path: Path) -> str:
    """A path as messages name it: relative to the working folder where that is shorter."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


class _Checks:
    """What a type cannot say. Looks at the located values, so that it also works where other keys are wrong."""

    def __init__(
        self, source: Located, shown: str, folder: str, functions: dict[str, Callable[..., Any]] | None
    ) -> None:
        self.source = source
        self.shown = shown
        self.folder = folder
        self.functions = functions
        self.found: list[Mistake] = []

    def run(self) -> list[Mistake]:
        root = self.source.value
        if not isinstance(root, dict):
            return []
        category = self._text(self.source, "category")
        if category is not None and category != self.folder:
            self._note("category", f"expected {self.folder!r}, the name of the folder, got {category!r}", "category")
        if category is not None and _WINDOWS_NAMES.fullmatch(category):
            self._note("category", f"{category!r} is not a legal file name on Windows", "category")
        compatible = root.get("compatible")
        if compatible is not None:
            for name in ("phasic", "phasic-models"):
                self._range(compatible, name, f"compatible.{name}", "compatible", name)
        models = root.get("models")
        if models is not None and isinstance(models.value, list):
            if not models.value:
                self._note("models", "expected at least one model", "models")
            self._unique(models, "models", "model")
            for index, model in enumerate(models.value):
                if isinstance(model.value, dict):
                    self._model(model, index)
        return self.found

    def _model(self, model: Located, index: int) -> None:
        key = f"models[{index}]"
        name = self._text(model, "name")
        if name is not None and (_WINDOWS_NAMES.fullmatch(name) or name in _TAKEN_NAMES):
            taken = name in _TAKEN_NAMES
            reason = "is taken by a file of the library" if taken else "is not a legal file name on Windows"
            self._note(f"{key}.name", f"{name!r} {reason}", "models", index, "name")
        function, arguments = self._text(model, "function"), model.value.get("arguments")
        if function is not None and self.functions is not None:
            given = arguments.plain() if arguments is not None else {}
            wrong = check_call(function, given if isinstance(given, dict) else {}, self.functions)
            if wrong is not None:
                self._note(f"{key}.{wrong[0]}", wrong[1], "models", index, wrong[0])
        parameters = model.value.get("parameters")
        if parameters is not None and isinstance(parameters.value, list):
            self._unique(parameters, f"{key}.parameters", "parameter")
        citation = model.value.get("citation")
        if citation is not None and isinstance(citation.value, dict):
            links = [name for name in ("doi", "url") if name in citation.value]
            if len(links) != 1:
                self._note(f"{key}.citation", "expected either a doi or a url", "models", index, "citation")
        status = self._text(model, "status")
        if (status == "retracted") != ("retraction" in model.value):
            self._note(
                f"{key}.status",
                "a retracted model needs the key 'retraction' with a reason, and no other model has one",
                "models", index, "status",
            )  # fmt: skip
        errata = model.value.get("errata")
        if errata is not None and isinstance(errata.value, list):
            for number, erratum in enumerate(errata.value):
                self._affects(erratum, f"{key}.errata[{number}].affects", "models", index, "errata", number, "affects")

    def _unique(self, located: Located, key: str, what: str) -> None:
        """Names in a list of mappings must differ, also on file systems that ignore case."""
        names = [self._text(item, "name") if isinstance(item.value, dict) else None for item in located.value]
        count = Counter(name.lower() for name in names if name is not None)
        first: dict[str, int] = {}
        for index, name in enumerate(names):
            if name is None or count[name.lower()] == 1:
                continue
            line = located.value[index].at("name")
            if name.lower() in first:
                self.found.append(
                    Mistake(
                        self.shown, line, f"{key}[{index}].name",
                        f"a second {what} of the name {name!r}; the first is in line {first[name.lower()]}",
                    )
                )  # fmt: skip
            else:
                first[name.lower()] = line

    def _range(self, located: Located, name: str, key: str, *path: str | int) -> None:
        text = self._text(located, name)
        if text is None or not text.strip():
            return
        try:
            parsed = VersionRange.parse(text)
            if name == "phasic":
                # The metadata list every series of phasic, which not every range allows.
                _ = parsed.compatible_versions
        except LibraryError as error:
            self._note(key, f"expected a range of versions such as '>=0.21,<0.33': {error}", *path)

    def _affects(self, located: Located, key: str, *path: str | int) -> None:
        text = self._text(located, "affects")
        if text is None or not text.strip():
            return
        # Only here: it is slow to import and rarely needed.
        from packaging.specifiers import InvalidSpecifier, SpecifierSet

        try:
            SpecifierSet(text)
        except InvalidSpecifier:
            self._note(key, f"expected the versions that are wrong, such as '<1.1', got {text!r}", *path)

    def _text(self, located: Located, key: str) -> str | None:
        """A text below a mapping; None where it is absent or not a text, which the types report."""
        item = located.value.get(key) if isinstance(located.value, dict) else None
        return item.value if item is not None and isinstance(item.value, str) else None

    def _note(self, key: str, message: str, *path: str | int) -> None:
        self.found.append(Mistake(self.shown, self.source.at(*path), key, message))
