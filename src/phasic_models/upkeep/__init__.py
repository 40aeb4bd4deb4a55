"""Upkeep of installed libraries: verify, compare versions, remove, prune, examine, migrate, describe."""
