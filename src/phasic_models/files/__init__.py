"""Writing, staging, names, checksums and archives: one way for each. Knows nothing of models, of caches or of networks."""
