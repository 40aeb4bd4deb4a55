"""Which failures are temporary, which are not, and how long to wait between two tries."""

from __future__ import annotations

import email.message
import email.utils
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from ..errors import DownloadError
from .options import TransferOptions

T = TypeVar("T")
AUTHORITY_HINT = "For a private one, let PHASIC_MODELS_CA_BUNDLE (or SSL_CERT_FILE) name its PEM file"


class Retry(Exception):
    """A try failed, and another one may succeed.

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
    """An HTTP answer other than success.

    Attributes
    ----------
    code : int
        The status.
    phrase : str
        The server's name for the error.
    headers : mapping
        Of the answer.
    """

    def __init__(self, code: int, phrase: str, body: str, headers: email.message.Message) -> None:
        super().__init__(f"{code} {phrase}: {_one_line(body)}")
        self.code = code
        self.phrase = phrase
        self.headers = headers


class ConflictError(DownloadError):
    """Somebody else wrote the object first, or changed it meanwhile."""


class MissingError(DownloadError):
    """The server says that there is no such file (404 or 410)."""


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
        The server asks for longer than ``options.longest_asked``. A request before that time would fail, and a program
        that waits for an hour without output seems to hang.
    """
    asked = failure.after or 0.0
    if asked > options.longest_asked:
        raise DownloadError(
            f"{address}: {failure}, and asks to wait {asked:,.0f} seconds; try again then, or name another mirror"
        )
    return max(planned, asked)


def with_retries(action: Callable[[], T], what: str, address: str, options: TransferOptions) -> T:
    """Do one request, and again after failures that may pass.

    Parameters
    ----------
    action : callable
        The request.
    what, address : str
        The action and its address, for messages.
    options : TransferOptions
        The number of tries and the waiting times.
    """
    for tries, wait in enumerate(waits(options), start=1):
        try:
            return action()
        except (DownloadError, NotImplementedError):
            raise
        except Exception as error:  # obstore's exceptions have no common base with a useful meaning
            verdict = classify_failure(error, address)
            if not isinstance(verdict, Retry):
                raise verdict from error
            if tries >= options.attempts:
                raise DownloadError(f"could not {what} {address}: {verdict} ({tries} tries)") from error
            wait = wait_as_asked(verdict, wait, address, options)
        time.sleep(wait)
    raise AssertionError("waits never end")


def asked_wait(headers: email.message.Message) -> float | None:
    """Return the seconds that a refusal asks to wait: ``Retry-After`` in either form, or GitHub's time of reset."""
    text = (headers.get("Retry-After") or "").strip()
    if re.fullmatch(r"\d{1,9}", text):
        return float(text)
    if text:
        try:
            moment = email.utils.parsedate_to_datetime(text)
        except (TypeError, ValueError):
            return None
        return max(0.0, moment.timestamp() - time.time())
    reset = headers.get("X-RateLimit-Reset") or ""
    if headers.get("X-RateLimit-Remaining") == "0" and re.fullmatch(r"\d{1,12}", reset):
        return max(0.0, float(reset) - time.time())
    return None


def classify_failure(error: Exception, address: str) -> Retry | DownloadError:
    """Sort a failure into 'try again' and 'give up, because …': by the status of an answer, or by the type of the exception."""
    if isinstance(error, Retry):
        return error
    if isinstance(error, StatusError):
        return _by_status(error.code, error.phrase, str(error), address, asked_wait(error.headers))
    if isinstance(error, TypeError | ValueError | KeyError | AttributeError | AssertionError | ImportError):
        raise error  # a mistake in a program or a missing package is no failure of the network
    return _of_bucket(error, address)


def _by_status(code: int, phrase: str, text: str, address: str, asked: float | None = None) -> Retry | DownloadError:
    if code == 412:
        return ConflictError(f"{address} was written by somebody else meanwhile")
    if code == 416:
        return Retry("cannot resume in the middle", from_start=True)
    if code in (408, 425, 429) or code >= 500:
        return Retry(f"the server answers {code} {phrase}".rstrip(), after=asked)
    if code in (404, 410):
        return MissingError(
            f"{address} does not exist ({code} not found); check the address, or the release may have been removed"
        )
    if code in (401, 403, 407):
        return DownloadError(
            f"{address} may not be accessed ({code}): private files need credentials, "
            "and some servers say this of missing ones"
        )
    return DownloadError(f"{address} was refused by the server: {_one_line(text)}")


# By the names of obstore's exceptions, which need not be installed.
_STATUS_OF = {
    "AlreadyExistsError": 412,
    "PreconditionError": 412,
    "NotModifiedError": 416,
    "NotSupportedError": 416,
    "NotFoundError": 404,
    "PermissionDeniedError": 403,
    "UnauthenticatedError": 401,
}


def _of_bucket(error: Exception, address: str) -> Retry | DownloadError:
    """Sort a failure of obstore, which has types for some and for all others only the words of its message."""
    text = str(error).split("\n\nDebug source", 1)[0]
    said = re.search(r"status code: (\d{3}) ?([A-Za-z ]*)", text)
    code = _STATUS_OF.get(type(error).__name__) or (404 if isinstance(error, FileNotFoundError) else 0)
    if code:
        return _by_status(code, "", text, address)
    if "incorrectly configured region" in text:
        return DownloadError(
            f"{address} is in another region than was asked; name it with region=… or AWS_REGION "
            "(`aws s3api get-bucket-location` prints it)"
        )
    if said is not None:
        return _by_status(int(said.group(1)), said.group(2).strip(), text, address)
    if "UnexpectedRange" in str(error):
        return Retry("cannot resume in the middle", from_start=True)
    if "certificate" in str(error).lower():
        return DownloadError(
            f"{address} cannot be trusted: its TLS certificate is not signed by a known authority. {AUTHORITY_HINT}"
        )
    for sign, words in _SIGNS:
        if sign in str(error):
            return Retry(words)
    return Retry(_one_line(text) or type(error).__name__)


_SIGNS = (
    ("TimedOut", "the server sent nothing for too long (time-out)"),
    ("ConnectionRefused", "the connection was refused: nothing answers at that address"),
    ("dns error", "the server's name is unknown (is the network up?)"),
    ("IncompleteBody", "the connection was cut off"),
    ("ConnectionReset", "the connection was cut off"),
    ("Connect", "no connection could be made"),
)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
