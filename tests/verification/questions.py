"""Asks a model everything that it can be asked, and measures each answer against the exact truth.

The model is used through its public functions only; the truths come from `rational` and `balls`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import balls
import flint
import numpy as np
from random_graphs import Case
from rational import ONE, ZERO, RationalChain, add_up, fraction, precision

from phasic_models import Graph, params
from phasic_models.errors import InfiniteExpectationError, NumericalError

#: A density or tail below this, or a moment, only has to be small.
TINY_TAIL, TINY_MOMENT = 1e-280, 1e-300
#: A derivative of which this share of its absolute terms is left, or more, is no result of a cancellation.
CANCELLED = 1e-3
#: Jumps up to which derivatives of densities, and moments over epochs, are asked for.
JUMPS = 1e5
DRAWS = 300

GRADIENT_TERMS = "moments_and_grad: derivatives, relative to their absolute terms"
GRADIENT_VALUE = "moments_and_grad: derivatives, relative to their value"
DENSITY_TERMS = "pdf_and_grad: derivatives, relative to their absolute terms"
DENSITY_VALUE = "pdf_and_grad: derivatives, relative to their value"
ROWS = (
    "expectation",
    "moments",
    "variance",
    "covariance",
    "covariance_matrix",
    "joint_moment",
    "sojourn",
    "moments_and_grad: moments",
    GRADIENT_TERMS,
    GRADIENT_VALUE,
    "pdf",
    "cdf",
    "sf",
    "pdf, rewards",
    "cdf, rewards",
    "sf, rewards",
    "pdf_and_grad: density",
    DENSITY_TERMS,
    DENSITY_VALUE,
    "quantile",
    "laplace",
    "sample",
    "epochs: pdf",
    "epochs: cdf",
    "epochs: sf",
    "epochs: moments",
    "epochs: variance",
)


@dataclass(frozen=True)
class Finding:
    """One answer: its error, or None where an error was raised instead; `detail` says what was asked."""

    row: str
    error: float | None
    detail: str


def relative(
    got: Any,
    truth: flint.fmpq | flint.arb,
    scale: flint.fmpq | flint.arb | None = None,
    tiny: float = TINY_MOMENT,
) -> float:
    """Return |got - truth| / scale, rounded up; without a scale relative to the truth.

    Where the scale is below `tiny`, an answer of that size is right, and others are measured by `tiny`.
    """
    value = float(got)
    if not math.isfinite(value):
        return math.inf
    with precision(2 * balls.BITS):
        right = flint.arb(truth)
        difference = abs(flint.arb(fraction(value)) - right)
        size = abs(right) if scale is None else abs(flint.arb(scale))
        if not size > tiny:
            return (
                0.0
                if abs(value) <= tiny and size < tiny
                else float((difference / flint.arb(fraction(tiny))).abs_upper())
            )
        if not right.rad() < size * 1e-40:
            raise ArithmeticError(f"a truth of {shown(right)} is not known well enough")
        return float((difference / size).abs_upper())


def shown(truth: flint.fmpq | flint.arb) -> str:
    with precision(200):
        return flint.arb(truth).str(20, radius=False)


class Examination:
    """All questions to the model of one case."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.model = Graph(case.callback(params), discrete=case.discrete).model()
        self.rng = random.Random(f"questions {case.kind}/{case.seed}")
        # A third of the cases is asked for both parameter vectors at once.
        self.batch = case.seed % 3 == 0
        self.thetas = case.thetas if self.batch else case.thetas[:1]
        self.theta: Any = np.array(self.thetas) if self.batch else np.array(self.thetas[0])
        self.chains = [case.exact(i) for i in range(len(self.thetas))]
        first = self.chains[0]
        self.certain = first.certain
        self.ones = [ONE] * first.n
        self.mean = max(float(self._float(first.start(first.solve(self.ones)))), 1e-300)
        self.findings: list[Finding] = []

    @staticmethod
    def _float(x: flint.fmpq) -> float:
        with precision(100):
            return float(flint.arb(x).mid())

    def rewards(self, by_state: Sequence[float]) -> tuple[np.ndarray, list[flint.fmpq]]:
        """Return rewards as the model takes them, and of the live states as fractions."""
        vector = np.full(self.model.graph.vertices_length(), 7.0)
        for s, reward in enumerate(by_state):
            vector[self.model.graph.vertex_of((s + 1,))] = reward
        return vector, [fraction(by_state[s]) for s in self.chains[0].live]

    def choices(self) -> Iterator[tuple[str, np.ndarray | None, list[flint.fmpq]]]:
        """Yield the rewards whose sum is finite: all ones, if absorption is certain, and drawn ones."""
        if self.certain:
            yield "", None, self.ones
        yield "rewards", *self.rewards(self.case.rewards[0])

    # -- asking -------------------------------------------------------------------------------------------------------

    def ask(self, rows: Sequence[str], function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Return the answer, with a batch axis in any case, or None where it was refused."""
        try:
            answer = function(self.theta, *arguments, **options)
        except NumericalError as error:
            self.findings += [Finding(row, None, str(error)) for row in rows]
            return None
        except InfiniteExpectationError as error:
            allowed = self.case.kind == "defective"
            self.findings += [Finding(row, None if allowed else math.inf, repr(error)) for row in rows]
            return None
        except Exception as error:
            self.findings += [Finding(row, math.inf, repr(error)) for row in rows]
            return None
        if isinstance(answer, tuple):
            return tuple(a if self.batch else a[None] for a in answer)
        return answer if self.batch else np.asarray(answer)[None]

    def record(self, row: str, got: Any, truth: Any, detail: str = "", **measure: Any) -> None:
        error = relative(got, truth, **measure)
        text = detail
        if error > 1e-14:
            text = f"{detail} got {float(got)!r} for {shown(truth)}"
        self.findings.append(Finding(row, error, text))

    def run(self) -> list[Finding]:
        """Ask everything; return what was found."""
        self.moments()
        self.covariances()
        if self.case.kind != "defective":
            self.gradients()
            self.epochs()
            self.samples()
        self.distributions()
        self.densities_with_gradients()
        self.quantiles()
        self.transforms()
        return self.findings

    # -- moments ------------------------------------------------------------------------------------------------------

    def moments(self) -> None:
        model = self.model
        if not self.certain and self.ask_refused("expectation", model.expectation):
            self.ask_refused("variance", model.variance)
        for name, vector, exact in self.choices():
            truth = [chain.moments(4, exact) for chain in self.chains]
            # The fourth moment may be too large for a double where the others are not.
            most = next((k for k in (4, 3, 2, 1) if all(self._float(t[k - 1]) < 1e300 for t in truth)), 0)
            if most == 0:
                continue
            got = self.ask(["expectation"], model.expectation, vector)
            for b, t in enumerate(truth) if got is not None else ():
                self.record("expectation", got[b], t[0], name)
            got = self.ask(["moments"], model.moments, most, vector)
            for b, t in enumerate(truth) if got is not None else ():
                for k in range(most):
                    self.record("moments", got[b][k], t[k], f"{name} order {k + 1}")
            got = self.ask(["variance"], model.variance, vector)
            for b, t in enumerate(truth) if got is not None else ():
                self.record("variance", got[b], t[1] - t[0] ** 2, name)
        if self.certain:
            self.sojourn()

    def ask_refused(self, row: str, function: Callable[..., Any]) -> bool:
        """Ask for what is infinite; anything but the error that says so is wrong."""
        try:
            answer = function(self.theta)
        except InfiniteExpectationError:
            return True
        self.findings.append(Finding(row, math.inf, f"got {answer!r} for infinity"))
        return False

    def sojourn(self) -> None:
        got = self.ask(["sojourn"], self.model.sojourn)
        for b, chain in enumerate(self.chains) if got is not None else ():
            for i, s in enumerate(chain.live):
                self.record("sojourn", got[b][self.model.graph.vertex_of((s + 1,))], chain.visits[i], f"state {s}")

    def covariances(self) -> None:
        both = [self.rewards(r) for r in self.case.rewards]
        vectors, exact = [v for v, _ in both], [r for _, r in both]
        m = len(exact)
        truth = [[[chain.covariance(r, s) for s in exact] for r in exact] for chain in self.chains]
        got = self.ask(["covariance_matrix"], self.model.covariance_matrix, np.stack(vectors))
        pair = self.ask(["covariance"], self.model.covariance, vectors[0], vectors[1])
        for b, right in enumerate(truth):
            with precision(200):
                deviations = [flint.arb(right[i][i]).sqrt() for i in range(m)]
                if pair is not None:
                    scale = deviations[0] * deviations[1]
                    self.record("covariance", pair[b], right[0][1], scale=scale)
                for i in range(m if got is not None else 0):
                    for j in range(m):
                        scale = deviations[i] * deviations[j]
                        self.record("covariance_matrix", got[b][i, j], right[i][j], f"entry {i}, {j}", scale=scale)
        joint = [chain.joint(exact) for chain in self.chains]
        if all(self._float(x) < 1e300 for x in joint):
            got = self.ask(["joint_moment"], self.model.joint_moment, np.stack(vectors))
            for b, right in enumerate(joint) if got is not None else ():
                self.record("joint_moment", got[b], right)

    def gradients(self) -> None:
        for name, vector, exact in self.choices():
            for k in (1, 3):
                truth = [(c.moments(k, exact), c.gradients(k, exact)) for c in self.chains]
                sizes = [self._float(s.terms) for _, g in truth for row in g for s in row]
                if any(self._float(m) > 1e300 for moments, _ in truth for m in moments) or any(
                    s > 1e300 for s in sizes
                ):
                    continue
                rows = ["moments_and_grad: moments", GRADIENT_TERMS, GRADIENT_VALUE]
                got = self.ask(rows, self.model.moments_and_grad, k, vector)
                for b, (moments, slopes) in enumerate(truth) if got is not None else ():
                    for j in range(k):
                        self.record(rows[0], got[0][b][j], moments[j], f"{name} order {j + 1}")
                        for i, slope in enumerate(slopes[j]):
                            detail = f"{name} k={k} order {j + 1} by p{i}"
                            # Whoever surely comes back without a reward makes no difference: all terms are zero.
                            terms = slope.terms or moments[j] / fraction(self.thetas[b][i])
                            self.derivative(rows[1:], got[1][b][j][i], slope.value, terms, detail)

    def derivative(
        self, rows: Sequence[str], got: float, truth: Any, terms: Any, detail: str, tiny: float = TINY_MOMENT
    ) -> None:
        self.record(rows[0], got, truth, detail, scale=terms, tiny=tiny)
        with precision(2 * balls.BITS):
            kept = abs(flint.arb(truth)) >= CANCELLED * abs(flint.arb(terms))
        if kept:
            self.record(rows[1], got, truth, detail, tiny=tiny)

    # -- distributions ------------------------------------------------------------------------------------------------

    def times(self, mean: float) -> np.ndarray:
        """Return one time in the beginning, one around the mean and one far out."""
        drawn = [
            mean * 10 ** self.rng.uniform(-6, -0.5),
            mean * self.rng.uniform(0.3, 4),
            mean * self.rng.uniform(50, 640),
        ]
        if self.case.discrete:
            drawn = [min(math.floor(t) + self.rng.randrange(2), 1e12) for t in drawn]
        return np.array([min(t, 1e300) for t in drawn], dtype=float)

    def distributions(self) -> None:
        self.distribution("", None, [balls.law_of_time(c) for c in self.chains], self.times(self.mean))
        vector, exact = self.rewards(self.case.whole)
        mean = self._float(self.chains[0].moments(1, exact)[0])
        if mean > 0:
            times = self.times(mean)
            if self.case.discrete:
                times = np.minimum(times, 1e4)
            self.distribution(", rewards", vector, [balls.law_of_reward(c, exact) for c in self.chains], times)

    def distribution(self, suffix: str, vector: Any, laws: Sequence[balls.Law], times: np.ndarray) -> None:
        truth = [[law.at(float(t)) for t in times] for law in laws]
        for what in ("pdf", "cdf", "sf"):
            row = what + suffix
            got = self.ask([row], getattr(self.model, what), times, vector)
            for b in range(len(laws) if got is not None else 0):
                for i, t in enumerate(times):
                    self.record(row, got[b][i], truth[b][i][what], f"t={float(t)!r}", tiny=TINY_TAIL)

    def fastest(self) -> float:
        if self.case.discrete:
            return 1.0
        return max((self._float(c.A[i, i]) for c in self.chains for i in range(c.n)), default=1.0)

    def densities_with_gradients(self) -> None:
        if not self.case.p or self.case.n > 5 or self.case.kind == "defective":
            return
        time = min(
            self.mean * self.rng.choice((self.rng.uniform(0.05, 3), self.rng.uniform(20, 500))), JUMPS / self.fastest()
        )
        if self.case.discrete:
            time = math.floor(time) + 1.0
        rows = ["pdf_and_grad: density", DENSITY_TERMS, DENSITY_VALUE]
        got = self.ask(rows, self.model.pdf_and_grad, np.array([time]))
        for b, chain in enumerate(self.chains) if got is not None else ():
            density, slopes, terms = balls.law_of_time(chain, gradient=True).density_gradient(time)
            self.record(rows[0], got[0][b][0], density, f"t={time!r}", tiny=TINY_TAIL)
            for i in range(chain.p):
                self.derivative(rows[1:], got[1][b][0][i], slopes[i], terms[i], f"t={time!r} by p{i}", TINY_TAIL)

    def quantiles(self) -> None:
        chain = self.chains[0]
        rewarded = self.case.seed % 2 == 1
        if rewarded:
            vector, exact = self.rewards(self.case.whole)
            law, absorbed = balls.law_of_reward(chain, exact), 1.0
        else:
            vector, law = None, balls.law_of_time(chain)
            ends = add_up(a * b for a, b in zip(chain.visits, chain.exit, strict=True))
            absorbed = self._float(ends + law.at_once) * (1 - 1e-9 * (not self.certain))
        low = 10 ** self.rng.uniform(-200, -1)
        high = 1 - 10 ** self.rng.uniform(-15, -1)
        probabilities = np.array([self.rng.uniform(0.01, 0.99), low if self.case.seed % 4 < 2 else high]) * min(
            absorbed, 1.0
        )
        if (probabilities >= 1).any():
            return
        got = self.ask(["quantile"], self.model.quantile, probabilities, vector)
        for q, t in zip(probabilities, got[0] if got is not None else (), strict=got is not None):
            self.findings.append(
                Finding("quantile", self._quantile_error(law, float(q), float(t)), f"q={q!r} got {t!r}")
            )

    def _quantile_error(self, law: balls.Law, q: float, t: float) -> float:
        if not 0 <= t < math.inf:
            return math.inf
        with precision(2 * balls.BITS):
            wanted, share = flint.arb(fraction(q)), flint.arb(min(fraction(q), 1 - fraction(q)))
            if t == 0:
                # All that is reached at once.
                return max(0.0, float(((wanted - flint.arb(law.at_once)) / share).mid()))
            here = law.at(t)
            missing = wanted - here["cdf"]
            if self.case.discrete:
                before = law.at(t - 1)["cdf"]
                off = max(missing, before - wanted, flint.arb(0), key=lambda x: float(x.mid()))
            else:
                off = abs(missing)
            # Right if the time is, or if the probability is: where hardly anything happens the time is not well defined.
            errors = [off / share]
            if here["pdf"] > 0:
                errors.append(off / (here["pdf"] * flint.arb(fraction(t))))
            return min(float(e.abs_upper()) for e in errors)

    def transforms(self) -> None:
        vector, exact = self.rewards(self.case.whole)
        for name, given, rewards in (("", None, self.ones), ("rewards", vector, exact)):
            at = [0.0, 10 ** self.rng.uniform(-3, 3) / self.mean, 10 ** self.rng.uniform(-3, 3)]
            if self.case.discrete:
                at = [min(s, 50.0) for s in at]
            at = [s for s in at if s < 1e250]
            got = self.ask(["laplace"], self.model.laplace, np.array(at), given)
            for b, chain in enumerate(self.chains) if got is not None else ():
                ends = chain.exit if given is None else [x + y for x, y in zip(chain.exit, chain.trap, strict=True)]
                at_once = 1 - add_up(chain.alpha) - (chain.start_trapped if given is None else ZERO)
                for i, s in enumerate(at):
                    with precision(balls.BITS):
                        truth = chain.laplace(s, rewards, ends, at_once)
                    self.record("laplace", got[b][i], truth, f"{name} s={s!r}")

    # -- draws and epochs ---------------------------------------------------------------------------------------------

    def samples(self) -> None:
        """Count the draws up to the mean; the error is in standard deviations, of which one draw is the least."""
        if self.case.seed % 4 or self.fastest() * self.mean > 1e3:
            return
        got = self.ask(["sample"], self.model.sample, DRAWS, self.case.seed)
        for b, chain in enumerate(self.chains) if got is not None else ():
            time = math.floor(self.mean) if self.case.discrete else self.mean
            chance = float(balls.law_of_time(chain).at(float(time))["cdf"].mid())
            deviation = max(1.0, math.sqrt(DRAWS * chance * (1 - chance)))
            seen = int(np.count_nonzero(got[b] <= time))
            self.findings.append(Finding("sample", abs(seen - DRAWS * chance) / deviation, f"t={time!r}"))

    def epochs(self) -> None:
        """Ask for a change of parameters at one time."""
        chains = [self.case.exact(0), self.case.exact(1)]
        change = min(self.mean * self.rng.uniform(0.1, 2), JUMPS / self.fastest())
        if self.case.discrete:
            change = math.floor(change) + 1.0
        model = self.model.epochs([0.0, change])
        theta = np.array(self.case.thetas)
        laws = [balls.law_of_time(chain) for chain in chains]
        later = [self.rng.uniform(0, 3) * self.mean, self.rng.uniform(0, 100) * self.mean]
        times = np.array([0.5 * change, *(change + (math.floor(t) + 1 if self.case.discrete else t) for t in later)])
        if self.case.discrete:
            times = np.floor(times)
        row = laws[0].after(change)
        truth = [
            laws[0].at(float(times[0])),
            *(laws[1].at(float(fraction_difference(t, change)), row) for t in times[1:]),
        ]
        keep, self.theta = (self.theta, self.batch), theta
        self.batch = False
        for what in ("pdf", "cdf", "sf"):
            got = self.ask([f"epochs: {what}"], getattr(model, what), times)
            for i, t in enumerate(times) if got is not None else ():
                self.record(
                    f"epochs: {what}", got[0][i], truth[i][what], f"change {change!r} t={float(t)!r}", tiny=TINY_TAIL
                )
        if self.case.n <= 4:
            self.epoch_moments(model, chains, change)
        self.theta, self.batch = keep

    def epoch_moments(self, model: Any, chains: Sequence[RationalChain], change: float) -> None:
        vector, exact = self.rewards(self.case.whole)
        k = 2
        truth = balls.epoch_moments(chains[0], chains[1], change, k, exact)
        got = self.ask(["epochs: moments"], model.moments, k, vector)
        for j in range(k if got is not None else 0):
            self.record("epochs: moments", got[0][j], truth[j], f"change {change!r} order {j + 1}")
        with precision(2 * balls.BITS):
            variance = truth[1] - truth[0] ** 2
        got = self.ask(["epochs: variance"], model.variance, vector)
        if got is not None:
            self.record("epochs: variance", got[0], variance, f"change {change!r}")


def fraction_difference(later: float, earlier: float) -> float:
    """Return the time since the change; what the sum lost in rounding is part of the question."""
    return later - earlier
