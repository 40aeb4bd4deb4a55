"""Describe and evaluate a stored model by name."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..cache import catalogue, prefix
from ..compat import requirements
from ..errors import FormatError, PhasicModelsError
from ..files.names import FILE_SUFFIXES, MANIFEST_NAME
from ..formats import Parameter, read_manifest, read_meta

if TYPE_CHECKING:
    from ..cache.catalogue import Found
    from ..formats import Manifest, ModelMeta
    from ..model import Model

#: θ, once the names of its entries are known.
Values = Callable[[Sequence[str]], list[float]]
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
    name: str, *, theta: Values | None = None, cache_dir: str | os.PathLike[str] | None = None
) -> ModelInfo:
    """Collect what the files say of a model, and its density.

    Parameters
    ----------
    name
        As for :func:`phasic_models.load_model`.
    theta
        From the names of the parameters to their values; by default the example values, or 1.
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
    values = theta(model.param_names) if theta is not None else [_example(parameter) for parameter in parameters]
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
        citation=meta.citation.text() if meta is not None and meta.citation is not None else "",
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
    theta: Values,
    times: Sequence[float] = (),
    cache_dir: str | os.PathLike[str] | None = None,
) -> Evaluation:
    """Evaluate a model at θ and times.

    Parameters
    ----------
    name
        As for :func:`phasic_models.load_model`.
    theta
        From the names of the parameters to their values.
    times
        Times of density, distribution and survival.
    cache_dir
        A cache root to search first.
    """
    found = catalogue.find_model(name, prefix.layers(cache_dir))
    model = found.dag.model()
    values = theta(model.param_names)
    at = list(times)
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
