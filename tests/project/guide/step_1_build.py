from phasic_models import Graph
from phasic_models.symbolic_cache import SymbolicCache
import numpy as np

cache = SymbolicCache()

# Build models
models = []

# Coalescent with 3 samples
def coalescent_n3(state, n=3):
    if len(state) == 0:
        return [(np.array([n]), 1.0, [1.0])]
    if state[0] > 1:
        k = state[0]
        return [(np.array([k-1]), 0.0, [k*(k-1)/2])]
    return []

g3 = Graph(callback=lambda s: coalescent_n3(s, n=3), parameterized=True)
_ = Graph.pmf_from_graph(g3)  # Triggers symbolic elimination
hash3 = cache._compute_graph_hash(g3)
models.append(('coalescent_n3', hash3))

# Repeat for n=5, n=10, etc.
# ...

print("Models cached:")
for name, hash_key in models:
    print(f"  {name}: {hash_key}")
