"""The compiled core; `phasic_models.engine` is its one user."""
