from phasic_models import Graph

# Build model (uses cache automatically)
g = Graph(callback=coalescent_callback, parameterized=True)
model = Graph.pmf_from_graph(g)  # Instant from cache!

# Evaluate
pdf = model(theta, times)  # No symbolic elimination needed
