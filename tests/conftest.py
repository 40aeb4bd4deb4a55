"""Settings for all tests. That this file is here also puts ``tests/`` on the import path for tests/verification."""

from hypothesis import settings

# A loaded machine is no reason to fail; what must be fast has a test of its own.
settings.register_profile("default", deadline=None)
settings.load_profile("default")

# Servers on loopback, for the tests of everything that uses the network.
pytest_plugins = ["cloud_servers"]
