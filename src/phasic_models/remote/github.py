"""GitHub releases: find and fetch what is attached to them, and attach files to them.

GITHUB_API_URL and GITHUB_SERVER_URL (which GitHub's own runners set) name another server; GITHUB_TOKEN or GH_TOKEN is
sent to it, and to nobody else.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import DownloadError, FormatError
from ..files.checksums import read_checksums, sha256_file
from ..files.names import CHECKSUMS_NAME
from .download import download, fetch_bytes
from .http import failure, request
from .options import USER_AGENT, TransferOptions, require_online
from .retrying import MissingError, StatusError, with_retries

_ANSWER_LIMIT = 32 << 20


@dataclass(frozen=True)
class Asset:
    """A file attached to a release: its address, and the request headers that it needs."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Repository:
    """One repository on GitHub, or on a server with the same API.

    Parameters
    ----------
    name : str
        ``owner/name``.
    options : TransferOptions
        How patiently.
    """

    def __init__(self, name: str, options: TransferOptions) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9_.-]*[A-Za-z0-9_-][A-Za-z0-9_.-]*", name):
            raise DownloadError(f"{name!r} is not a repository; write owner/name, as in munch-group/phasic-models")
        self.name = name
        self.options = options
        self.server = os.environ.get("GITHUB_SERVER_URL", "").rstrip("/") or "https://github.com"
        self.api = os.environ.get("GITHUB_API_URL", "").rstrip("/") or "https://api.github.com"
        self.token = os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN") or ""

    # -- reading --------------------------------------------------------------------------------------------------

    def download_url(self, tag: str, asset: str) -> str:
        """Return the public address of a release's file."""
        place = "latest/download" if tag == "latest" else f"download/{quote(tag, safe='')}"
        return f"{self.server}/{self.name}/releases/{place}/{quote(asset, safe='')}"

    def asset(self, tag: str, asset: str) -> Asset:
        """Return where to fetch a release's file; with a token through the API, which private repositories need."""
        require_online(self.download_url(tag, asset), self.options)
        if self.token:
            release = self.release(tag, missing_ok=True)
            for entry in (release or {}).get("assets", []):
                if entry.get("name") == asset and isinstance(entry.get("url"), str):
                    return Asset(entry["url"], {**self._headers(), "Accept": "application/octet-stream"})
        return Asset(self.download_url(tag, asset))

    def published_checksum(self, tag: str, asset: str) -> str | None:
        """Return the SHA-256 of a file by the release's SHA256SUMS or ``<file>.sha256``, or None where it has neither."""
        for name in (CHECKSUMS_NAME, f"{asset}.sha256"):
            sums = self.asset(tag, name)
            try:
                data = fetch_bytes(sums.url, limit=1 << 20, options=self.options, headers=sums.headers, expect=name)
            except MissingError:
                continue
            listed = read_checksums(data.decode("utf-8", "replace"), source=sums.url)
            if asset not in listed:
                raise FormatError(
                    f"{sums.url} lists no {asset}; it has {', '.join(sorted(listed)) or 'no file at all'}"
                )
            return listed[asset]
        return None

    def content(self, asset: Mapping[str, Any]) -> bytes:
        """Return the bytes of a small file of a release."""
        headers = {**self._headers(), "Accept": "application/octet-stream"}
        return fetch_bytes(str(asset["url"]), options=self.options, headers=headers)

    def fetch(self, asset: Mapping[str, Any], target: Path) -> Path:
        """Copy a file of a release."""
        headers = {**self._headers(), "Accept": "application/octet-stream"}
        return download(str(asset["url"]), target, options=self.options, headers=headers)

    def sha256(self, asset: Mapping[str, Any]) -> str:
        """Return the SHA-256 of a file of a release, fetched if the server does not know it."""
        with tempfile.TemporaryDirectory(prefix="phasic-models-") as scratch:
            return sha256_file(self.fetch(asset, Path(scratch) / "asset"))

    def latest_content(self, name: str) -> tuple[bytes, str] | None:
        """Return a small file of the latest release and its lasting address, or None where there is none."""
        # With a wrong token (401, 403) we must not conclude that no index exists: the old versions would be dropped.
        release = self.release("latest", missing_ok=True, missing=(404,))
        for asset in (release or {}).get("assets", []):
            if release is not None and asset.get("name") == name:
                return self.content(asset), self.download_url(str(release["tag_name"]), name)
        return None

    def release(
        self, tag: str, *, missing_ok: bool = False, missing: Sequence[int] = (401, 403, 404)
    ) -> dict[str, Any] | None:
        """Return the API's description of a release; None for a status in ``missing``, if that is allowed."""
        place = "latest" if tag == "latest" else f"tags/{quote(tag, safe='')}"
        try:
            found: dict[str, Any] = self._call("GET", f"{self.api}/repos/{self.name}/releases/{place}")
            return found
        except DownloadError as error:
            if missing_ok and isinstance(error.__cause__, StatusError) and error.__cause__.code in missing:
                return None
            raise

    # -- writing --------------------------------------------------------------------------------------------------

    def require_token(self) -> None:
        """Raise where there is no token to write with."""
        if not self.token:
            raise DownloadError(
                f"publishing to {self.server}/{self.name} needs a token; set GITHUB_TOKEN (or GH_TOKEN, from `gh auth token`)"
            )

    def ensure_release(self, tag: str) -> dict[str, Any]:
        """Return a release; where it is missing, a draft, which is hidden until `show` is called."""
        release = self.release(tag, missing_ok=True) or self._draft(tag)
        if release is not None:
            return release
        body = {
            "tag_name": tag,
            "name": tag,
            "body": "Model libraries; SHA256SUMS lists their checksums.",
            "draft": True,
        }
        made: dict[str, Any] = self._call("POST", f"{self.api}/repos/{self.name}/releases", body)
        return made

    def _draft(self, tag: str) -> dict[str, Any] | None:
        """Return the draft that an earlier run left; drafts are not found by their tag."""
        for entry in self._pages(f"{self.api}/repos/{self.name}/releases"):
            if entry.get("draft") and entry.get("tag_name") == tag:
                return entry
        return None

    def show(self, release: Mapping[str, Any]) -> bool:
        """Make a draft visible; False where it was already."""
        if not release.get("draft"):
            return False
        self._call("PATCH", f"{self.api}/repos/{self.name}/releases/{release['id']}", {"draft": False})
        return True

    def assets(self, release: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return all files of a release by name, fresh from the server."""
        entries = self._pages(f"{self.api}/repos/{self.name}/releases/{release['id']}/assets")
        return {entry["name"]: entry for entry in entries}

    def _pages(self, address: str) -> Iterator[dict[str, Any]]:
        for page in range(1, 101):
            entries = self._call("GET", f"{address}?per_page=100&page={page}")
            if not isinstance(entries, list):
                raise DownloadError(f"{address}: expected a list, so this is not GitHub's API")
            yield from entries
            if len(entries) < 100:
                return

    def upload(self, release: Mapping[str, Any], name: str, content: bytes | Path) -> dict[str, Any]:
        """Attach a file to a release; one of that name must not be there."""
        address = re.sub(r"\{[^}]*\}$", "", str(release["upload_url"])) + f"?name={quote(name, safe='')}"
        answer: dict[str, Any] = self._call("POST", address, content)
        return answer

    def rename(self, asset: Mapping[str, Any], name: str) -> None:
        """Give a file of a release another name."""
        self._call("PATCH", f"{self.api}/repos/{self.name}/releases/assets/{asset['id']}", {"name": name})

    def delete(self, asset: Mapping[str, Any]) -> None:
        """Remove a file from a release."""
        self._call("DELETE", f"{self.api}/repos/{self.name}/releases/assets/{asset['id']}")

    # -- the API --------------------------------------------------------------------------------------------------

    def _headers(self) -> dict[str, str]:
        headers = {"User-Agent": USER_AGENT, "X-GitHub-Api-Version": "2022-11-28"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return headers

    def _call(self, method: str, address: str, body: Any = None) -> Any:
        def exchange() -> Any:
            headers = {**self._headers(), "Accept": "application/vnd.github+json"}
            if isinstance(body, Path):
                headers |= {"Content-Type": "application/gzip", "Content-Length": str(body.stat().st_size)}
                with body.open("rb") as stream:
                    return _exchange(method, address, headers, stream, self.options)
            if isinstance(body, bytes):
                headers["Content-Type"] = "application/octet-stream"
                return _exchange(method, address, headers, body, self.options)
            data = None if body is None else json.dumps(body).encode()
            return _exchange(method, address, headers, data, self.options)

        return with_retries(exchange, method, address, self.options)


def _exchange(method: str, address: str, headers: Mapping[str, str], data: Any, options: TransferOptions) -> Any:
    """Do one request of the API and decode its answer."""
    try:
        with request(method, address, options, headers=headers, body=data) as response:
            answer = response.read(_ANSWER_LIMIT)
    except StatusError as error:
        limited = error.headers.get("Retry-After") or error.headers.get("X-RateLimit-Remaining") == "0"
        if error.code == 403 and limited:  # GitHub says 403 where it means 429
            raise StatusError(429, error.phrase, str(error), error.headers) from None
        raise
    except (http.client.HTTPException, OSError) as error:
        if isinstance(error, DownloadError):
            raise
        raise failure(error, address) from error
    if not answer:
        return None
    try:
        return json.loads(answer)
    except ValueError as error:
        raise DownloadError(
            f"{address}: the answer is not JSON, so this is not GitHub's API: {answer[:80]!r}"
        ) from error
