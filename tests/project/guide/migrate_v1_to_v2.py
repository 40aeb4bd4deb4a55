# migrate_v1_to_v2.py
def migrate_cache_entry(old_json):
    """Convert v1 format to v2"""
    # ... conversion logic ...
    return new_json
