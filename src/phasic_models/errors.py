"""The exceptions of phasic-models.

Each also derives from the built-in exception that a caller would expect, so that ``except ValueError`` keeps working.
"""


class PhasicModelsError(Exception):
    """Base of the exceptions that this package defines."""


class GraphError(PhasicModelsError, ValueError):
    """A state space, transition or weight is not what a phase-type distribution allows."""


class ParameterError(PhasicModelsError, ValueError):
    """A parameter, time, reward or option given to a model is out of range or of the wrong shape."""


class InfiniteExpectationError(ParameterError):
    """At these parameters absorption is not certain, and what was asked for is infinite or undefined."""


class NumericalError(PhasicModelsError, ArithmeticError):
    """A result cannot be represented or cannot be computed to the asked tolerance."""


class DeadlineExceededError(PhasicModelsError, TimeoutError):
    """The time that `phasic_models.deadline` allowed is over; the call was stopped and gave no result."""


class FormatError(PhasicModelsError, ValueError):
    """A file is truncated, altered, inconsistent or of another format; the message names file and path in it."""


class CompatibilityError(PhasicModelsError, RuntimeError):
    """A file or library was made for other versions than the installed ones."""


class ModelNotFoundError(PhasicModelsError, LookupError):
    """No cache layer holds a model of this name or hash."""


class LibraryError(PhasicModelsError, ValueError):
    """A library folder (library.yaml, models.py, library.lock) is wrong; the message lists every mistake."""


class DownloadError(PhasicModelsError, OSError):
    """Something could not be fetched, or what came is not what was asked for."""


class OfflineError(DownloadError):
    """The network would be needed, and it was switched off."""
