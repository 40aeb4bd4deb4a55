"""Libraries on servers and in buckets: indexes, downloads, installation and publication."""
