"""Checks of library.yaml beyond its types: names that must agree or differ, ranges, and calls that must fit a function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from ..compat import VersionRange
from ..errors import LibraryError
from ..files.names import ENTRIES_FOLDER, is_device_name
from .callbacks import check_call
from .mistakes import Mistake
from .yaml_source import Located

# A model of this name would take the place of the library's own file.
_TAKEN_NAMES = ("manifest",)


def semantic_mistakes(
    source: Located, shown: str, folder: str, functions: dict[str, Callable[..., Any]] | None
) -> list[Mistake]:
    """Mistakes in a library.yaml beyond wrong types.

    Parameters
    ----------
    source : Located
        The file; parts of a wrong type, which the decoder reports, are passed over.
    shown : str
        Its name in messages.
    folder : str
        Name of the library's folder.
    functions : dict or None
        Functions of models.py, None if it cannot be run.
    """
    return _Checks(source, shown, folder, functions).run()


class _Checks:
    """Checks beyond the types. They use the located values, so that they also work where other keys are wrong."""

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
        if category is not None and is_device_name(category):
            self._note("category", f"{category!r} is not a legal file name on Windows", "category")
        if category == ENTRIES_FOLDER:
            self._note("category", f"{category!r} is the name of a folder of the cache", "category")
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
        if name is not None and (is_device_name(name) or name in _TAKEN_NAMES):
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
