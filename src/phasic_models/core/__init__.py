"""The compiled core, and what binds it: arrays, threads, and calls that can be stopped."""
