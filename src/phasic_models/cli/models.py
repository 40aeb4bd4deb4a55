"""Commands on one model: info and eval."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import CacheDir, Json, Model
from .output import command, emit, size_text, write_table

if TYPE_CHECKING:
    from ..upkeep.model_info import Evaluation, ModelInfo

Theta = Annotated[
    list[str] | None,
    typer.Option(
        "--theta", "-t", help="Values in order (0.5,2.0) or by name (coal=0.5); may be repeated.", show_default=False
    ),
]


@command
def info(
    model: Model,
    theta: Theta = None,
    plot: Annotated[bool, typer.Option("--plot/--no-plot", help="Draw the density.")] = True,
    cache_dir: CacheDir = None,
    json_: Json = False,
) -> None:
    """Describe a model: parameters, citation, versions, size, and its density at θ (by default at the example values).

    Examples
    --------
        ptd-cache info coalescent/n_samples_10

        ptd-cache info coalescent/n_samples_10 --theta 0.5 --json
    """
    from ..upkeep.model_info import describe_model
    from .parsing import parse_theta

    found = describe_model(model, theta=partial(parse_theta, theta) if theta else None, cache_dir=cache_dir)
    emit(found, json_, lambda: _show_info(found, plot))


def _show_info(found: ModelInfo, plot: bool) -> None:
    for line in _lines(found):
        typer.echo(line)
    if plot and found.density is not None:
        from .terminal_plot import draw

        typer.echo("")
        values = ", ".join(f"{name} = {value:g}" for name, value in found.theta.items())
        typer.echo(f"{'probabilities' if found.discrete else 'density'} at {values}" if values else "density")
        typer.echo(draw(found.density.times, found.density.values, discrete=found.discrete))


def _lines(found: ModelInfo) -> list[str]:
    lines = [f"{found.name}  {found.description}".rstrip()]

    def add(label: str, text: Any) -> None:
        if text not in (None, ""):
            lines.append(f"  {label:<12} {text}")

    add("library", f"{found.category} {found.version}" if found.category else None)
    add("status", found.status)
    add("time", "discrete" if found.discrete else "continuous")
    add("size", f"{found.vertices:,} vertices, {found.edges:,} edges, {found.operations:,} operations")
    for parameter in found.parameters:
        unit = f" [{parameter.unit}]" if parameter.unit else ""
        example = f", for example {parameter.example:g}" if parameter.example is not None else ""
        add("parameter", f"{parameter.name}{unit} {parameter.description}{example}".replace(" ,", ","))
    for name, value in found.arguments.items():
        add("built with", f"{name} = {value}")
    add("mean", f"{found.mean:.6g}" if found.mean is not None else None)
    add("std. dev.", f"{found.standard_deviation:.6g}" if found.standard_deviation is not None else None)
    add("citation", found.citation)
    add("license", found.license)
    add("compatible", found.compatible)
    for erratum in found.errata:
        add("erratum", erratum)
    add("graph hash", found.hash)
    add("created", found.created)
    for file in found.files:
        add("file", f"{file.path}  ({size_text(file.bytes)})")
    for note in found.notes:
        add("note", note)
    return lines


@command
def evaluate(
    model: Model,
    theta: Theta = None,
    times: Annotated[
        list[str] | None,
        typer.Option("--times", "-x", help="Times (0.5,1,2) or start:stop:count (0:5:51).", show_default=False),
    ] = None,
    cache_dir: CacheDir = None,
    json_: Json = False,
) -> None:
    """Evaluate a model at θ: mean and variance, and with --times density, distribution and survival.

    Examples
    --------
        ptd-cache eval coalescent/n_samples_10 --theta 1.0

        ptd-cache eval coalescent/n_samples_10 --theta 1.0 --times 0:5:11

        ptd-cache eval coalescent/n_samples_10 --theta 1.0 --times 0.5,1,2 --json
    """
    from ..upkeep.model_info import evaluate_model
    from .parsing import parse_theta, parse_times

    result = evaluate_model(
        model, theta=partial(parse_theta, theta or ()), times=parse_times(times or ()), cache_dir=cache_dir
    )
    emit(result, json_, lambda: _show_values(result))


def _show_values(result: Evaluation) -> None:
    typer.echo(f"expectation\t{result.expectation!r}")
    typer.echo(f"variance\t{result.variance!r}")
    if result.times:
        kind = "probability" if result.discrete else "density"
        rows = zip(result.times, result.pdf, result.cdf, result.sf, strict=True)
        write_table(
            ("time", kind, "distribution", "survival"),
            [tuple(f"{value:.12g}" for value in row) for row in rows],
            right=("time", kind, "distribution", "survival"),
        )


COMMANDS: dict[str, Callable[..., None]] = {"info": info, "eval": evaluate}
