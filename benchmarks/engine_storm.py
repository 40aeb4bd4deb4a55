"""The benchmark's symbolic task, by Storm: expected time to absorption as a rational function of the parameters."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import stormpy
from models import Model, explore
from timing import once, summary


def _prism(model: Model) -> str:
    """The model as a PRISM program over one state variable; Storm wants embedded probabilities and expected times."""
    space = explore(model)
    names = [f"p{i}" for i in range(len(model.param_names))]
    moves: dict[int, list[tuple[str, int]]] = {}
    for source, target, coefs in zip(space.sources, space.targets, space.coefficients, strict=True):
        rate = "+".join(f"{c:g}*{name}" for c, name in zip(coefs, names, strict=True) if c)
        moves.setdefault(source, []).append((f"({rate})", target))
    totals = {source: "(" + "+".join(rate for rate, _ in out) + ")" for source, out in moves.items()}
    lines = ["dtmc", *(f"const double {name};" for name in names), "module chain"]
    lines.append(f"s : [0..{len(space.states) - 1}] init 0;")
    for source, out in moves.items():
        choices = " + ".join(f"{rate}/{totals[source]} : (s'={target})" for rate, target in out)
        lines.append(f"[] s={source} -> {choices};")
    absorbing = [i for i in range(len(space.states)) if i not in moves]
    lines += [f"[] s={i} -> (s'={i});" for i in absorbing] + ["endmodule"]
    lines.append('label "done" = ' + " | ".join(f"s={i}" for i in absorbing) + ";")
    lines.append("rewards")
    lines += [f"s={source} : 1/{total};" for source, total in totals.items()]
    return "\n".join([*lines, "endrewards"])


def symbolic(model: Model, repeats: int, budget: float, folder: Path) -> dict[str, Any]:
    path = folder / "model.prism"
    path.write_text(_prism(model), encoding="utf-8")
    program = stormpy.parse_prism_program(str(path))
    properties = stormpy.parse_properties('R=? [F "done"]', program)
    built = stormpy.build_model[stormpy.RationalFunction](program, properties)
    result, spent = once(lambda: stormpy.model_checking(built, properties[0]))
    return {"bytes": len(str(result.get_value(built.initial_states[0]))), "time": summary([spent])}


def version() -> str:
    return f"stormpy {stormpy.__version__}, Python {platform.python_version()}"
