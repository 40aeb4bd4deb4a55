"""Which failures pass by themselves, which do not, and how long to wait between two tries."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from ..errors import DownloadError
from .stores import TransferOptions

T = TypeVar("T")


class Retry(Exception):
    """A try failed in a way that another one may mend.

    Attributes
    ----------
    from_start : bool
        Whether what arrived so far must be thrown away.
    after : float or None
        Seconds that the server asks to be left alone, where it says so.
    """

    def __init__(self, reason: str, *, from_start: bool = False, after: float | None = None) -> None:
        super().__init__(reason)
        self.from_start = from_start
        self.after = after


class StatusError(Exception):
    """An HTTP answer other than success, worded as the object-store engine words it, so that one judge serves both."""

    def __init__(self, code: int, phrase: str, body: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"status code: {code} {phrase}: {body[:300]}")
        self.code = code
        self.retry_after = retry_after


class Overtaken(DownloadError):
    """Somebody else wrote the object first, or changed it meanwhile."""


def waits(options: TransferOptions) -> Iterator[float]:
    """Yield the seconds to wait before the second try, the third and so on: doubling, spread out, bounded."""
    wait = options.first_wait
    while True:
        # Spread out, so that a crowd that was cut off together does not return together.
        yield wait * random.uniform(0.75, 1.25)
        wait = min(2 * wait, options.longest_wait)


def wait_as_asked(failure: Retry, planned: float, address: str, options: TransferOptions) -> float:
    """Return the seconds to wait after a failure: as planned, or longer where the server asks for it.

    Raises
    ------
    DownloadError
        The server asks for longer than ``options.longest_asked``. Coming back sooner would be rude and in vain, and waiting
        for an hour in silence looks like a program that hangs.
    """
    asked = failure.after or 0.0
    if asked > options.longest_asked:
        raise DownloadError(
            f"{address}: {failure}, and asks to come back in {asked:,.0f} seconds; "
            "try again then, or name another mirror"
        )
    return max(planned, asked)


def patiently(action: Callable[[], T], what: str, address: str, options: TransferOptions) -> T:
    """Do one request, and again after failures that may pass.

    Parameters
    ----------
    action : callable
        The request.
    what, address : str
        What it does and to whom, for messages.
    options : TransferOptions
        How often and how patiently.
    """
    for tries, wait in enumerate(waits(options), start=1):
        try:
            return action()
        except (DownloadError, NotImplementedError):
            raise
        except Exception as error:  # obstore's exceptions have no common base with a useful meaning
            verdict = judge(error, address)
            if not isinstance(verdict, Retry):
                raise verdict from error
            if tries >= options.attempts:
                raise DownloadError(f"could not {what} {address}: {verdict} ({tries} tries)") from error
            wait = wait_as_asked(verdict, wait, address, options)
        time.sleep(wait)
    raise AssertionError("waits never end")


def judge(error: Exception, address: str) -> Retry | DownloadError:
    """Sort an engine's failure into 'try again' and 'give up, because …'."""
    text = str(error).split("\n\nDebug source", 1)[0]
    kind = type(error).__name__
    status = re.search(r"status code: (\d{3}) ?([A-Za-z ]*)", text)
    code = int(status.group(1)) if status else 0
    if kind in ("AlreadyExistsError", "PreconditionError") or code == 412:
        return Overtaken(f"{address} was written by somebody else meanwhile")
    if kind in ("NotSupportedError", "NotModifiedError") or code == 416 or "UnexpectedRange" in str(error):
        return Retry(f"cannot resume in the middle: {_one_line(text)}", from_start=True)
    if status is not None and (code in (408, 425, 429) or code >= 500):
        asked: float | None = getattr(error, "retry_after", None)
        return Retry(f"the server answers {code} {status.group(2).strip()}".rstrip(), after=asked)
    if "incorrectly configured region" in text:
        return DownloadError(
            f"{address} lies in another region than was asked; name it with region=… or AWS_REGION "
            "(`aws s3api get-bucket-location` tells it)"
        )
    if isinstance(error, FileNotFoundError) or code in (404, 410):
        return DownloadError(
            f"{address} does not exist (404 not found); check the address, or the release may have been removed"
        )
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or code in (401, 403, 407):
        return DownloadError(
            f"{address} may not be accessed ({code or kind}): private files need credentials, "
            "and some servers say this of missing ones"
        )
    if 400 <= code < 500:
        return DownloadError(f"{address} was refused by the server: {_one_line(text)}")
    if "certificate" in str(error).lower():
        return DownloadError(
            f"{address} cannot be trusted: its TLS certificate is not signed by a known authority. "
            "For a private one, let PHASIC_MODELS_CA_BUNDLE (or SSL_CERT_FILE) name its PEM file"
        )
    if isinstance(error, TypeError | ValueError | KeyError | AttributeError | AssertionError | ImportError):
        raise error  # a mistake in a program or a missing package is no failure of the network
    return Retry(reason(error))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def reason(error: BaseException) -> str:
    """Say in a few words what went wrong with a connection."""
    text = str(error)
    for sign, words in (
        ("TimedOut", "the server went silent (time-out)"),
        ("timed out", "the server went silent (time-out)"),
        ("ConnectionRefused", "the connection was refused: nothing answers at that address"),
        ("Connection refused", "the connection was refused: nothing answers at that address"),
        ("dns error", "the server's name is unknown (is the network up?)"),
        ("failed to lookup address", "the server's name is unknown (is the network up?)"),
        ("IncompleteBody", "the connection was cut off"),
        ("ConnectionReset", "the connection was cut off"),
        ("Connect", "no connection could be made"),
    ):
        if sign in text:
            return words
    return _one_line(text.split("\n\nDebug source", 1)[0]) or type(error).__name__
