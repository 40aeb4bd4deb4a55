"""Expectations as rational functions of the parameters, against Storm's (parametric model checking).

Storm computes with exact rationals, so its function, evaluated at rational parameters, is the truth to the last digit.
"""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phasic_models.graph import Graph
from phasic_models.statespace.expr import params

pytestmark = pytest.mark.slow

stormpy = pytest.importorskip("stormpy")

NAMES = ("a", "b")
# Floats that are short as fractions.
POINTS = [(1.0, 1.0), (0.25, 3.0), (2.0**-20, 5.0), (1.5, 2.0**-10), (2.0**12, 0.75)]


@st.composite
def parametric_chains(draw):
    """Weights ``c0 + c1 a + c2 b`` with small whole coefficients between up to five states; state 0 absorbs."""
    n = draw(st.integers(1, 4))
    weight = st.tuples(*[st.integers(0, 3)] * 3).filter(any)
    moves = {(i, draw(st.integers(0, i - 1))): draw(weight) for i in range(1, n + 1)}
    for i in range(1, n + 1):
        for j in draw(st.lists(st.integers(0, n), max_size=3)):
            if j != i:
                moves[i, j] = draw(weight)
    return n, moves


def prism(n, moves, rewards):
    """The embedded chain of `moves`, starting in state n, that earns rewards[i] / (total rate) on each visit to i."""
    text = {
        e: "(" + " + ".join(f"{c}{x}" for c, x in zip(w, ("", "*a", "*b"), strict=True)) + ")" for e, w in moves.items()
    }
    lines = ["dtmc", "const double a;", "const double b;", "module chain", f"s : [0..{n}] init {n};"]
    totals = {}
    for i in range(1, n + 1):
        out = {j: rate for (source, j), rate in text.items() if source == i}
        totals[i] = "(" + " + ".join(out.values()) + ")"
        choices = " + ".join(f"{rate}/{totals[i]} : (s'={j})" for j, rate in out.items())
        lines.append(f"[] s={i} -> {choices};")
    lines += ["[] s=0 -> (s'=0);", "endmodule", 'label "done" = s=0;', "rewards"]
    lines += [f"s={i} : {rewards[i]}/{totals[i]};" for i in range(1, n + 1)]
    return "\n".join([*lines, "endrewards"])


def storm(program, formula, folder):
    """Return the value at the start as a function of exact parameters."""
    path = folder / "chain.prism"
    path.write_text(program, encoding="utf-8")
    parsed = stormpy.parse_prism_program(str(path))
    properties = stormpy.parse_properties(formula, parsed)
    built = stormpy.build_model[stormpy.RationalFunction](parsed, properties)
    value = stormpy.model_checking(built, properties[0]).get_value(built.initial_states[0])
    variables = {v.name: v for v in value.gather_variables()}

    def at(theta):
        given = {name: Fraction(x) for name, x in zip(NAMES, theta, strict=True)}
        point = {v: stormpy.RationalFunctionCoefficient(str(given[name])) for name, v in variables.items()}
        return Fraction(str(value.evaluate(point)))

    return at


def model_of(n, moves):
    def callback(state):
        i = int(state[0]) if len(state) else None
        if i is None:
            return [([n], 1.0, [1.0, 0.0])]
        return [((j,), float(w[0]), [float(c) for c in w[1:]]) for (source, j), w in moves.items() if source == i]

    return Graph(callback, param_names=NAMES).model()


def relative_error(value, truth):
    return float(abs(Fraction(value) - truth) / truth) if truth else float(value != 0)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parametric_chains(), st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_expectations(tmp_path, chain, rewards):
    n, moves = chain
    truth = storm(prism(n, moves, rewards), 'R=? [F "done"]', tmp_path)
    model = model_of(n, moves)
    by_vertex = [0.0, *(float(rewards[int(s)]) for s in model.states[1:, 0])]
    for theta in POINTS:
        assert relative_error(model.expectation(theta, by_vertex), truth(theta)) < 1e-14


def test_gradient(tmp_path):
    """The derivative of Storm's function, by differences that are exact but for their step."""
    moves = {(2, 1): (0, 2, 0), (1, 2): (0, 0, 1), (1, 0): (0, 1, 0), (2, 0): (0, 0, 3)}
    truth = storm(prism(2, moves, [0, 3, 1]), 'R=? [F "done"]', tmp_path)
    model = model_of(2, moves)
    rewards = [0.0, 0.0, 3.0, 1.0]
    step = Fraction(1, 2**60)
    for theta in POINTS:
        value, gradient = model.moments_and_grad(theta, 1, rewards)
        assert relative_error(value[0], truth(theta)) < 1e-14
        for i, derivative in enumerate(gradient[0]):
            up, down = [[Fraction(x) for x in theta] for _ in range(2)]
            up[i] += step
            down[i] -= step
            assert derivative == pytest.approx(float((truth(up) - truth(down)) / (2 * step)), rel=1e-12)


def test_where_absorption_happens(tmp_path):
    """The chance to end in one of two states is the expected flow into it."""
    program = """dtmc
const double a; const double b;
module chain
s : [0..4] init 2;
[] s=2 -> a/(a+b) : (s'=3) + b/(a+b) : (s'=1);
[] s=3 -> a/(a+2*b) : (s'=4) + 2*b/(a+2*b) : (s'=2);
[] s=1 -> 3*a/(3*a+b) : (s'=2) + b/(3*a+b) : (s'=0);
[] s=0 -> (s'=0);
[] s=4 -> (s'=4);
endmodule
"""
    truth = storm(program, "P=? [F s=4]", tmp_path)
    a, b = params(*NAMES)
    rates = {2: [((3,), a), ((1,), b)], 3: [((4,), a), ((2,), 2 * b)], 1: [((2,), 3 * a), ((0,), b)]}
    model = Graph(lambda s: rates.get(int(s[0]), []), ipv=[2], param_names=NAMES).model()
    upper = model.graph.vertex_of((3,))
    for theta in POINTS:
        assert relative_error(float(model.sojourn(theta)[upper] * theta[0]), truth(theta)) < 1e-14


@pytest.mark.parametrize("size", [2, 3])
def test_tandem_queue(size, tmp_path):
    """Time until a tandem of two queues is empty, both being full at first; in small, what Storm takes long for."""
    moves, count = {}, size + 1
    number = {(x, y): x * count + y for x in range(count) for y in range(count)}
    for (x, y), i in number.items():
        if i:
            if x < size:
                moves[i, number[x + 1, y]] = (0, 1, 0)
            if x and y < size:
                moves[i, number[x - 1, y + 1]] = (0, 0, 1)
            if y:
                moves[i, number[x, y - 1]] = (2, 0, 0)
    n = count**2 - 1
    truth = storm(prism(n, moves, [1] * (n + 1)), 'R=? [F "done"]', tmp_path)
    model = model_of(n, moves)
    for theta in POINTS[:4]:
        assert relative_error(model.expectation(theta), truth(theta)) < 1e-13


def test_the_function_itself(tmp_path):
    """A closed form that all three must agree on: a series of n stages takes the sum of their means."""
    moves = {(i, i - 1): (0, i, 0) for i in range(1, 5)}
    truth = storm(prism(4, moves, [1] * 5), 'R=? [F "done"]', tmp_path)
    model = model_of(4, moves)
    for theta, _ in pairwise(POINTS):
        assert truth(theta) == sum(Fraction(1, i) for i in range(1, 5)) / Fraction(theta[0])
        assert model.expectation(theta) == pytest.approx(math.fsum(1 / i for i in range(1, 5)) / theta[0], rel=1e-14)
