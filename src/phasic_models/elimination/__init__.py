"""From a graph to the elimination of its states: order and pattern, plans of the core, censored chains."""
