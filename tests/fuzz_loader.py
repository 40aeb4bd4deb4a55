"""Reads thousands of damaged and hostile model files: each must be refused with a FormatError, or give a model that works.

``python tests/fuzz_loader.py --seconds 60`` runs it on the installed package; ``--sanitize`` first builds a copy of the
package with the address and undefined-behaviour sanitizers and runs on that. A file that breaks the rule is saved.

Checksums would stop nearly every change before it reaches the core, so most of the files are signed again.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import json
import math
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path


def queue(n, *, discrete=False):
    from phasic_models.graph import Graph

    def callback(state):
        if len(state) == 0:
            return [([n], 1.0, [1.0, 0.0])]
        k = int(state[0])
        if k == 0:
            return []
        return [([k - 1], 0.25, [0.0, 0.25])] + ([([k + 1], 0.0, [0.25, 0.0])] if k < n + 3 else [])

    return Graph(callback, discrete=discrete)


def rational():
    from phasic_models.graph import Graph
    from phasic_models.statespace.expr import params

    a, b = params("a", "b")

    def callback(state):
        if len(state) == 0:
            return [([3, 0], a / (a + b)), ([1, 0], b / (a + b)), ([2, 1], 1.0)]
        k, side = state.tolist()
        if k == 0:
            return []
        return [([k - 1, side], a * b / (1 + b**2)), ([k, 1 - side], (a + 2 * b) ** 2 / 3)]

    return Graph(callback)


class Mutator:
    """Makes hostile files out of good ones."""

    def __init__(self, seed: int) -> None:
        from phasic_models.formats import arrays

        self.random = random.Random(seed)
        self.arrays = arrays
        self.dags = [graph.eliminate() for graph in (queue(4), queue(2, discrete=True), rational(), queue(1))]

    def number(self, near: int) -> int:
        choices = (-1, 0, 1, 2, near - 1, near, near + 1, 2**31 - 1, -(2**31), 2**62, 2**63 - 1, -(2**63))
        return self.random.choice(choices) if self.random.random() < 0.5 else self.random.randint(-2, near + 2)

    def real(self) -> float:
        return self.random.choice([0.0, -0.0, 1.0, -1.0, 5e-324, 1e-300, 1e308, math.inf, -math.inf, math.nan])

    def raw(self) -> bytes:
        """Damage without a new signature: nothing of it may be accepted."""
        data = bytearray(self.arrays.dag_to_bytes(self.random.choice(self.dags)))
        how = self.random.randrange(4)
        at = self.random.randrange(len(data))
        if how == 0:
            data[at] ^= 1 << self.random.randrange(8)
        elif how == 1:
            del data[at:]
        elif how == 2:
            length = self.random.randrange(1, 64)
            data[at : at + length] = self.random.randbytes(length)
        else:
            data[at:at] = self.random.randbytes(self.random.randrange(1, 16))
        return bytes(data)

    def signed(self) -> bytes:
        """Arrays with hostile entries or lengths, in a file whose digests are right."""
        import numpy as np
        from safetensors.numpy import save

        dag = self.random.choice(self.dags)
        holders = (dag.graph, dag.graph.weights, dag)
        tensors = {
            name: next(getattr(holder, name) for holder in holders if hasattr(holder, name)).copy()
            for name in self.arrays.TENSORS
        }
        for _ in range(self.random.randrange(1, 4)):
            name = self.random.choice(list(tensors))
            array = tensors[name]
            how = self.random.randrange(6)
            if how < 3 and array.size:
                at = self.random.randrange(array.size)
                if array.dtype.kind == "f":
                    array.reshape(-1)[at] = self.real()
                else:
                    limits = np.iinfo(array.dtype)
                    array.reshape(-1)[at] = min(max(self.number(array.size), int(limits.min)), int(limits.max))
            elif how == 3 and array.ndim == 1:
                tensors[name] = array[: self.random.randrange(array.size + 1)].copy()
            elif how == 4 and array.ndim == 1:
                tensors[name] = np.concatenate([array, array[: self.random.randrange(array.size + 1)]])
            elif array.ndim == 1 and array.size > 1:
                i, j = self.random.randrange(array.size), self.random.randrange(array.size)
                array[[i, j]] = array[[j, i]]
        labels = {
            "format_version": "1.0",
            "graph_hash": HASH,
            "param_names": self.random.choice([list(dag.graph.param_names)] * 8 + [[], ["x"], ["x"] * 3, ["a", "a"]]),
            "is_discrete": dag.graph.discrete ^ (self.random.random() < 0.05),
            "ordering": dag.ordering,
            "operations": dag.operations + self.random.choice([0] * 20 + [1, -1]),
        }
        model = json.dumps(labels).encode()
        blank = save(tensors, {self.arrays.METADATA_KEY: self.arrays._metadata("0" * 64, model)})
        start = 8 + int.from_bytes(blank[:8], "little")
        digest = hashlib.sha256(model + blank[start:]).hexdigest()
        return save(tensors, {self.arrays.METADATA_KEY: self.arrays._metadata(digest, model)})

    def document(self) -> bytes:
        """A JSON document with entries exchanged, removed or made hostile, signed again."""
        from phasic_models.formats.model_json import labels_hash

        document = json.loads(self.random.choice(self.dags).to_json())
        document["graph_hash"] = HASH
        for _ in range(self.random.randrange(1, 4)):
            place = self.random.choice(list(containers(document)))
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                continue
            key = self.random.choice(keys)
            how = self.random.randrange(8)
            if how == 0:
                del place[key]
            elif how == 1 and isinstance(place, list):
                place.insert(key, place[self.random.choice(keys)])
            elif how == 2:
                place[key] = place[self.random.choice(keys)]
            elif how == 3:
                place[key] = self.random.choice([None, True, "x", [], {}, [[]], 1.5, -1, 2**70, 1e999])
            elif isinstance(place[key], bool) or not isinstance(place[key], (int, float)):
                continue
            else:
                place[key] = self.number(8) if isinstance(place[key], int) else self.real()
        names, elimination = document.get("param_names"), document.get("elimination")
        document["labels_hash"] = labels_hash(
            str(document.get("format_version")),
            str(document.get("graph_hash")),
            str(elimination.get("ordering")) if isinstance(elimination, dict) else "",
            map(str, names if isinstance(names, list) else []),
        )
        return json.dumps(document).encode()

    def text(self) -> bytes:
        """Any other JSON, or nearly JSON."""
        data = bytearray(self.random.choice(self.dags).to_json().encode())
        for _ in range(self.random.randrange(1, 4)):
            at = self.random.randrange(len(data))
            piece = self.random.choice(
                [b"[", b"]", b"{", b"}", b",", b'"', b"\0", b"\xff", b"1e999", b"[" * 5000, b"-", b"\\u0000"]
            )
            data[at : at + self.random.randrange(3)] = piece
        return bytes(data)


#: Stands for every graph hash: otherwise it would have to be forged for each file.
HASH = "0" * 64


def containers(value):
    if isinstance(value, (dict, list)):
        yield value
        for child in value.values() if isinstance(value, dict) else value:
            yield from containers(child)


def evaluate(dag) -> None:
    """Ask an accepted model for everything that runs in C; its own errors are fine, NaN is not."""
    import numpy as np

    from phasic_models.errors import PhasicModelsError

    model = dag.model()
    theta = np.full((9, dag.param_length()), 0.5)
    rewards = np.ones(dag.vertices_length())
    for call in (
        lambda: model.moments(theta, 3),
        lambda: model.covariance_matrix(theta, np.stack([rewards, rewards])),
        lambda: model.moments_and_grad(theta, 2)[1],
        lambda: model.pdf(theta[0], [0.0, 1.0, 5.0], max_steps=10_000),
        lambda: model.pdf_and_grad(theta[0], [0.0, 1.0], max_steps=10_000)[1],
        lambda: model.sample(theta[0], 3, seed=1, max_jumps=10_000),
        lambda: model.pdf(theta[0], [1.0], rewards, max_steps=10_000),
        lambda: model.laplace(theta[0], 1.0),
    ):
        try:
            result = call()
        except PhasicModelsError:
            continue
        if np.isnan(result).any():
            raise AssertionError("NaN came out of an accepted model")


def fuzz(seconds: float, seed: int) -> int:
    """Make and read files until the time is over; return the exit code."""
    from phasic_models import formats
    from phasic_models.errors import FormatError
    from phasic_models.graph import Graph

    mutator = Mutator(seed)
    true_hash = Graph.content_hash
    kinds = {
        "raw": (mutator.raw, formats.dag_from_bytes),
        "signed": (mutator.signed, formats.dag_from_bytes),
        "document": (mutator.document, formats.dag_from_json),
        "text": (mutator.text, formats.dag_from_json),
    }
    counts = {kind: [0, 0] for kind in kinds}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        kind = mutator.random.choice(list(kinds))
        make, read = kinds[kind]
        data = make()
        Graph.content_hash = (lambda self: HASH) if kind in ("signed", "document") else true_hash
        counts[kind][0] += 1
        # A file that takes for ever is as bad as one that crashes.
        faulthandler.dump_traceback_later(20, exit=True)
        try:
            evaluate(read(data, source="fuzz"))
            counts[kind][1] += 1
            if kind == "raw":
                raise AssertionError("damage was not noticed")
        except FormatError:
            continue
        except BaseException:
            path = Path(tempfile.gettempdir()) / f"fuzz-{kind}-{seed}-{counts[kind][0]}"
            path.write_bytes(data)
            traceback.print_exc()
            print(f"the file is {path}", file=sys.stderr)
            return 1
        finally:
            faulthandler.cancel_dump_traceback_later()
            Graph.content_hash = true_hash
    print(json.dumps({kind: {"files": n, "accepted": good} for kind, (n, good) in counts.items()}))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sanitize", action="store_true")
    options = parser.parse_args()
    if not options.sanitize:
        return fuzz(options.seconds, options.seed)
    from sanitized import run

    return run([__file__, "--seconds", str(options.seconds), "--seed", str(options.seed)])


if __name__ == "__main__":
    sys.exit(main())
