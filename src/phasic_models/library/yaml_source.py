"""library.yaml as text: values with the lines where they stand, decoded into types with all mistakes at once."""

from __future__ import annotations

import difflib
import re
import reprlib
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
import yaml

from .mistakes import Mistake

_MAX_BYTES = 4 << 20
_MAX_DEPTH = 32
# Values in the whole text, aliases written out: a few lines of nested aliases could stand for 10^24 of them.
_MAX_VALUES = 200_000

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _CoreLoader(_Base):  # type: ignore[misc]
    """Loader of the YAML 1.2 core schema: `no` is a text and `1e-3` a number, unlike in YAML 1.1."""


_CoreLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
):
    _CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


@dataclass
class Located:
    """A YAML value with its line: a scalar, or a list or mapping of further located values."""

    value: Any
    line: int
    key_lines: dict[str, int] = field(default_factory=dict)
    size: int = 1

    def plain(self) -> Any:
        """The value without lines."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

    def at(self, *path: str | int) -> int:
        """Line of the key or item at a path; where it is absent, of the innermost one that is there."""
        line, found = self.line, self
        for step in path:
            if isinstance(found.value, dict) and step in found.value:
                line, found = found.key_lines[str(step)], found.value[step]
            elif isinstance(found.value, list) and isinstance(step, int) and step < len(found.value):
                found = found.value[step]
                line = found.line
            else:
                break
        return line


def read_yaml(path: Path, shown: str, mistakes: list[Mistake]) -> Located | None:
    """Read a YAML file; None, with the mistake noted, where it cannot be read at all.

    Parameters
    ----------
    path : Path
        The file.
    shown : str
        Its name in messages.
    mistakes : list of Mistake
        Mistakes are appended: unreadable or malformed files, duplicate keys, tags and loops.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ValueError(f"larger than {_MAX_BYTES >> 20} MiB")
        root = yaml.compose(data.decode("utf-8"), Loader=_CoreLoader)
    except UnicodeDecodeError as error:
        mistakes.append(Mistake(shown, None, "", f"not UTF-8 text: {error}"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(filter(None, (error.context, error.problem)))
        mistakes.append(Mistake(shown, mark.line + 1 if mark else None, "", f"not valid YAML: {problem}"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mistakes.append(Mistake(shown, None, "", f"not valid YAML: {' '.join(str(error).split())}"))
    except OSError as error:
        mistakes.append(Mistake(shown, None, "", f"cannot be read: {error.strerror or error}"))
    else:
        if root is None:
            mistakes.append(Mistake(shown, 1, "", "the file is empty"))
            return None
        return _Converter(shown, mistakes).convert(root, "", ())
    return None


class _Converter:
    """Turns composed nodes into located values; an aliased node is turned once and shared."""

    def __init__(self, shown: str, mistakes: list[Mistake]) -> None:
        self.shown = shown
        self.mistakes = mistakes
        self.done: dict[int, Located] = {}

    def convert(self, node: yaml.Node, key: str, parents: tuple[int, ...]) -> Located:
        line = node.start_mark.line + 1
        if id(node) in self.done:
            return self.done[id(node)]
        if id(node) in parents or len(parents) > _MAX_DEPTH:
            reason = "it contains itself" if id(node) in parents else "nested too deeply"
            self.mistakes.append(Mistake(self.shown, line, key, reason))
            return Located(None, line)
        inside = (*parents, id(node))
        if isinstance(node, yaml.MappingNode):
            result = self._mapping(node, key, inside)
        elif isinstance(node, yaml.SequenceNode):
            result = Located([self.convert(item, f"{key}[{i}]", inside) for i, item in enumerate(node.value)], line)
        else:
            assert isinstance(node, yaml.ScalarNode)
            result = Located(self._scalar(node, key), line)
        inner = result.value.values() if isinstance(result.value, dict) else result.value
        result.size = 1 + sum(item.size for item in inner) if isinstance(result.value, dict | list) else 1
        if result.size > _MAX_VALUES:
            self.mistakes.append(Mistake(self.shown, line, key, "too large once its aliases are written out"))
            result = Located(None, line)
        self.done[id(node)] = result
        return result

    def _mapping(self, node: yaml.MappingNode, key: str, inside: tuple[int, ...]) -> Located:
        result = Located({}, node.start_mark.line + 1)
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.mistakes.append(Mistake(self.shown, line, key, "a key must be a text"))
                continue
            name = str(key_node.value)
            path = f"{key}.{name}" if key else name
            if name in result.value:
                first = result.key_lines[name]
                self.mistakes.append(Mistake(self.shown, line, path, f"given twice; the first is in line {first}"))
                continue
            result.key_lines[name] = line
            result.value[name] = self.convert(value_node, path, inside)
        return result

    def _scalar(self, node: yaml.ScalarNode, key: str) -> Any:
        kind = node.tag.rpartition(":")[2]
        text = node.value
        if kind == "str" or node.tag == "!":
            return text
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        try:
            if kind == "int":
                return int(text)
            if kind == "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError as error:
            self.mistakes.append(Mistake(self.shown, node.start_mark.line + 1, key, str(error)))
            return None
        self.mistakes.append(Mistake(self.shown, node.start_mark.line + 1, key, f"the tag {node.tag} is not supported"))
        return None


class Decoder:
    """Decodes located values into msgspec types, field by field, so that one mistake does not hide the next.

    Parameters
    ----------
    shown : str
        Name of the file in messages.
    mistakes : list of Mistake
        Mistakes are appended.
    """

    def __init__(self, shown: str, mistakes: list[Mistake]) -> None:
        self.shown = shown
        self.mistakes = mistakes
        # An aliased value that is wrong is one mistake, however often it is used.
        self._seen: dict[tuple[int, Any], Any] = {}

    def decode(self, located: Located, kind: Any, key: str = "") -> Any:
        """The decoded value, or `msgspec.UNSET` after noting what is wrong with it."""
        memo = (id(located), kind if isinstance(kind, type) else str(kind))
        if memo not in self._seen:
            self._seen[memo] = self._decode(located, kind, key)
        return self._seen[memo]

    def _decode(self, located: Located, kind: Any, key: str) -> Any:
        struct, element = _struct_of(kind), _element_of(kind)
        if struct is not None and isinstance(located.value, dict):
            return self._struct(located, struct, key)
        if element is not None and isinstance(located.value, list):
            items = [self.decode(item, element, f"{key}[{i}]") for i, item in enumerate(located.value)]
            return msgspec.UNSET if any(item is msgspec.UNSET for item in items) else items
        if get_origin(kind) is dict and isinstance(located.value, dict):
            inner = get_args(kind)[1]
            values = {name: self.decode(item, inner, _join(key, name)) for name, item in located.value.items()}
            return msgspec.UNSET if any(value is msgspec.UNSET for value in values.values()) else values
        if struct is not None or element is not None:
            expected = "a mapping" if struct is not None else "a list"
            if located.value is None and _optional(kind):
                return None
            self._note(located.line, key, f"expected {expected}, got {_shown(located)}")
            return msgspec.UNSET
        try:
            value = msgspec.convert(located.plain(), kind)
        except (msgspec.ValidationError, RecursionError) as error:
            self._note(located.line, key, f"{_expected(kind, error)}, got {_shown(located)}")
            return msgspec.UNSET
        if isinstance(value, float) and value - value != 0:
            self._note(located.line, key, f"expected a finite number, got {value}")
            return msgspec.UNSET
        return value

    def _struct(self, located: Located, struct: type[msgspec.Struct], key: str) -> Any:
        fields = {item.encode_name: item for item in msgspec.structs.fields(struct)}
        for name in located.value:
            if name not in fields:
                close = difflib.get_close_matches(name, fields, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"the keys are {', '.join(fields)}"
                self._note(located.key_lines[name], _join(key, name), f"unknown key; {hint}")
        values: dict[str, Any] = {}
        for name, item in fields.items():
            if name in located.value:
                values[item.name] = self.decode(located.value[name], item.type, _join(key, name))
            elif item.required:
                self._note(located.line, key, f"the key {name!r} is missing ({_describe(item.type)})")
                values[item.name] = msgspec.UNSET
        if any(value is msgspec.UNSET for value in values.values()) or set(located.value) - set(fields):
            return msgspec.UNSET
        return struct(**values)

    def _note(self, line: int, key: str, message: str) -> None:
        self.mistakes.append(Mistake(self.shown, line, key, message))


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _members(kind: Any) -> Iterator[Any]:
    """The members of a union, or the type itself."""
    if get_origin(kind) in (Union, types.UnionType):
        yield from get_args(kind)
    else:
        yield kind


def _struct_of(kind: Any) -> type[msgspec.Struct] | None:
    for member in _members(kind):
        if isinstance(member, type) and issubclass(member, msgspec.Struct):
            return member
    return None


def _element_of(kind: Any) -> Any:
    """Type of the elements of a list of structs; other lists are left to msgspec."""
    if get_origin(kind) is list and _struct_of(get_args(kind)[0]) is not None:
        return get_args(kind)[0]
    return None


def _optional(kind: Any) -> bool:
    return type(None) in _members(kind)


def _describe(kind: Any) -> str:
    """Describe the values that a type accepts."""
    for member in _members(kind):
        if get_origin(member) is Annotated:
            for meta in member.__metadata__:
                if isinstance(meta, msgspec.Meta) and meta.description:
                    return meta.description
        if get_origin(member) is typing.Literal:
            return " or ".join(repr(choice) for choice in get_args(member))
    if _struct_of(kind) is not None:
        return "a mapping"
    return {bool: "true or false", str: "a text", int: "a whole number"}.get(
        kind, "a list" if get_origin(kind) is list else "a mapping" if get_origin(kind) is dict else "a value"
    )


def _expected(kind: Any, error: Exception) -> str:
    words = _describe(kind)
    if words in ("a value", "a mapping"):
        text = str(error)
        return text[:1].lower() + text[1:]
    return f"expected {words}"


def _shown(located: Located) -> str:
    if isinstance(located.value, dict):
        return "a mapping"
    if isinstance(located.value, list):
        return "a list"
    return "nothing" if located.value is None else f"{type(located.value).__name__} {reprlib.repr(located.value)}"
