"""Describe and evaluate a stored model by name, with parameters and times as a person writes them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..compat import requirements
from ..errors import FormatError, ParameterError, PhasicModelsError
from ..files.names import FILE_SUFFIXES, MANIFEST_NAME
from ..formats import Parameter, read_manifest, read_meta
from . import catalogue, prefix

if TYPE_CHECKING:
    from ..formats import Citation, Manifest, ModelMeta
    from ..model import Model
    from .catalogue import Found

#: Times at which a density is drawn.
PLOT_POINTS = 160


class File(NamedTuple):
    """One file of a model."""

    path: Path
    bytes: int


class Curve(NamedTuple):
    """A density, or probabilities, over times."""

    times: list[float]
    values: list[float]


class ModelInfo(NamedTuple):
    """All that is known of a model."""

    name: str
    description: str
    category: str | None
    version: str | None
    status: str | None
    discrete: bool
    hash: str
    vertices: int
    edges: int
    operations: int
    parameters: list[Parameter]
    arguments: dict[str, object]
    theta: dict[str, float]
    mean: float | None
    standard_deviation: float | None
    density: Curve | None
    citation: str
    license: str | None
    compatible: str
    errata: list[str]
    created: str | None
    files: list[File]
    layer: str
    notes: list[str]


class Evaluation(NamedTuple):
    """A model's values at one θ."""

    name: str
    theta: dict[str, float]
    discrete: bool
    expectation: float
    variance: float
    times: list[float]
    pdf: list[float]
    cdf: list[float]
    sf: list[float]


def describe_model(
    name: str, *, theta: Sequence[str] | None = None, cache_dir: str | os.PathLike[str] | None = None
) -> ModelInfo:
    """Collect what the files say of a model, and its density.

    Parameters
    ----------
    name
        As for :func:`phasic_models.load_model`.
    theta
        Values as text; by default the parameters' example values, or 1.
    cache_dir
        A cache root to search first.
    """
    found = catalogue.find_model(name, prefix.layers(cache_dir))
    graph = found.dag.graph
    model = found.dag.model()
    meta, notes = _meta(found)
    manifest = _manifest(found)
    described = {parameter.name: parameter for parameter in (meta.theta if meta is not None else [])}
    parameters = [described.get(name) or Parameter(name=name) for name in model.param_names]
    values = parse_theta(theta, model.param_names) if theta else [_example(parameter) for parameter in parameters]
    mean = deviation = density = None
    try:
        mean, variance = float(model.expectation(values)), float(model.variance(values))
        deviation = math.sqrt(max(variance, 0.0))
        density = _density(model, values, mean, deviation)
    except PhasicModelsError as error:
        if theta:
            raise
        notes.append(f"no density at the example values: {error}")
    if meta is not None and meta.retraction is not None:
        notes.append(f"retracted: {meta.retraction}")
    files = [found.base.parent / (found.base.name + suffix) for suffix in sorted(FILE_SUFFIXES)]
    return ModelInfo(
        name=found.name,
        description=meta.description if meta is not None else "",
        category=found.category,
        version=manifest.version if manifest is not None else None,
        status=meta.status if meta is not None else None,
        discrete=graph.discrete,
        hash=graph.content_hash(),
        vertices=graph.vertices_length(),
        edges=graph.n_edges,
        operations=found.dag.operations,
        parameters=parameters,
        arguments=dict(meta.parameters) if meta is not None else {},
        theta=dict(zip(model.param_names, values, strict=True)),
        mean=mean,
        standard_deviation=deviation,
        density=density,
        citation=_citation(meta.citation) if meta is not None else "",
        license=(meta.license if meta is not None else None) or (manifest.license if manifest is not None else None),
        compatible="" if meta is None else requirements(meta),
        errata=[erratum.description for erratum in meta.errata] if meta is not None else [],
        created=meta.created if meta is not None else None,
        files=[File(path, path.stat().st_size) for path in files if path.is_file()],
        layer=found.layer.origin,
        notes=notes,
    )


def _meta(found: Found) -> tuple[ModelMeta | None, list[str]]:
    try:
        return read_meta(found.base.parent / (found.base.name + ".meta")), []
    except FileNotFoundError:
        return None, ["the file .meta is missing"]
    except (FormatError, OSError) as error:
        return None, [str(error)]


def _manifest(found: Found) -> Manifest | None:
    if found.category is None:
        return None
    try:
        return read_manifest(found.base.parent / MANIFEST_NAME)
    except (FormatError, OSError):
        return None


def _example(parameter: Parameter) -> float:
    return 1.0 if parameter.example is None else parameter.example


def _citation(citation: Citation | None) -> str:
    if citation is None:
        return ""
    year = f" ({citation.year})" if citation.year is not None else ""
    link = f"https://doi.org/{citation.doi}" if citation.doi else citation.url or ""
    return ". ".join(part for part in (", ".join(citation.authors) + year, citation.title, link) if part)


def _density(model: Model, theta: list[float], mean: float, deviation: float) -> Curve | None:
    end = mean + 4 * deviation
    if not 0 < end < math.inf:
        return None
    if model.discrete:
        step = max(1, math.ceil(end / PLOT_POINTS))
        times = np.arange(0, math.ceil(end) + 1, step, dtype=np.float64)
    else:
        times = np.linspace(0.0, end, PLOT_POINTS)
    return Curve(times.tolist(), np.asarray(model.pdf(theta, times)).tolist())


def evaluate_model(
    name: str,
    *,
    theta: Sequence[str] | None = None,
    times: Sequence[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Evaluation:
    """Evaluate a model at θ and times that are given as text.

    Parameters
    ----------
    name
        As for :func:`phasic_models.load_model`.
    theta
        As `parse_theta` takes it.
    times
        As `parse_times` takes them.
    cache_dir
        A cache root to search first.
    """
    found = catalogue.find_model(name, prefix.layers(cache_dir))
    model = found.dag.model()
    values = parse_theta(theta or (), model.param_names)
    at = parse_times(times or ())
    curves = [np.asarray(call(values, at)).tolist() if at else [] for call in (model.pdf, model.cdf, model.sf)]
    return Evaluation(
        found.name,
        dict(zip(model.param_names, values, strict=True)),
        model.discrete,
        float(model.expectation(values)),
        float(model.variance(values)),
        at,
        *curves,
    )


def parse_theta(texts: Sequence[str], names: Sequence[str]) -> list[float]:
    """Read θ from texts such as ``0.5,2.0`` (in order) or ``coal=0.5`` (by name).

    Raises
    ------
    ParameterError
        A value is missing, unknown, given twice or no number; the message names the parameters.
    """
    expected = ", ".join(names) or "none"
    parts = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    named = [part for part in parts if "=" in part]
    if named and len(named) < len(parts):
        raise ParameterError("θ is given partly by name and partly in order; do one or the other")
    if not named:
        if len(parts) != len(names):
            count = f"{len(parts)} value{'' if len(parts) == 1 else 's'}"
            ending = "" if len(names) == 1 else "s"
            raise ParameterError(f"θ has {count}, the model has {len(names)} parameter{ending}: {expected}")
        return [_number(part, name) for part, name in zip(parts, names, strict=True)]
    values: dict[str, float] = {}
    for part in named:
        name, _, text = (piece.strip() for piece in part.partition("="))
        if name not in names:
            raise ParameterError(f"the model has no parameter {name!r}; it has: {expected}")
        if name in values:
            raise ParameterError(f"the parameter {name!r} is given twice")
        values[name] = _number(text, name)
    missing = [name for name in names if name not in values]
    if missing:
        raise ParameterError(f"no value for {', '.join(missing)}")
    return [values[name] for name in names]


def parse_times(texts: Sequence[str]) -> list[float]:
    """Read times from texts such as ``0.5,1,2`` or ``0:5:51`` (start, stop, count; both ends included).

    Raises
    ------
    ParameterError
        A text is neither.
    """
    times: list[float] = []
    for part in (part.strip() for text in texts for part in text.split(",")):
        pieces = part.split(":")
        if not part:
            continue
        if len(pieces) == 1:
            times.append(_number(part, "times"))
        elif len(pieces) == 3 and pieces[2].isdigit() and 0 < int(pieces[2]) <= 1_000_000:
            start, stop = _number(pieces[0], "times"), _number(pieces[1], "times")
            times += np.linspace(start, stop, int(pieces[2])).tolist()
        else:
            raise ParameterError(f"{part!r} is not a time, and not start:stop:count such as 0:5:51")
    return times


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ParameterError(f"{what}: {text!r} is not a number") from None
