def test_cached_model(hash_key):
    """Verify cached model works"""
    cache = SymbolicCache()
    symbolic_json = cache.load(hash_key)
    assert symbolic_json is not None
    # ... test instantiation ...
