"""The compiled core; `phasic_models.evaluation.engine` is its one user."""
