"""The layered cache prefix: what is installed, what the user computed, and its upkeep."""
