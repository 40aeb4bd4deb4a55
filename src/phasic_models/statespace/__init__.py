"""From callbacks and arrays to the canonical form of a graph."""
