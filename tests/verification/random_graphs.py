"""Random graphs of seven kinds, described so that a model and an exact truth can both be made from them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rational import RationalChain, Tree, evaluate, jet

KINDS = ("mild", "rare", "12 decades", "120 decades", "near-deterministic", "discrete", "defective")


@dataclass(frozen=True)
class Case:
    """A graph with parameters at which to evaluate it, and rewards.

    States 0 … n - 1 are not absorbing. Every list of rewards has length n; `whole` are rewards for distributions, which
    must be whole numbers if the graph is discrete.
    """

    kind: str
    seed: int
    n: int
    initial: tuple[float, ...]
    edges: tuple[tuple[int, int, Tree], ...]
    thetas: tuple[tuple[float, ...], ...]
    discrete: bool = False
    rewards: tuple[tuple[float, ...], ...] = ()
    whole: tuple[float, ...] = ()
    traps: frozenset[int] = field(default_factory=frozenset)

    @property
    def p(self) -> int:
        """Number of parameters."""
        return len(self.thetas[0])

    def exact(self, which: int = 0) -> RationalChain:
        return RationalChain(self.n, self.initial, self.edges, self.thetas[which], self.discrete)

    def callback(self, params: Callable[..., object]) -> Callable[..., list[tuple[object, ...]]]:
        """Return the callback of the graph, with weights as expressions; `params` declares their parameters."""
        names = [f"p{i}" for i in range(self.p)]
        declared = params(*names) if names else ()
        parameters = declared if len(names) != 1 else (declared,)

        def callback(state: Sequence[int]) -> list[tuple[object, ...]]:
            if len(state) == 0:
                return [([s + 1], p) for s, p in enumerate(self.initial) if p]
            here = int(state[0]) - 1
            return [([v + 1], evaluate(tree, float, parameters)) for u, v, tree in self.edges if u == here]

        return callback

    def __str__(self) -> str:
        lines = [f"kind {self.kind!r}, seed {self.seed}: {'discrete' if self.discrete else 'continuous'}, n = {self.n}"]
        lines += [f"  initial {self.initial}, thetas {self.thetas}"]
        lines += [f"  {u} -> {v}: {text(tree)}" for u, v, tree in self.edges]
        lines += [f"  rewards {self.rewards}, for distributions {self.whole}"]
        return "\n".join(lines)


def text(tree: Tree) -> str:
    if not isinstance(tree, tuple):
        return repr(tree)
    if tree[0] == "theta":
        return f"p{tree[1]}"
    right = repr(tree[2]) if tree[0] == "**" else text(tree[2])
    return f"({text(tree[1])} {tree[0]} {right})"


def random_case(kind: str, seed: int) -> Case:
    """Return the graph of this number; the same one on every machine."""
    rng = random.Random(f"{kind}/{seed}")
    return {
        "mild": lambda: _general(kind, seed, rng, lambda u, v: 10 ** rng.uniform(-1, 1)),
        "rare": lambda: _rare(seed, rng),
        "12 decades": lambda: _general(kind, seed, rng, lambda u, v: 10 ** rng.uniform(-6, 6)),
        "120 decades": lambda: _general(kind, seed, rng, lambda u, v: 10 ** rng.uniform(-60, 60)),
        "near-deterministic": lambda: _near_deterministic(seed, rng),
        "discrete": lambda: _general(kind, seed, rng, lambda u, v: 10 ** rng.uniform(-2, 0), discrete=True),
        "defective": lambda: _defective(seed, rng),
    }[kind]()


# -- weights ----------------------------------------------------------------------------------------------------------


def _theta(i: int) -> Tree:
    return ("theta", i)


def _forms(rng: random.Random, p: int, theta: Sequence[float]) -> Tree:
    """Return a positive function of θ in which nothing nearly equal is subtracted."""
    i, j = rng.randrange(p), rng.randrange(p)
    a, b = _theta(i), _theta(j)
    forms = [
        a,
        a,
        ("+", theta[i] * rng.uniform(0, 2), a),
        ("+", a, ("*", rng.choice((0.5, 3.0)) * theta[i] / theta[j], b)),
        ("*", a, b),
        ("/", a, b) if i != j else a,
        ("/", a, ("+", a, ("*", theta[i] / theta[j], b))),
        ("/", ("*", a, b), ("+", a, b)),
        ("**", a, rng.choice((-2, -1, 2, 3))),
        ("/", ("**", a, 2), ("+", b, 0.5 * theta[j])),
        ("-", 8.0 * theta[i], a),
        ("-", ("+", ("*", a, b), ("*", 4.0 * theta[i], b)), ("*", ("**", a, 2), 0.25 * theta[j] / theta[i])),
        ("/", 1.0, ("+", a, theta[i])),
    ]
    return rng.choice(forms)


def _weight(rng: random.Random, value: float, theta: Sequence[float]) -> Tree:
    """Return a weight that is about `value` at θ."""
    if not theta or rng.random() < 0.25:
        return value
    form = _forms(rng, len(theta), theta)
    return ("*", value / evaluate(form, float, theta), form)


def _thetas(rng: random.Random, p: int, decades: float = 1.0) -> tuple[tuple[float, ...], ...]:
    first = tuple(10 ** rng.uniform(-decades, decades) for _ in range(p))
    return first, tuple(t * rng.uniform(0.5, 2) for t in first)


# -- structure --------------------------------------------------------------------------------------------------------


def _initial(rng: random.Random, n: int) -> tuple[float, ...]:
    """Return sixteenths that sum to one, sometimes with a part that is absorbed at once."""
    parts = [0] * (n + 1)
    choice = rng.random()
    if choice < 0.5:
        parts[0] = 16
    else:
        for _ in range(16):
            parts[rng.randrange(n + (choice > 0.9))] += 1
    return tuple(x / 16 for x in parts)


def _structure(rng: random.Random, n: int, acyclic: bool = False) -> list[tuple[int, int]]:
    """Return edges among n states and up to two absorbing ones, such that every state can reach these."""
    ends = rng.choice((1, 1, 2))
    edges: dict[tuple[int, int], None] = {}
    for u in range(n):
        edges[u, rng.randrange(u + 1, n + ends)] = None
        for _ in range(rng.randrange(4)):
            v = rng.randrange(u + 1 if acyclic else 0, n + ends)
            if v != u:
                edges[u, v] = None
    return list(edges)


def _size(rng: random.Random) -> int:
    return rng.choice((1, 2, 2, 3, 3, 4, 4, 5, 6, 8))


def _finish(
    kind: str,
    seed: int,
    rng: random.Random,
    n: int,
    edges: Sequence[tuple[int, int, Tree]],
    thetas: tuple[tuple[float, ...], ...],
    *,
    discrete: bool = False,
    traps: frozenset[int] = frozenset(),
    largest: float = 3.0,
) -> Case:
    """Draw the start and rewards, and leave out what is not reached."""
    initial = _initial(rng, n)
    reached = {s for s, p in enumerate(initial) if p}
    while True:
        more = {v for u, v, _ in edges if u in reached} - reached
        if not more:
            break
        reached |= more
    kept = [s for s in range(n) if s in reached]
    number = {s: i for i, s in enumerate(kept)}
    m = len(kept)
    used = tuple((number[u], number.get(v, v - n + m), tree) for u, v, tree in edges if u in number)
    start = [initial[s] for s in kept] + [initial[n]]
    if not any(any(jet(tree, thetas[0]).slope) for _, _, tree in used):
        # A graph has the parameters that its weights depend on, all or none of those declared.
        used, thetas = tuple((u, v, float(evaluate(tree, float, thetas[0]))) for u, v, tree in used), ((), ())
    dead = frozenset(number[t] for t in traps if t in number)

    def draw(make: Callable[[], float]) -> tuple[float, ...]:
        return tuple(0.0 if s in dead or rng.random() < 0.25 else make() for s in range(m))

    rewards = tuple(
        draw(lambda: 10 ** rng.uniform(-1, 1) if largest < 10 else 10 ** rng.uniform(0, largest)) for _ in range(3)
    )
    whole = draw(lambda: float(rng.randrange(1, 4))) if discrete else rewards[0]
    return Case(kind, seed, m, tuple(start), used, thetas, discrete, rewards, whole, dead)


def _general(
    kind: str,
    seed: int,
    rng: random.Random,
    size_of: Callable[[int, int], float],
    *,
    discrete: bool = False,
) -> Case:
    n, p = _size(rng), rng.choice((0, 1, 2, 3, 3))
    thetas = _thetas(rng, p, decades=1.0 if kind != "120 decades" else 20.0)
    values = {(u, v): size_of(u, v) for u, v in _structure(rng, n, acyclic=rng.random() < 0.2)}
    edges = [(u, v, _weight(rng, w, thetas[0])) for (u, v), w in values.items()]
    if discrete:
        edges = _as_probabilities(rng, n, edges, thetas)
    return _finish(kind, seed, rng, n, edges, thetas, discrete=discrete)


def _as_probabilities(
    rng: random.Random, n: int, edges: Sequence[tuple[int, int, Tree]], thetas: Sequence[Sequence[float]]
) -> list[tuple[int, int, Tree]]:
    """Scale weights such that they leave a chance to stay which is no small difference, at every θ."""
    out: list[tuple[int, int, Tree]] = []
    for state in range(n):
        mine = [edge for edge in edges if edge[0] == state]
        most = max(sum(float(evaluate(tree, float, theta)) for _, _, tree in mine) for theta in thetas)
        scale = (1 - rng.uniform(0.02, 0.9)) / most
        for u, v, tree in mine:
            factor = ("*", tree[1] * scale, tree[2]) if isinstance(tree, tuple) else tree * scale
            out.append((u, v, factor))
    return out


def _rare(seed: int, rng: random.Random) -> Case:
    """Draw graphs in which absorption, or the way on, is rare by 1e-3 to 1e-15 for each visit."""
    shape = rng.choice(("birth-death", "nested", "blocks", "exits", "discrete"))
    n, p = max(2, _size(rng)), rng.choice((1, 2, 3))
    small = 10 ** rng.uniform(-15, -3)
    if shape in ("birth-death", "nested"):
        # The time is about small^-depth, whose third power must be a double.
        small = max(small, 10 ** (-80 / n))
    elif shape == "blocks":
        small = small ** (17 / 15)
    thetas = _thetas(rng, p)

    def size(u: int, v: int) -> float:
        unit = 10 ** rng.uniform(-0.5, 0.5)
        if shape == "birth-death":
            return unit * (small if v > u else 1.0)
        if shape == "nested":
            # States 0, 1 | 2, 3 | … in halves of halves: the farther apart two are, the rarer is a jump between them.
            return unit * small ** ((min(u, n) ^ min(v, n)).bit_length() - 1)
        if shape == "blocks":
            # Two states each, quick within, slow to the next.
            return unit * (1.0 if u // 2 == v // 2 and v < n else small)
        return unit * (small if v >= n else 1.0)

    if shape == "birth-death":
        pairs = [(u, u + 1) for u in range(n)] + [(u, u - 1) for u in range(1, n)]
    elif shape == "blocks":
        # 2 -> 1 -> 0 with one rate far below the other is the smallest of these.
        step = rng.choice((1, 2))
        pairs = [(u, u + 1) for u in range(n)] + [(u, u - 1) for u in range(1, n) if step == 2 and u % 2]
    else:
        pairs = _structure(rng, n)
    edges = [(u, v, _weight(rng, size(u, v), thetas[0])) for u, v in pairs]
    if shape == "discrete":
        edges = _as_probabilities(rng, n, edges, thetas)
    return _finish("rare", seed, rng, n, edges, thetas, discrete=shape == "discrete")


def _near_deterministic(seed: int, rng: random.Random) -> Case:
    """Draw jumps with a probability within 1e-12 of one, or rows of stages with rewards from 1 to 1e17."""
    n = max(2, _size(rng))
    if rng.random() < 0.5:
        p = rng.choice((1, 2))
        thetas = _thetas(rng, p)
        edges: list[tuple[int, int, Tree]] = [
            (u, u + 1, _weight(rng, 10 ** rng.uniform(-0.3, 0.3), thetas[0])) for u in range(n)
        ]
        edges += [
            (u, v, _weight(rng, 1e-12 * rng.uniform(0.1, 1), thetas[0]))
            for u in range(n)
            for v in [rng.randrange(n + 1)]
            if v not in (u, u + 1)
        ]
        return _finish("near-deterministic", seed, rng, n, edges, thetas, largest=17.0)
    # Only forms that are evaluated without rounding: p and 1 - p are both right.
    small = [2.0 ** -rng.randrange(40, 53) * rng.choice((1.0, 2.0)) for _ in range(4)]
    thetas = ((1 - small[0], 1 - small[1]), (1 - small[2], 1 - small[3]))
    edges = []
    for u in range(n):
        i = rng.randrange(2)
        other = rng.choice([v for v in range(n + 1) if v not in (u, u + 1)] or [n + 1])
        if rng.random() < 0.15:
            edges += [(u, u + 1, 0.5), (u, other, 0.5)]
        elif rng.random() < 0.2:
            edges += [(u, u + 1, 1.0)]
        else:
            edges.append((u, u + 1, _theta(i)))
            if rng.random() < 0.7:
                edges.append((u, other, ("-", 1.0, _theta(i))))
    if not any(isinstance(tree, tuple) for _, _, tree in edges):
        edges = [(u, v, _theta(0) if tree == 1.0 else tree) for u, v, tree in edges]
    if not any(isinstance(tree, tuple) for _, _, tree in edges):
        edges[0], thetas = (edges[0][0], edges[0][1], _theta(0)), ((0.5, 0.5), (0.25, 0.5))
    return _finish("near-deterministic", seed, rng, n, edges, thetas, discrete=True, largest=rng.choice((3.0, 17.0)))


def _defective(seed: int, rng: random.Random) -> Case:
    """Draw graphs with traps: states whose only way out has the weight θ_0 = 0."""
    discrete = rng.random() < 0.3
    n, p = max(2, _size(rng)), rng.choice((2, 3))
    thetas = tuple((0.0, *rest[1:]) for rest in _thetas(rng, p))
    inside = rng.choice((1, 1, 2))
    traps = list(range(n, n + inside))
    # Numbers of absorbing states begin behind those of the traps.
    shifted = [(u, v if v < n else v + inside) for u, v in _structure(rng, n)]
    shifted += [(u, rng.choice(traps)) for u in range(n) if rng.random() < 0.5] or [(0, n)]
    pairs = list(dict.fromkeys(shifted))

    def weight(value: float) -> Tree:
        return _weight(rng, value, thetas[0][1:])

    def moved(tree: Tree) -> Tree:
        # θ_0 is the way out, so the other weights depend on θ_1 ….
        if not isinstance(tree, tuple):
            return tree
        if tree[0] == "theta":
            return _theta(tree[1] + 1)
        return (tree[0], moved(tree[1]), tree[2] if tree[0] == "**" else moved(tree[2]))

    edges = [(u, v, moved(weight(10 ** rng.uniform(-1, 1)))) for u, v in pairs]
    if inside == 2:
        edges += [(traps[0], traps[1], 1.0), (traps[1], traps[0], 0.5)]
    if discrete:
        edges = (
            _as_probabilities(rng, n + inside, edges, thetas)
            if inside == 2
            else _as_probabilities(rng, n, edges, thetas)
        )
    edges.append((traps[-1], n + inside, ("*", 0.5, _theta(0))))
    total = n + inside
    return _finish("defective", seed, rng, total, edges, thetas, discrete=discrete, traps=frozenset(traps))
