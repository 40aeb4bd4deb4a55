"""How patiently to transfer, and whether at all."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from ..errors import DownloadError, OfflineError

USER_AGENT = "phasic-models"
_TRUE = frozenset({"1", "true", "yes", "on"})


def flag(name: str) -> bool:
    """Return whether environment variable ``name`` is switched on (1, true, yes or on)."""
    return os.environ.get(name, "").strip().lower() in _TRUE


@dataclass(frozen=True)
class TransferOptions:
    """How patiently to transfer.

    Parameters
    ----------
    offline : bool
        Use no network: every remote address raises OfflineError.
    timeout : float
        Seconds without a single byte after which a connection counts as broken.
    connect_timeout : float
        Seconds to wait for a connection.
    attempts : int
        Tries in a row that may fail without progress before the next address is tried.
    first_wait, longest_wait : float
        Seconds before the second try; each further wait doubles, up to the longest.
    longest_asked : float
        Longest ``Retry-After``, in seconds, that is waited for; where a server asks for more, the next address is tried.
    max_bytes : int
        Largest file taken where no size was announced beforehand.
    """

    offline: bool = False
    timeout: float = 60.0
    connect_timeout: float = 15.0
    attempts: int = 5
    first_wait: float = 0.5
    longest_wait: float = 30.0
    longest_asked: float = 120.0
    max_bytes: int = 16 * 2**30

    @classmethod
    def from_environment(cls, offline: bool | None = None) -> TransferOptions:
        """Read PHASIC_MODELS_OFFLINE, PHASIC_MODELS_TIMEOUT and PHASIC_MODELS_RETRIES; an argument wins over its variable."""
        options = cls(offline=flag("PHASIC_MODELS_OFFLINE") if offline is None else offline)
        timeout = _number("PHASIC_MODELS_TIMEOUT")
        if timeout is not None:
            options = replace(options, timeout=timeout, connect_timeout=min(timeout, options.connect_timeout))
        retries = _number("PHASIC_MODELS_RETRIES")
        if retries is not None:
            options = replace(options, attempts=int(retries) + 1)
        return options


def _number(name: str) -> float | None:
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise DownloadError(f"environment variable {name} is {text!r}; it must be a number that is not negative")
    return value


def require_online(address: str, options: TransferOptions) -> None:
    """Raise OfflineError where the network is switched off."""
    if options.offline:
        raise OfflineError(
            f"{address} is not on this machine and the network is switched off (PHASIC_MODELS_OFFLINE or --offline). "
            "Unset it, or name a local copy with --index or PHASIC_MODELS_INDEX."
        )
