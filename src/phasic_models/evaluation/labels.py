"""θ with labels: entries that are found by the names of the parameters, never by position.

The kinds of labelled containers are recognised by their attributes (`columns`, `index`, `dims`), so that neither pandas nor
xarray is imported here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ParameterError
from .numbers import as_float_array

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_NUMBERS = (float, int, np.float64)


def by_position(theta: Any, names: Sequence[str], what: str = "theta") -> Any:
    """Return `theta` with its entries in the order of `names`.

    Parameters
    ----------
    theta
        Numbers by position, which are returned as they are, or values with labels: a mapping, a named tuple, a
        structured array, a pandas Series or DataFrame, an xarray DataArray or Dataset, or a sequence of those.
    names
        The parameters, in the order of θ.
    what
        Its name in messages.

    Returns
    -------
    object
        For values with labels: a float64 array whose last axis goes along `names`, the other axes being those of the values.

    Raises
    ------
    ParameterError
        If a label is missing, unknown or there twice, or the values of two parameters do not belong together.
    """
    if theta is None or type(theta) in _NUMBERS or (type(theta) is np.ndarray and theta.dtype.names is None):
        return theta
    if type(theta) in (list, tuple):
        plain = all(type(entry) in _NUMBERS for entry in theta)
        return theta if plain else _sequence(theta, names, what)
    pairs = _pairs(theta, names, what)
    return theta if pairs is None else _join(pairs, names, what)


def _sequence(entries: Sequence[Any], names: Sequence[str], what: str) -> Any:
    """Stack labelled entries; a sequence without any is returned as it is."""
    found = [by_position(entry, names, f"{what}[{i}]") for i, entry in enumerate(entries)]
    labelled = [new is not old for new, old in zip(found, entries, strict=True)]
    if not any(labelled):
        return entries
    if not all(labelled):
        raise ParameterError(
            f"{what}[{labelled.index(True)}] is labelled with names, {what}[{labelled.index(False)}] is not; "
            "label all entries or none"
        )
    shapes = {array.shape for array in found}
    if len(shapes) > 1:
        raise ParameterError(f"the entries of {what} have different shapes: {', '.join(map(str, sorted(shapes)))}")
    return np.stack(found)


def _pairs(theta: Any, names: Sequence[str], what: str) -> list[tuple[Any, Any]] | None:
    """Return (label, values) for each entry of one labelled container, or None where there are no labels."""
    fields = getattr(getattr(theta, "dtype", None), "names", None)
    if isinstance(fields, tuple) and isinstance(theta, np.ndarray | np.void):
        return [(field, theta[field]) for field in fields]
    if isinstance(theta, tuple) and hasattr(theta, "_fields"):
        return list(zip(theta._fields, theta, strict=True))
    if isinstance(theta, Mapping):  # a dict, or an xarray Dataset
        return list(theta.items())
    if hasattr(theta, "dims") and hasattr(theta, "coords"):
        return _of_data_array(theta, names, what)
    columns = getattr(theta, "columns", None) if hasattr(theta, "to_numpy") else getattr(theta, "column_names", None)
    if columns is not None:
        return _of_table(theta, columns, names, what)
    index = getattr(theta, "index", None)
    if index is None or callable(index) or not hasattr(theta, "to_numpy") or _is_default(index):
        return None
    return list(zip(index, theta.to_numpy(), strict=True))


def _of_table(table: Any, columns: Any, names: Sequence[str], what: str) -> list[tuple[Any, Any]] | None:
    labels = list(columns)
    rows = list(getattr(table, "index", ()))
    if names and not set(labels) & set(names) and set(names) <= set(rows):
        raise ParameterError(f"{what} has the parameters as rows; they must be its columns (transpose it: .T)")
    if _is_default(columns):
        return None
    values = table.to_numpy() if hasattr(table, "to_numpy") else np.asarray(table)
    return [(label, values[:, i]) for i, label in enumerate(labels)]


def _of_data_array(array: Any, names: Sequence[str], what: str) -> list[tuple[Any, Any]] | None:
    """Find the dimension of an xarray DataArray whose coordinate holds names of parameters."""
    wanted = set(names)
    known: list[tuple[str, list[Any]]] = []
    for coordinate in array.coords.values():
        if len(coordinate.dims) == 1:
            known.append((coordinate.dims[0], np.asarray(coordinate.values).tolist()))
    # The coordinate with most of the names comes first.
    matching = sorted((pair for pair in known if wanted & set(pair[1])), key=lambda pair: -len(wanted & set(pair[1])))
    if len({dim for dim, _ in matching}) > 1:
        listed = ", ".join(repr(dim) for dim in dict.fromkeys(dim for dim, _ in matching))
        raise ParameterError(f"{what} has names of parameters along several dimensions: {listed}")
    if not matching:
        matching = [pair for pair in known if array.dims and pair[0] == array.dims[-1]]
        if not matching:
            return None
    dim, labels = matching[0]
    values = np.moveaxis(np.asarray(array.values), list(array.dims).index(dim), -1)
    return [(label, values[..., i]) for i, label in enumerate(labels)]


def _is_default(index: Any) -> bool:
    """Whether a pandas index only counts from 0, as one does that nobody named."""
    return type(index).__name__ == "RangeIndex" and index.start == 0 and index.step == 1


def _join(pairs: list[tuple[Any, Any]], names: Sequence[str], what: str) -> Floats:
    _check_names([label for label, _ in pairs], names, what)
    values = {str(label): value for label, value in pairs}
    rows: tuple[str, Any] | None = None
    for name, value in values.items():
        labels = _row_labels(value)
        if labels is None:
            continue
        if rows is not None and rows[1] != labels:
            raise ParameterError(f"the rows of {what}[{rows[0]!r}] and {what}[{name!r}] have different labels")
        rows = (name, labels)
    arrays = {name: as_float_array(values[name], f"{what}[{name!r}]") for name in names}
    shapes = {array.shape: name for name, array in arrays.items() if array.ndim}
    if len(shapes) > 1:
        listed = ", ".join(f"{name!r} {shape}" for shape, name in shapes.items())
        raise ParameterError(f"the values of {what} have different shapes: {listed}")
    shape = next(iter(shapes), ())
    joined = np.empty((*shape, len(names)))
    for i, array in enumerate(arrays.values()):
        joined[..., i] = array
    return joined


def _row_labels(value: Any) -> Any:
    """Return the labels of the rows of one parameter's values, or None where there are none."""
    if hasattr(value, "dims") and hasattr(value, "coords"):
        if not value.dims:
            return None
        coordinates = {dim: np.asarray(value.coords[dim].values).tolist() for dim in value.dims if dim in value.coords}
        return tuple(value.dims), coordinates
    index = getattr(value, "index", None)
    return None if index is None or callable(index) or not hasattr(value, "to_numpy") else list(index)


def _check_names(labels: list[Any], names: Sequence[str], what: str) -> None:
    problems = []
    have, known = set(labels), set(names)
    missing = [name for name in names if name not in have]
    unknown = [label for label in labels if label not in known]
    twice = [label for label, count in Counter(labels).items() if count > 1]
    for text, listed in (("lacks", missing), ("has the unknown", unknown), ("has more than once", twice)):
        if listed:
            problems.append(f"{text} {', '.join(map(repr, listed[:8]))}{', …' if len(listed) > 8 else ''}")
    if problems:
        shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
        raise ParameterError(f"{what} {' and '.join(problems)}; the parameters are ({shown})")
