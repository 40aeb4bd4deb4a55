"""Searches for wrong numbers: random graphs of seven kinds, every function of a model, and exact truth.

``uv run tests/verification/search.py --graphs 2000 --seed 1 --write docs/accuracy.md`` asks everything of 2,000 graphs, prints
each answer that is worse than its bound together with its graph, and writes the table of the worst errors. The exit code is 1
if there was such an answer. The same numbers give the same graphs on every machine.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from pathlib import Path

from questions import (
    CANCELLED,
    DENSITY_TERMS,
    DENSITY_VALUE,
    GRADIENT_TERMS,
    GRADIENT_VALUE,
    ROWS,
    Examination,
    Finding,
)
from random_graphs import KINDS, random_case

#: What an answer may be off, by function. Every kind of graph has the same bounds, unless `BOUNDS_OF_KIND` says otherwise.
BOUNDS = {
    "expectation": 1e-13,
    "moments": 1e-13,
    "variance": 1e-9,
    "covariance": 1e-9,
    "covariance_matrix": 1e-9,
    "joint_moment": 1e-13,
    "sojourn": 1e-13,
    "moments_and_grad: moments": 1e-13,
    GRADIENT_TERMS: 1e-12,
    GRADIENT_VALUE: 1e-9,
    # `tol` promises 1e-12. Repeated squaring was seen at 1.04e-12 for a value of 7e-276 (kind "rare", seed 2000009).
    "pdf": 2e-12,
    "cdf": 1e-12,
    "sf": 2e-12,
    # States without reward are eliminated and rates divided by rewards before, which far tails multiply by 600.
    "pdf, rewards": 2e-12,
    "cdf, rewards": 1e-12,
    "sf, rewards": 2e-12,
    "pdf_and_grad: density": 1e-12,
    DENSITY_TERMS: 1e-12,
    DENSITY_VALUE: 1e-9,
    "quantile": 2e-12,
    "laplace": 1e-13,
    # In standard deviations.
    "sample": 7.0,
    "epochs: pdf": 1e-12,
    "epochs: cdf": 1e-12,
    "epochs: sf": 1e-12,
    "epochs: moments": 1e-12,
    "epochs: variance": 1e-9,
}
#: Where nothing is stiff, the issue of conditional variances does not arise, nor that of differences.
BOUNDS_OF_KIND = {
    ("mild", "variance"): 1e-13,
    ("mild", "covariance"): 1e-13,
    ("mild", "covariance_matrix"): 1e-13,
    ("discrete", "variance"): 1e-13,
    ("discrete", "covariance"): 1e-13,
    ("discrete", "covariance_matrix"): 1e-13,
}
#: Kinds of which every answer must be a number.
ANSWERED = ("mild", "discrete")
#: Seeds of one search do not meet those of the next.
STRIDE = 1_000_000


def bound(row: str, kind: str) -> float:
    return BOUNDS_OF_KIND.get((kind, row), BOUNDS[row])


@dataclass
class Tally:
    """The worst answers that were seen, by function and kind of graph."""

    graphs: Counter[str] = field(default_factory=Counter)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    raised: Counter[tuple[str, str]] = field(default_factory=Counter)
    worst: dict[tuple[str, str], float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def examine(self, kind: str, seed: int) -> None:
        """Ask everything of one graph."""
        case = random_case(kind, seed)
        self.graphs[kind] += 1
        wrong = [f for f in Examination(case).run() if not self.add(kind, f)]
        if wrong:
            lines = [f"{f.row}: error {f.error}, {f.detail}" for f in wrong]
            self.failures.append("\n".join([*lines, str(case)]))

    def add(self, kind: str, finding: Finding) -> bool:
        """Count an answer; return whether it may stand."""
        key = kind, finding.row
        self.asked[key] += 1
        if finding.error is None:
            self.raised[key] += 1
            return kind not in ANSWERED
        self.worst[key] = max(self.worst.get(key, 0.0), finding.error)
        return finding.error <= bound(finding.row, kind)


def search(graphs: int, seed: int, kinds: Sequence[str] = KINDS) -> Tally:
    """Examine so many graphs, the same number of each kind."""
    tally = Tally()
    for number in range(graphs):
        tally.examine(kinds[number % len(kinds)], seed * STRIDE + number // len(kinds))
    return tally


def rounded(error: float) -> str:
    """Return an error to one digit, rounded up."""
    if error == 0 or error == float("inf"):
        return str(error).replace("0.0", "0")
    exact = Decimal(error)
    power = exact.adjusted()
    digit = int(exact.scaleb(-power).to_integral_value(ROUND_CEILING))
    return f"1e{power + 1}" if digit == 10 else f"{digit}e{power}"


def cell(tally: Tally, row: str, kind: str) -> str:
    key = kind, row
    if not tally.asked[key]:
        return ""
    parts = []
    if key in tally.worst:
        error = tally.worst[key]
        text = f"{error:.1f}" if row == "sample" else rounded(error)
        parts.append(f"**{text}**" if error > bound(row, kind) else text)
    if tally.raised[key]:
        parts.append(f"({100 * tally.raised[key] / tally.asked[key]:.2g} % refused)")
    return " ".join(parts)


def table(tally: Tally, kinds: Sequence[str] = KINDS) -> str:
    """Return the table in Markdown."""
    lines = [
        "| | bound | " + " | ".join(f"{kind} ({tally.graphs[kind]})" for kind in kinds) + " |",
        "|---|---|" + "---|" * len(kinds),
    ]
    for row in ROWS:
        special = sorted({bound(row, kind) for kind in kinds})
        bounds = " or ".join(f"{x:g}" for x in special)
        lines.append(f"| {row} | {bounds} | " + " | ".join(cell(tally, row, kind) for kind in kinds) + " |")
    return "\n".join(lines) + "\n"


PAGE = """\
# Accuracy

<!-- Written by `uv run tests/verification/search.py --graphs {graphs} --seed {seed} --write docs/accuracy.md`. -->

Every public function of a model is compared with exact truth on random graphs of seven kinds: hundreds in every run of
the tests, thousands every week. Moments and their derivatives are computed in rational arithmetic, distributions in ball
arithmetic with 1,024 bits or more, both with python-flint and without code of this package. The table shows the largest
error that was seen on {graphs:,} graphs; the number of each kind is in the head of its column. An error above its bound
is printed **bold**. Where an error was raised instead of an answer, its share of the questions is given as "refused".

{table}
## Kinds of graphs

Graphs have up to 8 states that are not absorbing, and up to 3 parameters; most weights are products, quotients, powers,
sums and differences of these.

* *mild*: rates between 0.1 and 10.
* *rare*: absorption, or the way from one group of states to the next, is less likely by a factor of 1e-3 to 1e-15 than
  the other jumps; birth-death chains, groups within groups, rows of slow blocks (there down to 1e-17); also in
  discrete time.
* *12 decades*, *120 decades*: rates between 1e-6 and 1e6, and between 1e-60 and 1e60.
* *near-deterministic*: jump probabilities within 1e-12 of one, and rows of stages with rewards between 1 and 1e17.
* *discrete*: jump probabilities that leave at least 2 % for staying.
* *defective*: a part of the probability ends in a trap, a set of states whose way out has weight 0. Times until
  absorption are then infinite with that probability. Distribution functions, Laplace transforms, quantiles below the
  probability of absorption, and sums of rewards that are zero in the trap are still defined, and are compared where
  they are given.

## How errors are measured

* Quantities that cannot be negative: relative to the value. A density or a value of a distribution function below 1e-280
  only has to be that small.
* Covariances: relative to the product of the two standard deviations.
* Derivatives: relative to the sum of the absolute terms of a formula without avoidable subtraction. For moments: let
  A x = r be the reduced system and z the expected times in the states. A jump u → v with weight w adds
  z_u (T + P x_u) |dw/dθ|, where T is what is earned from v until u or absorption, and P is the probability of absorption
  before u: x_v − x_u = T − P x_u. For densities: the integral of both probabilities whose difference the derivative is.
  Where at least {cancelled:g} of that sum is left, the error relative to the derivative itself is reported as well.
* Quantiles: the smaller of the relative errors of the time, and of the probability at that time.
* Samples: the number of draws up to the mean, in standard deviations of that number.
"""


def main(arguments: Iterable[str] | None = None) -> int:
    """Run the search that the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=700, help="number of graphs of all kinds together")
    parser.add_argument("--seed", type=int, default=1, help="number of the search")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--write", type=Path, help="file for the page with the table")
    parser.add_argument("--show", type=int, default=10, help="how many graphs with wrong answers are printed")
    options = parser.parse_args(None if arguments is None else list(arguments))
    tally = search(options.graphs, options.seed, options.kinds)
    text = table(tally, options.kinds)
    print(text)
    for failure in tally.failures[: options.show]:
        print(failure, end="\n\n")
    print(f"{options.graphs} graphs, seed {options.seed}: {len(tally.failures)} with a wrong answer")
    if options.write:
        page = PAGE.format(graphs=options.graphs, seed=options.seed, table=text, cancelled=CANCELLED)
        options.write.write_text(page, encoding="utf-8")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
