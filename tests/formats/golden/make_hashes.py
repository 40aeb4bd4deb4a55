"""Content hashes of some graphs, worked out from docs/format.md alone: nothing of phasic_models is imported.

    python tests/formats/golden/make_hashes.py              print the hashes of CHAINS as JSON
    python tests/formats/golden/make_hashes.py --libraries  compare the affine models of libraries/ with their library.lock

A chain is ``(n_params, discrete, initial, moves)``: `initial` lists ``(state, weight)``, `moves` lists
``(state, next state, weight)``. A weight is a number; or ``(base, {param: coefficient})``; or
``(base, {param: coefficient}, products)`` with products ``[(coefficient, [(atom, exponent), ...]), ...]``, where an
atom is the index of a parameter or such a weight again.
"""

import hashlib
import json
import math
import struct
import sys
import types
from fractions import Fraction
from pathlib import Path

ADD, MUL, DIV = 1, 2, 3


def parts(weight):
    base, linear, products = (*(weight if isinstance(weight, tuple) else (weight,)), {}, ())[:3]
    return Fraction(base), {i: Fraction(c) for i, c in linear.items() if c}, list(products)


def total(weights):
    base, linear, products = Fraction(0), {}, []
    for weight in weights:
        more, coefficients, further = parts(weight)
        base, products = base + more, products + further
        for i, c in coefficients.items():
            linear[i] = linear.get(i, 0) + c
    return base, {i: c for i, c in linear.items() if c}, products


class Table:
    """The weights of a graph by digest: affine forms as (base, params, coefficients), operations as (op, a, b)."""

    def __init__(self):
        self.affine, self.program = {}, {}

    def form(self, base, linear=()):
        linear = sorted(dict(linear).items())
        key = (float(base), tuple(i for i, _ in linear), tuple(float(c) for _, c in linear))
        n = len(linear)
        digest = hashlib.sha256(struct.pack(f"<cd{n}i{n}d", b"\0", key[0], *key[1], *key[2])).digest()
        self.affine[digest] = key
        return digest

    def operation(self, op, a, b):
        if op != DIV:
            a, b = sorted((a, b))
        digest = hashlib.sha256(bytes([op]) + a + b).digest()
        depth = 1 + max(self.program[x][0] if x in self.program else 0 for x in (a, b))
        self.program[digest] = (depth, digest, op, a, b)
        return digest

    def power(self, atom, exponent):
        base = self.form(0, {atom: 1}) if isinstance(atom, int) else self.weight(atom)
        result = base
        for bit in bin(exponent)[3:]:
            result = self.operation(MUL, result, result)
            result = self.operation(MUL, result, base) if bit == "1" else result
        return result

    def chain(self, op, digests):
        result = digests[0]
        for digest in digests[1:]:
            result = self.operation(op, result, digest)
        return result

    def product(self, coefficient, factors):
        above = sorted(self.power(atom, k) for atom, k in factors if k > 0)
        below = sorted(self.power(atom, -k) for atom, k in factors if k < 0)
        if coefficient != 1 or not above:
            above.insert(0, self.form(coefficient))
        top = self.chain(MUL, above)
        return self.operation(DIV, top, self.chain(MUL, below)) if below else top

    def weight(self, weight):
        base, linear, products = parts(weight)
        summands = sorted(self.product(c, factors) for c, factors in products)
        if base or linear or not summands:
            summands.insert(0, self.form(base, linear))
        return self.chain(ADD, summands)


def canonical_hash(n_params, discrete, initial, moves):
    edges = {}
    for source, target, weight in [(None, state, p) for state, p in initial] + list(moves):
        if source != target:
            edges.setdefault((source, target), []).append(weight)
    edges = {edge: summed for edge, weights in edges.items() if any(summed := total(weights))}
    first = {edge: w for edge, w in edges.items() if edge[0] is None}
    if not any(linear or products for _, linear, products in first.values()):
        mass = math.fsum(float(w[0]) for w in first.values())
        if abs(mass - 1) > 2.0**-51:
            edges.update({edge: (Fraction(float(w[0]) / mass), {}, []) for edge, w in first.items()})
    leaving = {}
    for source, target in edges:
        leaving.setdefault(source, []).append(target)
    reached, stack = {None}, [None]
    while stack:
        new = set(leaving.get(stack.pop(), ())) - reached
        reached |= new
        stack += new
    states = sorted(reached - {None})
    vertex = {None: 0, **{state: i + 1 for i, state in enumerate(states)}}
    table, rows = Table(), []
    for (source, target), weight in edges.items():
        if source in reached:
            rows.append((vertex[source], vertex[target], table.weight(weight)))
    rows.sort(key=lambda row: row[:2])
    affine, program = sorted(set(table.affine.values())), sorted(table.program.values())
    place = {key: i for i, key in enumerate(affine)}
    slot = {digest: place[key] for digest, key in table.affine.items()}
    slot.update({entry[1]: len(affine) + i for i, entry in enumerate(program)})
    pointers = [0] * (len(states) + 2)
    for source, _, _ in rows:
        pointers[source + 1] += 1
    for v in range(len(states) + 1):
        pointers[v + 1] += pointers[v]
    starts = [0]
    for _, indices, _ in affine:
        starts.append(starts[-1] + len(indices))
    arrays = [
        ("d", [key[0] for key in affine]),
        ("q", starts),
        ("i", [i for key in affine for i in key[1]]),
        ("d", [c for key in affine for c in key[2]]),
        ("B", [op for _, _, op, _, _ in program]),
        ("i", [slot[a] for _, _, _, a, _ in program]),
        ("i", [slot[b] for _, _, _, _, b in program]),
    ]
    length = len(states[0])
    sizes = [len(states) + 1, length, len(rows), n_params, int(discrete), *(len(values) for _, values in arrays)]
    graph = [
        ("q", [0] * length + [x for state in states for x in state]),
        ("q", pointers),
        ("i", [target for _, target, _ in rows]),
        ("i", [slot[digest] for _, _, digest in rows]),
    ]
    digest = hashlib.sha256(b"phasic-models graph 1\0")
    for code, values in [("q", sizes), *graph, *arrays]:
        digest.update(struct.pack(f"<{len(values)}{code}", *values))
    return digest.hexdigest()


def birth_death(n, up, down):
    """States 0..n, absorbed in 0."""
    moves = [((k,), (k - 1,), down(k)) for k in range(1, n + 1)]
    return moves + [((k,), (k + 1,), up(k)) for k in range(1, n)]


def grid(n):
    moves = []
    for i in range(n + 1):
        for j in range(n + 1):
            if (i, j) != (0, 0):
                moves += [((i, j), (i - 1, j), (0, {0: i}))] * (i > 0) + [((i, j), (i, j - 1), (0, {1: j}))] * (j > 0)
                moves += [((i, j), (j, i), (0.125, {2: 1.5}))] * (i != j)
    return moves


A_B = (0, {}, [(1, [(0, 1), (1, 1)])])  # a * b
A_OVER_SUM = (0, {}, [(1, [(0, 1), ((0, {0: 1, 1: 1}), -1)])])  # a / (a + b)
CUBE = (0.5, {1: 2}, [(3, [(0, 3)]), (-0.25, [(0, 1), (1, -2)])])  # 1/2 + 2 b + 3 a^3 - a / (4 b^2)
NESTED = (0, {}, [(2, [((1, {}, [(1, [(0, 1), (1, 1)])]), -1), (0, 5)])])  # 2 a^5 / (1 + a b)
HUGE = 2**63 - 1

CHAINS = {
    "coalescent_4": (1, False, [((4,), 1)], [((k,), (k - 1,), (0, {0: k * (k - 1) / 2})) for k in (4, 3, 2)]),
    "exponential": (0, False, [((1,), 1)], [((1,), (0,), 0.1)]),
    "point_mass": (0, False, [((0,), 1)], []),
    "erlang_1000": (1, False, [((1000,), 1)], birth_death(1000, lambda k: 0, lambda k: (0, {0: 1}))),
    "queue_50": (2, False, [((50,), 1)], birth_death(50, lambda k: (0, {0: 1}), lambda k: (0, {1: min(k, 3)}))),
    "constants": (0, False, [((3,), 0.3), ((7,), 0.7)], birth_death(9, lambda k: 0.1 * k, lambda k: k / 7)),
    "base_and_coefficients": (2, False, [((5,), 1)], birth_death(6, lambda k: (k, {0: 0.5}), lambda k: (0.5, {1: k}))),
    "grid_12": (3, False, [((12, 7), 1)], grid(12)),
    "two_starts": (1, False, [((2,), 0.1), ((1,), 0.9)], [((2,), (1,), (0, {0: 2})), ((1,), (0,), (0, {0: 1}))]),
    "start_in_absorption": (0, False, [((0,), 0.25), ((1,), 0.75)], [((1,), (0,), 2.0)]),
    "parallel": (1, False, [((1,), 1)], [((1,), (0,), (0.1, {0: 0.2}))] * 3 + [((1,), (-1,), 0.1)] * 10),
    "loops_and_zeros": (
        1,
        False,
        [((2,), 1)],
        [((2,), (2,), 9), ((2,), (1,), 1), ((2,), (5,), 0), ((1,), (0,), (0, {0: 1})), ((1,), (1,), (0, {0: 1}))],
    ),
    "unreachable": (0, False, [((1,), 1)], [((1,), (0,), 1), ((4,), (1,), 2), ((4,), (0,), 3)]),
    "extreme_states": (
        0,
        False,
        [((-HUGE - 1, 0), 1)],
        [((-HUGE - 1, 0), (HUGE, -1), 1), ((HUGE, -1), (0, 0), 1e-300)],
    ),
    "discrete_coin": (0, True, [((1,), 1)], [((1,), (0,), 0.5), ((1,), (1,), 0.5)]),
    "discrete_parameters": (2, True, [((2,), 1)], [((2,), (1,), (0, {0: 0.5})), ((1,), (0,), (0.125, {1: 0.25}))]),
    "discrete_rational": (2, True, [((2,), 1)], [((2,), (1,), A_OVER_SUM), ((1,), (0,), A_OVER_SUM)]),
    "product": (2, False, [((2,), 1)], [((2,), (1,), A_B), ((1,), (0,), (0, {0: 1})), ((2,), (0,), 3)]),
    "quotient": (2, False, [((2,), 1)], [((2,), (1,), A_OVER_SUM), ((1,), (0,), A_B), ((1,), (2,), A_OVER_SUM)]),
    "polynomial": (2, False, [((2,), 1)], [((2,), (1,), CUBE), ((1,), (0,), (0.5, {1: 2})), ((1,), (2,), NESTED)]),
    "parallel_rational": (2, False, [((1,), 1)], [((1,), (0,), A_B), ((1,), (0,), 2), ((1,), (0,), NESTED)]),
    "parametric_start": (
        2,
        False,
        [((2,), (0, {0: 1})), ((1,), (1, {0: -1}))],
        birth_death(2, lambda k: 0, lambda k: (0, {1: k})),
    ),
    "rational_start": (2, False, [((2,), A_OVER_SUM), ((1,), A_B)], birth_death(2, lambda k: 1, lambda k: k)),
}


class UsesExpressions(Exception):
    pass


def library_chain(function, arguments, n_params, discrete):
    """Explore a callback of a library, in the forms (state, base, coefficients) and (state, rate)."""

    def weight(base, coefficients=()):
        return base, dict(enumerate(coefficients))

    start = function([], **arguments)
    stack = [tuple(int(x) for x in item[0]) for item in start]
    initial, seen, moves = [(state, item[1]) for state, item in zip(stack, start, strict=True)], set(stack), []
    while stack:
        state = stack.pop()
        for target, *rest in function(list(state), **arguments):
            target = tuple(int(x) for x in target)
            moves.append((state, target, weight(*rest)))
            if any(parts(moves[-1][2])) and target not in seen:
                seen.add(target)
                stack.append(target)
    return n_params, discrete, initial, moves


def library_hashes(folder, largest):
    """Yield (model, hash, the lock's hash) of the models without expressions and with at most `largest` vertices."""
    import yaml

    def params(*names):
        raise UsesExpressions

    stub = types.ModuleType("phasic_models")
    stub.params = params
    known, sys.modules["phasic_models"] = sys.modules.get("phasic_models"), stub
    try:
        scope = {"__name__": "models"}
        exec(compile((folder / "models.py").read_bytes(), str(folder / "models.py"), "exec"), scope)
    finally:
        del sys.modules["phasic_models"]
        if known is not None:
            sys.modules["phasic_models"] = known
    lock = json.loads((folder / "library.lock").read_text(encoding="utf-8"))["models"]
    for spec in yaml.safe_load((folder / "library.yaml").read_text(encoding="utf-8"))["models"]:
        record = lock[spec["name"]]
        if record["vertices"] <= largest:
            try:
                chain = library_chain(
                    scope[spec["function"]],
                    spec.get("arguments", {}),
                    len(spec["parameters"]),
                    spec.get("discrete", False),
                )
            except UsesExpressions:
                continue
            yield spec["name"], canonical_hash(*chain), record["graph_hash"]


def main():
    if sys.argv[1:] == ["--libraries"]:
        for folder in sorted((Path(__file__).parents[3] / "libraries").iterdir()):
            results = list(library_hashes(folder, 10**9))
            print(folder.name, len(results), "models,", [n for n, ours, lock in results if ours != lock], "differ")
    else:
        print(json.dumps({name: canonical_hash(*chain) for name, chain in CHAINS.items()}, indent=2))


if __name__ == "__main__":
    main()
