"""A slow, readable twin of the C core: elimination, moments and distributions in plain Python.

The order of its floating-point operations is the order that the core promises, so elimination and expectations can be
compared bit for bit. Nothing here is meant to be fast, and nothing here is imported by the package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from phasic_models.graph import Graph


def slot_values(graph: Graph, theta: Sequence[float]) -> list[float]:
    """Evaluate the weight table from left to right."""
    table = graph.weights
    values: list[float] = []
    for s in range(table.n_affine):
        value = float(table.affine_base[s])
        for j in range(int(table.affine_ptr[s]), int(table.affine_ptr[s + 1])):
            value += float(table.affine_coef[j]) * float(theta[table.affine_param[j]])
        values.append(value)
    for op, a, b in zip(table.program_op.tolist(), table.program_a.tolist(), table.program_b.tolist(), strict=True):
        left, right = values[a], values[b]
        values.append(left + right if op == 1 else left * right if op == 2 else left / right)
    return values


def edges(graph: Graph, theta: Sequence[float]) -> list[list[tuple[int, float]]]:
    """Return for each vertex its (target, weight) pairs, by ascending target."""
    values = slot_values(graph, theta)
    ptr, target, slot = graph.edge_ptr.tolist(), graph.edge_target.tolist(), graph.edge_slot.tolist()
    return [[(target[e], values[slot[e]]) for e in range(ptr[v], ptr[v + 1])] for v in range(graph.vertices_length())]


def strong_components(graph: Graph) -> list[list[int]]:
    """Return the strongly connected components of the transient vertices, downstream first (Tarjan)."""
    ptr, target = graph.edge_ptr.tolist(), graph.edge_target.tolist()
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    on_stack: set[int] = set()
    stack: list[int] = []
    components: list[list[int]] = []

    def visit(v: int) -> None:
        index[v] = low[v] = len(index)
        stack.append(v)
        on_stack.add(v)
        for w in target[ptr[v] : ptr[v + 1]]:
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in on_stack:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            component = []
            while not component or component[-1] != v:
                component.append(stack.pop())
                on_stack.discard(component[-1])
            if ptr[v] < ptr[v + 1]:
                components.append(sorted(component))

    # Everything is reachable from the starting vertex, whose component is therefore completed last.
    visit(0)
    return components


def an_order(graph: Graph) -> tuple[list[int], list[int]]:
    """Return a valid order with its block pointers: components downstream first, each by vertex number."""
    order: list[int] = []
    block_ptr = [0]
    for component in strong_components(graph):
        order += component
        block_ptr.append(len(order))
    return order, block_ptr


@dataclass
class Factor:
    """The result of an elimination at one θ: rows of multipliers, rows of the upper part, exits and their sums."""

    lower: list[dict[int, float]]
    upper: list[dict[int, float]]
    exit: list[float]
    s: list[float]
    edges: list[list[tuple[int, float]]]


class Twin:
    """Elimination of a graph in a given order."""

    def __init__(self, graph: Graph, order: Sequence[int], block_ptr: Sequence[int]) -> None:
        self.graph = graph
        self.order = [int(v) for v in order]
        self.block_ptr = [int(p) for p in block_ptr]
        self.position = {v: i for i, v in enumerate(self.order)}
        self.block = [b for b in range(len(block_ptr) - 1) for _ in range(self.block_ptr[b], self.block_ptr[b + 1])]
        ptr, target = graph.edge_ptr.tolist(), graph.edge_target.tolist()
        self.lower: list[list[int]] = []
        self.upper: list[list[int]] = []
        self.operations = 0
        for i, v in enumerate(self.order):
            row = {self.position[w] for w in target[ptr[v] : ptr[v + 1]] if self._inside(i, w)}
            for j in range(self.block_ptr[self.block[i]], i):
                if j in row:
                    row |= {k for k in self.upper[j] if k != i}
                    # One for each entry of the row that is touched, one for the exit.
                    self.operations += 1 + sum(k != i for k in self.upper[j])
            self.lower.append(sorted(k for k in row if k < i))
            self.upper.append(sorted(k for k in row if k > i))

    def _inside(self, i: int, vertex: int) -> bool:
        """Whether `vertex` belongs to the block of position `i`."""
        place = self.position.get(vertex)
        return place is not None and self.block[place] == self.block[i]

    def factor(self, theta: Sequence[float]) -> Factor:
        """Eliminate at `theta`."""
        out = Factor([], [], [], [], edges(self.graph, theta))
        for i, v in enumerate(self.order):
            acc = dict.fromkeys(self.lower[i] + self.upper[i], 0.0)
            leave = 0.0
            for w, weight in out.edges[v]:
                if self._inside(i, w):
                    acc[self.position[w]] = weight
                else:
                    leave += weight
            multipliers = {}
            for j in self.lower[i]:
                f = acc[j] / out.s[j]
                multipliers[j] = f
                leave += f * out.exit[j]
                for k in self.upper[j]:
                    if k != i:
                        acc[k] += f * out.upper[j][k]
            total = leave
            for k in self.upper[i]:
                total += acc[k]
            out.lower.append(multipliers)
            out.upper.append({k: acc[k] for k in self.upper[i]})
            out.exit.append(leave)
            out.s.append(total)
        return out

    def solve(self, factor: Factor, reward: Sequence[float]) -> list[float]:
        """Return by vertex the x with A x = reward (reward by vertex); absorbing vertices have x = 0."""
        x = [0.0] * self.graph.vertices_length()
        y = [0.0] * len(self.order)
        for begin, end in zip(self.block_ptr, self.block_ptr[1:], strict=False):
            for i in range(begin, end):
                v = self.order[i]
                y[i] = reward[v]
                for w, weight in factor.edges[v]:
                    if w in self.position and not self._inside(i, w):
                        y[i] += weight * x[w]
                for j in self.lower[i]:
                    y[i] += factor.lower[i][j] * y[j]
            for i in reversed(range(begin, end)):
                t = y[i]
                for k in self.upper[i]:
                    t += factor.upper[i][k] * x[self.order[k]]
                x[self.order[i]] = t / factor.s[i]
        return x

    def rewards(self, rewards: Sequence[float] | None) -> list[float]:
        """Return rewards by vertex: one by default, none at the starting vertex and where nothing happens."""
        given = [1.0] * self.graph.vertices_length() if rewards is None else [float(r) for r in rewards]
        return [r if v in self.position and v != 0 else 0.0 for v, r in enumerate(given)]

    def expectation(self, theta: Sequence[float], rewards: Sequence[float] | None = None) -> float:
        """Return the expected reward until absorption."""
        return self.solve(self.factor(theta), self.rewards(rewards))[0]

    def moments(self, theta: Sequence[float], k: int, rewards: Sequence[float] | None = None) -> list[float]:
        """Return the first `k` raw moments of the reward until absorption."""
        factor, reward = self.factor(theta), self.rewards(rewards)
        return self._discrete_moments(factor, reward, k) if self.graph.discrete else self._moments(factor, reward, k)

    def _moments(self, factor: Factor, reward: Sequence[float], k: int) -> list[float]:
        # m_j = j! (A⁻¹ R)^j 1
        x = [1.0] * len(reward)
        out = []
        for j in range(1, k + 1):
            x = [j * value for value in self.solve(factor, [r * value for r, value in zip(reward, x, strict=True)])]
            out.append(x[0])
        return out

    def _discrete_moments(self, factor: Factor, reward: Sequence[float], k: int) -> list[float]:
        # S = r + S', S' the reward from the next step on, so E[S^j] = Σ_i C(j, i) r^(j-i) E[S'^i], i = j included.
        stepped: list[list[float]] = []
        out = []
        for j in range(1, k + 1):
            right = [r**j for r in reward]
            for i, previous in enumerate(stepped, 1):
                for v, r in enumerate(reward):
                    right[v] += math.comb(j, i) * r ** (j - i) * previous[v]
            moment = self.solve(factor, right)
            out.append(moment[0])
            stepped.append(self._step_back(factor, moment))
        return out

    def _step_back(self, factor: Factor, x: Sequence[float]) -> list[float]:
        """Return by vertex the expectation of x one step later."""
        result = [0.0] * len(x)
        for v in self.position:
            stay = max(0.0, math.fsum([1.0, *(-w for _, w in factor.edges[v])]))
            result[v] = math.fsum([stay * x[v], *(weight * x[w] for w, weight in factor.edges[v])])
        return result


class _Walk:
    """The distribution over transient vertices, moved step by step along (uniformized) jump probabilities."""

    def __init__(self, graph: Graph, theta: Sequence[float]) -> None:
        out = edges(graph, theta)
        self.transient = [v for v in range(1, len(out)) if out[v]]
        total = math.fsum(w for _, w in out[0])
        self.now = [0.0] * len(out)
        for v, w in out[0]:
            self.now[v] = w / total
        leaving = {v: math.fsum(w for _, w in out[v]) for v in self.transient}
        self.rate = 1.0 if graph.discrete else max(leaving.values(), default=1.0)
        self.jumps = {v: [(w, weight / self.rate) for w, weight in out[v]] for v in self.transient}
        self.stay = {v: max(0.0, math.fsum([self.rate, *(-w for _, w in out[v])]) / self.rate) for v in self.transient}

    def absorbed(self) -> float:
        """Return the probability of being absorbed by now."""
        alive = set(self.transient)
        return math.fsum(p for v, p in enumerate(self.now) if v not in alive)

    def alive(self) -> float:
        """Return the probability of not being absorbed yet."""
        return math.fsum(self.now[v] for v in self.transient)

    def leaving(self) -> float:
        """Return the probability of being absorbed by the next step."""
        alive = set(self.transient)
        return math.fsum(self.now[v] * p for v in self.transient for w, p in self.jumps[v] if w not in alive)

    def step(self) -> None:
        """Make one step."""
        alive = set(self.transient)
        after = [0.0 if v in alive else p for v, p in enumerate(self.now)]
        for v in self.transient:
            after[v] += self.stay[v] * self.now[v]
            for w, p in self.jumps[v]:
                after[w] += self.now[v] * p
        self.now = after


def distribution(graph: Graph, theta: Sequence[float], time: float) -> tuple[float, float, float]:
    """Return density (probability, if discrete), distribution function and survival function at `time`."""
    walk = _Walk(graph, theta)
    if graph.discrete:
        pmf = walk.absorbed()
        for _ in range(int(time)):
            pmf = walk.leaving()
            walk.step()
        return pmf, walk.absorbed(), walk.alive()
    x = walk.rate * time
    if x > 700:
        raise ValueError("the twin starts from exp(-rate * time), which underflows here")
    weight = math.exp(-x)
    parts: tuple[list[float], list[float], list[float]] = ([], [], [])
    n = 0
    # Far beyond the mode the Poisson weights fall faster than 2**-n.
    while n < 2 * x + 80 or weight > 1e-320:
        for values, value in zip(parts, (walk.rate * walk.leaving(), walk.absorbed(), walk.alive()), strict=True):
            values.append(weight * value)
        walk.step()
        n += 1
        weight *= x / n
    return math.fsum(parts[0]), math.fsum(parts[1]), math.fsum(parts[2])
