"""One HTTP client, for files and for GitHub: the same rules for redirects, proxies, authorities and secrets.

A redirect never leads out of TLS, and never takes a secret to another server. The meaning of a failure follows from its status
and its type, never by the words of a message.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import ipaddress
import os
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import SplitResult, unquote, urlsplit

from ..errors import DownloadError
from .options import USER_AGENT, TransferOptions, require_online
from .retrying import AUTHORITY_HINT, Retry, StatusError

_CHUNK = 1 << 18
# Beside these, whatever a caller sends is no secret.
_SECRETS = ("Authorization", "Cookie")
# Names that other clients read for a private certificate authority, the most specific first.
# SSL_CERT_FILE is not among them: the TLS libraries read it themselves.
_CA_VARIABLES = ("PHASIC_MODELS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE")


@dataclass
class Answer:
    """The answer of a server: the position and size that it states, and the bytes."""

    start: int
    size: int | None
    etag: str | None
    content_type: str
    chunks: Iterator[Any]
    close: Callable[[], object] = lambda: None


def fetch(
    url: str,
    options: TransferOptions,
    *,
    headers: Mapping[str, str] | None = None,
    start: int = 0,
    etag: str | None = None,
) -> Answer:
    """Ask for a file, from byte ``start`` of the version ``etag`` onwards.

    Raises
    ------
    StatusError
        The server refused; it carries how long the server asks to wait.
    Retry
        No answer came.
    DownloadError
        The server cannot be trusted, or redirects to where it must not.
    """
    sent = dict(headers or {})
    if start:
        sent["Range"] = f"bytes={start}-"
        if etag is not None:
            sent["If-Match"] = etag
    response = request("GET", url, options, headers=sent)

    length = response.headers.get("Content-Length", "")
    announced = int(length) if length.isdigit() else None

    def chunks() -> Iterator[bytes]:
        count = 0
        while chunk := _read(response, url):
            count += len(chunk)
            yield chunk
        if announced is not None and count < announced:
            raise Retry("the connection was cut off")

    first, size = 0, announced
    part = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status == 206 and part is not None:
        first = int(part.group(1))
        size = int(part.group(2)) if part.group(2) != "*" else None if size is None else first + size
    return Answer(
        first, size, response.headers.get("ETag"), response.headers.get("Content-Type", ""), chunks(), response.close
    )


def _read(response: Any, url: str) -> bytes:
    try:
        return response.read(_CHUNK)  # type: ignore[no-any-return]
    except (http.client.HTTPException, OSError) as error:
        raise failure(error, url) from error


def request(
    method: str, url: str, options: TransferOptions, *, headers: Mapping[str, str] | None = None, body: Any = None
) -> Any:
    """Do one request and return the open response; exceptions as for `fetch`."""
    require_online(public(url), options)
    address, secret = _without_user(url)
    sent = {"User-Agent": USER_AGENT, **secret, **(headers or {})}
    opener = urllib.request.build_opener(_Proxies(), _Redirects(), _Plain(options), _Secure(options))
    asked = urllib.request.Request(address, data=body, headers=sent, method=method)
    try:
        return opener.open(asked, timeout=options.connect_timeout)
    except urllib.error.HTTPError as error:
        text = b""
        with error, contextlib.suppress(http.client.HTTPException, OSError):
            text = error.read(2000)
        raise StatusError(error.code, str(error.reason), text.decode("utf-8", "replace"), error.headers) from None
    except (http.client.HTTPException, OSError) as error:
        if isinstance(error, DownloadError):
            raise
        raise failure(error, url) from error


def public(url: str) -> str:
    """Return an address as it may be shown: without a password in it."""
    parts = urlsplit(url)
    return url if parts.password is None else _replaced(parts, f"{parts.username}:***@")


def _without_user(url: str) -> tuple[str, dict[str, str]]:
    """Split an address of the form ``https://user:password@host/`` into the address and the header that says it."""
    parts = urlsplit(url)
    if parts.username is None:
        return url, {}
    words = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return _replaced(parts, ""), {"Authorization": f"Basic {base64.b64encode(words).decode()}"}


def _replaced(parts: SplitResult, user: str) -> str:
    return parts._replace(netloc=user + parts.netloc.rpartition("@")[2]).geturl()


# -- rules ------------------------------------------------------------------------------------------------------------


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Never out of TLS, no secret to another server, and no second place for what is written."""

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
        if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme != "https"):
            fp.close()
            raise DownloadError(f"{req.full_url} redirects out of TLS, to {public(newurl)}, which is not followed")
        if req.get_method() not in ("GET", "HEAD"):
            fp.close()
            raise DownloadError(f"{req.full_url} has moved to {public(newurl)}; name the new place")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and (old.scheme, old.netloc) != (new.scheme, new.netloc):
            for name in _SECRETS:
                request.remove_header(name)
        return request


class _Proxies(urllib.request.ProxyHandler):
    """The proxies of the environment and the system, ALL_PROXY among them; NO_PROXY may name networks (10.0.0.0/8)."""

    def __init__(self) -> None:
        found = urllib.request.getproxies()
        if "all" in found:
            found = {"http": found["all"], "https": found["all"], **found}
        super().__init__({kind: proxy for kind, proxy in found.items() if kind in ("http", "https")})

    def proxy_open(self, req: urllib.request.Request, proxy: str, type: str) -> Any:
        if _in_excluded_network(urlsplit(req.full_url).hostname or ""):
            return None
        return super().proxy_open(req, proxy, type)


def _in_excluded_network(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for entry in (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(","):
        try:
            if "/" in entry and address in ipaddress.ip_network(entry.strip(), strict=False):
                return True
        except ValueError:
            continue
    return False


class _PatientHTTP(http.client.HTTPConnection):
    """A connection that may take as long as ``timeout`` to be made; then only silence ends it."""

    def __init__(self, *args: Any, silence: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._silence = silence

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(self._silence)


class _PatientHTTPS(http.client.HTTPSConnection):
    def __init__(self, *args: Any, silence: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._silence = silence

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(self._silence)


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, options: TransferOptions) -> None:
        super().__init__()
        self._connection: Any = functools.partial(_PatientHTTP, silence=options.timeout)

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(self._connection, req)


class _Secure(urllib.request.HTTPSHandler):
    def __init__(self, options: TransferOptions) -> None:
        super().__init__()
        self._connection: Any = functools.partial(_PatientHTTPS, silence=options.timeout)

    def https_open(self, req: urllib.request.Request) -> Any:
        # Only here: to read all authorities takes longer than an answer over plain HTTP.
        return self.do_open(self._connection, req, context=ssl_context())


# -- authorities ------------------------------------------------------------------------------------------------------


def ca_bundle() -> bytes | None:
    """Return the PEM text of the private certificate authorities that the environment names, if any."""
    for name in _CA_VARIABLES:
        path = os.environ.get(name, "").strip()
        if not path:
            continue
        if Path(path).is_dir():
            continue
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise DownloadError(f"{name} names {path}, which cannot be read: {error.strerror}") from error
    return None


def ssl_context() -> ssl.SSLContext:
    """Return a context that trusts the system's authorities and those of the environment."""
    context = ssl.create_default_context()
    bundle = ca_bundle()
    if bundle is not None:
        context.load_verify_locations(cadata=bundle.decode("ascii", "ignore"))
    return context


# -- failures ---------------------------------------------------------------------------------------------------------


def failure(error: BaseException, url: str) -> Retry | DownloadError:
    """Sort a failed connection into 'try again' and 'give up, because …', by its type."""
    cause: BaseException = error
    while isinstance(cause, urllib.error.URLError) and isinstance(cause.reason, BaseException):
        cause = cause.reason
    if isinstance(cause, ssl.SSLCertVerificationError):
        return DownloadError(
            f"{public(url)} cannot be trusted: its TLS certificate is not signed by a known authority. {AUTHORITY_HINT}"
        )
    proxy = _proxy_of(url)
    whose = f"the proxy {public(proxy)}" if proxy else "the server"
    if isinstance(cause, TimeoutError):
        return Retry(f"{whose} sent nothing for too long (time-out)")
    if isinstance(cause, ConnectionRefusedError):
        return Retry(
            f"the connection was refused: nothing answers at {'the proxy ' + public(proxy) if proxy else 'that address'}"
        )
    if isinstance(cause, socket.gaierror):
        return Retry(f"{whose}'s name is unknown (is the network up?)")
    if isinstance(cause, ConnectionError | http.client.IncompleteRead | ssl.SSLEOFError):
        return Retry("the connection was cut off")
    return Retry(" ".join(str(cause).split())[:300] or type(cause).__name__)


def _proxy_of(url: str) -> str:
    """Return the proxy through which an address is asked for, or an empty text."""
    parts = urlsplit(url)
    found = urllib.request.getproxies()
    proxy = found.get(parts.scheme) or found.get("all") or ""
    host = parts.hostname or ""
    return "" if not proxy or urllib.request.proxy_bypass(host) or _in_excluded_network(host) else proxy
