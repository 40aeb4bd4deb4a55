"""Hypothesis strategies for random chains: continuous or discrete, cyclic, stiff, nearly reducible, with parameters.

A `Chain` keeps the description that a graph is built from, so that a test can list the same chain in another way (other
order, split transitions, another callback form) or build a dense matrix from it without the code under test.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from phasic_models.graph import Graph

State = tuple[int, ...]


@dataclass(frozen=True)
class Move:
    """A transition with weight ``base + coefficients · theta``."""

    source: State
    target: State
    base: float
    coefficients: tuple[float, ...] = ()

    def weight(self, theta) -> float:
        return self.base + float(np.dot(self.coefficients, theta)) if self.coefficients else self.base


@dataclass(frozen=True)
class Chain:
    """A random chain as somebody might describe it."""

    states: tuple[State, ...]
    initial: tuple[tuple[State, float], ...]
    moves: tuple[Move, ...]
    n_params: int = 0
    discrete: bool = False

    def callback(self):
        """Return a callback in the guide's form, or in the form without parameters."""
        by_source: dict[State, list[Move]] = {}
        for move in self.moves:
            by_source.setdefault(move.source, []).append(move)

        def callback(state):
            if len(state) == 0:
                return [(s, p, [1.0]) for s, p in self.initial]
            moves = by_source.get(tuple(state.tolist()), [])
            if self.n_params:
                return [(m.target, m.base, list(m.coefficients)) for m in moves]
            return [(m.target, m.base) for m in moves]

        return callback

    def graph(self) -> Graph:
        return Graph(self.callback(), discrete=self.discrete)

    def shuffled(self, seed: int) -> Chain:
        """Return the same chain, listed in another order."""
        rng = random.Random(seed)
        initial, moves, states = list(self.initial), list(self.moves), list(self.states)
        for items in (initial, moves, states):
            rng.shuffle(items)
        return replace(self, states=tuple(states), initial=tuple(initial), moves=tuple(moves))

    def dense(self, theta=()) -> tuple[np.ndarray, np.ndarray, list[State]]:
        """Return initial vector, sub-generator (or sub-transition matrix) and the transient states they refer to."""
        leaving = {m.source for m in self.moves if m.source != m.target}
        transient = [s for s in self.states if s in leaving]
        place = {s: i for i, s in enumerate(transient)}
        matrix = np.zeros((len(transient), len(transient)))
        for m in self.moves:
            if m.source not in place or m.source == m.target:
                continue
            i, w = place[m.source], m.weight(theta)
            matrix[i, i] -= w
            if m.target in place:
                matrix[i, place[m.target]] += w
        if self.discrete:
            matrix += np.eye(len(transient))
        alpha = np.zeros(len(transient))
        total = sum(p for _, p in self.initial)
        for s, p in self.initial:
            if s in place:
                alpha[place[s]] += p / total
        return alpha, matrix, transient


@st.composite
def chains(
    draw,
    *,
    discrete: bool = False,
    cyclic: bool | None = None,
    n_params: int = 0,
    decades: float = 1.0,
    nearly_reducible: bool = False,
    min_transient: int = 1,
    max_transient: int = 8,
) -> Chain:
    """Draw a chain in which every state can reach absorption.

    Parameters
    ----------
    discrete
        Whether weights are jump probabilities.
    cyclic
        Whether transitions may lead back; None draws it.
    n_params
        Number of parameters; weights then have non-negative coefficients.
    decades
        Rates lie between ``10**-decades`` and ``10**decades``.
    nearly_reducible
        Split the states into two groups that are connected at rates around 1e-10 only.
    """
    n = draw(st.integers(min_transient, max_transient))
    n_absorbing = draw(st.integers(1, 3))
    length = draw(st.integers(1, 3))
    states = draw(
        st.lists(
            st.tuples(*[st.integers(-3, 9)] * length), min_size=n + n_absorbing, max_size=n + n_absorbing, unique=True
        )
    )
    transient, absorbing = states[:n], states[n:]
    if cyclic is None:
        cyclic = draw(st.booleans())
    exponent = st.floats(-decades, decades, allow_nan=False)
    half = n // 2

    def weight(i: int, j: int) -> float:
        value = 10.0 ** draw(exponent)
        crosses = nearly_reducible and (i < half) != (j < half)
        return value * 1e-10 if crosses else value

    edges: dict[tuple[int, int], None] = {}
    for i in range(n):
        # A chain of forward edges makes absorption certain.
        edges[i, draw(st.integers(i + 1, n + n_absorbing - 1))] = None
        for _ in range(draw(st.integers(0, 3))):
            low = 0 if cyclic else i + 1
            j = draw(st.integers(low, n + n_absorbing - 1))
            if j != i:
                edges[i, j] = None
    everything = transient + absorbing
    weights = {(i, j): weight(i, j) for i, j in edges}
    if discrete:
        for i in range(n):
            # A weight that depends on parameters is rounded, and a chance to stay of that size would be nothing but rounding.
            stay = draw(st.floats(0.01 if n_params else 0.0, 0.9))
            out = sum(w for (a, _), w in weights.items() if a == i)
            for edge in [e for e in weights if e[0] == i]:
                weights[edge] *= (1 - stay) / out
    moves = []
    for (i, j), w in weights.items():
        if n_params:
            # The parts sum to the weight at theta = 1, so probabilities stay below one for theta <= 1.
            shares = draw(st.lists(st.integers(0, 3), min_size=n_params + 1, max_size=n_params + 1))
            total = sum(shares)
            parts = [w * s / total for s in shares] if total else [w] + [0.0] * n_params
            moves.append(Move(everything[i], everything[j], parts[0], tuple(parts[1:])))
        else:
            moves.append(Move(everything[i], everything[j], w))
    if discrete:
        moves = [m for i in range(n) for m in _at_most_one([m for m in moves if m.source == transient[i]])]
    chosen = draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=3, unique=True))
    initial = [(transient[i], draw(st.floats(0.05, 1.0))) for i in chosen]
    if draw(st.integers(0, 9)) == 0:
        initial.append((absorbing[0], 0.25))
    total = sum(p for _, p in initial)
    initial = [(s, p / total) for s, p in initial]
    reached = _reached([s for s, _ in initial], moves)
    return Chain(
        tuple(s for s in states if s in reached),
        tuple(initial),
        tuple(m for m in moves if m.source in reached),
        n_params,
        discrete,
    )


def _at_most_one(moves: list[Move]) -> list[Move]:
    """Take off what rounding has put on top of a sum of one; exact truths would see a negative chance to stay."""
    while sum(Fraction(x) for m in moves for x in (m.base, *m.coefficients)) > 1:
        low = 1 - 2**-52
        moves = [replace(m, base=m.base * low, coefficients=tuple(c * low for c in m.coefficients)) for m in moves]
    return moves


def _reached(roots: list[State], moves: list[Move]) -> set[State]:
    found = set(roots)
    stack = list(roots)
    while stack:
        here = stack.pop()
        for m in moves:
            if m.source == here and m.target not in found:
                found.add(m.target)
                stack.append(m.target)
    return found


def any_chains(**kwargs) -> st.SearchStrategy[Chain]:
    """Draw from all kinds: with and without parameters, stiff, nearly reducible, continuous and discrete."""
    return st.one_of(
        chains(**kwargs),
        chains(n_params=2, **kwargs),
        chains(discrete=True, **kwargs),
        chains(discrete=True, n_params=1, **kwargs),
        chains(decades=6.0, **kwargs),
        chains(nearly_reducible=True, cyclic=True, **kwargs),
    )


def thetas(n: int) -> st.SearchStrategy[list[float]]:
    """Draw parameters at which the weights of every drawn chain, probabilities included, are valid."""
    return st.lists(st.floats(0.05, 1.0), min_size=n, max_size=n)
