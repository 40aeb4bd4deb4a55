"""Read an address with the standard library: what the object-store engine cannot do, or does not tell.

It refuses answers that do not announce their length, and it hides the headers of a refusal, so that nobody sees how long a
busy server asks to be left alone (``Retry-After``).
"""

from __future__ import annotations

import email.message
import email.utils
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlsplit

from ..errors import DownloadError
from .retrying import Retry, StatusError, reason
from .stores import USER_AGENT, TransferOptions, ssl_context

_CHUNK = 1 << 18


@dataclass
class Answer:
    """What a server sent: the position and size that it claims, and the bytes."""

    start: int
    size: int | None
    etag: str | None
    content_type: str
    chunks: Iterator[Any]


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


class _CarefulRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects as the object-store engine does: never out of TLS, and no credentials to another host."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if old.scheme == "https" and new.scheme != "https":
            raise DownloadError(f"{req.full_url} redirects out of TLS, to {newurl}, which is not followed")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and old.netloc != new.netloc:
            request.remove_header("Authorization")
        return request


def open_plainly(
    url: str,
    options: TransferOptions,
    *,
    headers: Mapping[str, str] | None = None,
    start: int = 0,
    etag: str | None = None,
) -> Answer:
    """Ask for an address, from byte ``start`` of the version ``etag`` onwards.

    Raises
    ------
    StatusError
        The server refused; it carries how long the server asks to wait.
    Retry
        No answer came.
    """
    sent = {"User-Agent": USER_AGENT, **(headers or {})}
    if start:
        sent["Range"] = f"bytes={start}-"
        if etag is not None:
            sent["If-Match"] = etag
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=ssl_context()), _CarefulRedirects())
    try:
        response = opener.open(urllib.request.Request(url, headers=sent), timeout=options.timeout)
    except urllib.error.HTTPError as error:
        with error:
            raise StatusError(error.code, str(error.reason), "", retry_after=asked_wait(error.headers)) from None
    except (urllib.error.URLError, http.client.HTTPException) as error:
        raise Retry(reason(error)) from error

    def chunks() -> Iterator[bytes]:
        with response:
            try:
                while chunk := response.read(_CHUNK):
                    yield chunk
            except http.client.HTTPException as error:
                raise Retry("the connection was cut off") from error

    first, size = 0, None
    length = response.headers.get("Content-Length", "")
    if length.isdigit():
        size = int(length)
    part = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status == 206 and part is not None:
        first = int(part.group(1))
        size = int(part.group(2)) if part.group(2) != "*" else None if size is None else first + size
    return Answer(first, size, response.headers.get("ETag"), response.headers.get("Content-Type", ""), chunks())
