"""Look after what is installed: verify, compare versions, remove, sweep up, examine, migrate, describe."""
