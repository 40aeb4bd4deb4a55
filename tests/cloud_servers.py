"""Real servers on loopback for the tests of everything that uses the network.

``Site`` is an HTTP(S) server whose pages misbehave on request; ``GitHub`` has the paths of GitHub's release API; S3 is moto's
server, Azure is Azurite (from npm), Google is gcp-storage-emulator. Nothing here listens outside loopback.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import http.server
import itertools
import json
import os
import re
import secrets
import select
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from platformdirs import user_cache_path

AZURITE = "3.37.0"
AZURITE_HOME = user_cache_path("phasic-models-tests", appauthor=False) / f"azurite-{AZURITE}"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_names = (f"bucket-{number}" for number in itertools.count())


# -- a web site that misbehaves on request ------------------------------------------------------------------------


@dataclass
class Page:
    """One path of a Site, and how it behaves.

    ``statuses`` are answered first, one for each request, with ``error_headers``;
    ``cut_after`` closes the connection after that many bytes, the first
    ``cuts`` times; ``stall_after`` falls silent instead; ``claim`` lies about the length; ``versions`` are contents that change
    from one request to the next; ``shift`` is by how much a resumed answer begins too early.
    """

    content: bytes = b""
    content_type: str = "application/octet-stream"
    statuses: list[int] = field(default_factory=list)
    redirect: str | None = None
    cut_after: int | None = None
    cuts: int = 1
    stall_after: int | None = None
    stalls: int = 1
    claim: int | None = None
    ranges: bool = True
    shift: int = 0
    etag: str | None = None
    chunked: bool = False
    delay: float = 0.0
    needs: tuple[str, str] | None = None
    error_body: bytes = b"<html><head><title>Down for maintenance</title></head></html>"
    error_headers: dict[str, str] = field(default_factory=dict)


class Site:
    """An HTTP or HTTPS server on loopback."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.pages: dict[str, Page] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                site.answer(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                site.answer(self)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign,assignment]
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        name = "127.0.0.1" if context is None else "localhost"
        self.url = f"{'http' if context is None else 'https'}://{name}:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        self.closing = threading.Event()

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def serve(self, path: str, content: bytes = b"", **behaviour: Any) -> str:
        """Let a path answer with a content, and return its address."""
        self.pages[path] = Page(content, **behaviour)
        return self.url + path

    def serve_folder(self, folder: Path, prefix: str = "/") -> str:
        """Let every file of a folder be had below a prefix, and return the address of the prefix."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.serve(prefix + path.relative_to(folder).as_posix(), path.read_bytes())
        return self.url + prefix

    def count(self, path: str) -> int:
        """Return how often a path was asked for."""
        return sum(1 for _, asked, _ in self.requests if asked.split("?")[0] == path)

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """Answer one request as its page wants it."""
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.requests.append((handler.command, handler.path, headers))
        page = self.pages.get(unquote(handler.path.split("?")[0])) or self.pages.get(handler.path)
        if page is None:
            return self._send(handler, 404, page=Page(), body=b"no such page")
        if page.delay:
            self.closing.wait(page.delay)
        if page.statuses:
            status = page.statuses.pop(0)
            if status != 200:
                return self._send(handler, status, page=page, body=page.error_body, content_type="text/html")
        if page.needs is not None and handler.headers.get(page.needs[0]) != page.needs[1]:
            return self._send(handler, 401, page=page, body=b"who are you?")
        if page.redirect is not None:
            handler.send_response(302)
            handler.send_header("Location", page.redirect)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return None
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        if wanted and page.ranges:
            matching = handler.headers.get("If-Match")
            if matching is not None and matching != page.etag:
                return self._send(handler, 412, page=page, body=b"")
            start = int(wanted.group(1)) - page.shift
            if start + page.shift >= len(page.content):
                return self._send(handler, 416, page=page, body=b"")
        return self._send(handler, 206 if wanted and page.ranges else 200, page=page, body=page.content, start=start)

    def _send(
        self,
        handler: http.server.BaseHTTPRequestHandler,
        status: int,
        *,
        page: Page,
        body: bytes,
        start: int = 0,
        content_type: str | None = None,
    ) -> None:
        part = body[start:]
        handler.send_response(status)
        handler.send_header("Content-Type", content_type or page.content_type)
        if page.etag is not None:
            handler.send_header("ETag", page.etag)
        if status >= 400:
            for name, value in page.error_headers.items():
                handler.send_header(name, value)
        if status == 206:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if page.chunked:
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            for at in range(0, len(part), 1000):
                piece = part[at : at + 1000]
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            handler.wfile.write(b"0\r\n\r\n")
            return
        handler.send_header("Content-Length", str(len(part) if page.claim is None else page.claim))
        handler.end_headers()
        if page.cut_after is not None and page.cuts > 0:
            page.cuts -= 1
            handler.wfile.write(part[: page.cut_after])
            handler.close_connection = True
            return
        if page.stall_after is not None and page.stalls > 0:
            page.stalls -= 1
            handler.wfile.write(part[: page.stall_after])
            handler.wfile.flush()
            self.closing.wait(20)
            handler.close_connection = True
            return
        handler.wfile.write(part)
        if page.claim is not None:
            handler.close_connection = True


class Proxy:
    """A forward proxy for HTTP and, by CONNECT, HTTPS; every name leads to loopback."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                proxy.seen.append(f"GET {self.path}")
                parts = urlsplit(self.path)
                connection = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=10)
                try:
                    connection.request("GET", parts.path, headers={"Host": parts.netloc})
                    answer = connection.getresponse()
                    body = answer.read()
                finally:
                    connection.close()
                self.send_response(answer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_CONNECT(self) -> None:
                proxy.seen.append(f"CONNECT {self.path}")
                with socket.create_connection(("127.0.0.1", int(self.path.rpartition(":")[2])), 10) as far:
                    self.send_response(200)
                    self.end_headers()
                    self._relay(self.connection, far)
                self.close_connection = True

            @staticmethod
            def _relay(near: socket.socket, far: socket.socket) -> None:
                pair = {near: far, far: near}
                while True:
                    ready, _, _ = select.select(list(pair), [], [], 10)
                    if not ready:
                        return
                    for one in ready:
                        try:
                            data = one.recv(65536)
                        except OSError:
                            return
                        if not data:
                            return
                        pair[one].sendall(data)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign,assignment]
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


# -- GitHub's release API -----------------------------------------------------------------------------------------


class GitHub:
    """The paths of GitHub's releases: the API, public downloads (redirected to another host), and uploads."""

    token = "a-secret-token"

    def __init__(self) -> None:
        self.releases: dict[str, dict[str, Any]] = {}
        self.private = False
        self.limits = Counter[str]()
        self.limit_headers: dict[str, str] = {}
        self.log: list[tuple[str, str, dict[str, str]]] = []
        self.break_uploads = 0
        self.ids = itertools.count(1)
        self.storage = Site()
        self.lock = threading.Lock()
        github = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def _all(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                github.log.append((self.command, self.path, headers))
                with github.lock:
                    github.answer(self, body)

            do_GET = do_POST = do_PATCH = do_DELETE = _all

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign,assignment]
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        self.storage.close()

    def attach(self, repo: str, tag: str, folder: Path) -> None:
        """Make a release that has the files of a folder."""
        release = self._new_release(repo, tag)
        for path in sorted(folder.iterdir()):
            self._attach(release, path.name, path.read_bytes())

    def names(self, repo: str, tag: str) -> list[str]:
        return sorted(asset["name"] for asset in self.releases[f"{repo}@{tag}"]["assets"])

    def content(self, repo: str, tag: str, name: str) -> bytes:
        [asset] = [asset for asset in self.releases[f"{repo}@{tag}"]["assets"] if asset["name"] == name]
        return self.storage.pages[f"/objects/{asset['id']}"].content

    def _new_release(self, repo: str, tag: str, draft: bool = False) -> dict[str, Any]:
        number = next(self.ids)
        release = {
            "id": number,
            "tag_name": tag,
            "repo": repo,
            "draft": draft,
            "assets": [],
            "upload_url": f"{self.url}/uploads/repos/{repo}/releases/{number}/assets{{?name,label}}",
        }
        self.releases[f"{repo}@{tag}"] = release
        return release

    def _attach(self, release: dict[str, Any], name: str, content: bytes) -> dict[str, Any]:
        number = next(self.ids)
        asset = {
            "id": number,
            "name": name,
            "size": len(content),
            "state": "uploaded",
            "digest": "sha256:" + hashlib.sha256(content).hexdigest(),
            "url": f"{self.url}/api/repos/{release['repo']}/releases/assets/{number}",
        }
        release["assets"].append(asset)
        self.storage.serve(f"/objects/{number}", content)
        return asset

    def answer(self, handler: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        path = unquote(urlsplit(handler.path).path)
        allowed = handler.headers.get("Authorization") == f"Bearer {self.token}"
        if self.limits[handler.command] > 0:
            self.limits[handler.command] -= 1
            refusal = {"X-RateLimit-Remaining": "0", **self.limit_headers}
            self._send(handler, 403, {"message": "API rate limit exceeded"}, refusal)
            return
        download = re.fullmatch(r"/([^/]+/[^/]+)/releases/(?:download/([^/]+)|latest/download)/([^/]+)", path)
        if download:
            self._download(handler, *download.groups(), allowed=False)
            return
        if handler.headers.get("Authorization") not in (None, f"Bearer {self.token}"):
            self._send(handler, 401, {"message": "Bad credentials"})
            return
        if not allowed and (self.private or handler.command != "GET"):
            self._send(handler, 404 if self.private else 401, {"message": "Requires authentication"})
            return
        for method, pattern, action in (
            ("GET", r"/api/repos/([^/]+/[^/]+)/releases/(?:tags/([^/]+)|latest)", self._get_release),
            ("POST", r"/api/repos/([^/]+/[^/]+)/releases", self._create_release),
            ("GET", r"/api/repos/([^/]+/[^/]+)/releases", self._list_releases),
            ("PATCH", r"/api/repos/([^/]+/[^/]+)/releases/(\d+)", self._change_release),
            ("GET", r"/api/repos/([^/]+/[^/]+)/releases/(\d+)/assets", self._list_assets),
            ("POST", r"/uploads/repos/([^/]+/[^/]+)/releases/(\d+)/assets", self._upload),
            ("GET", r"/api/repos/([^/]+/[^/]+)/releases/assets/(\d+)", self._get_asset),
            ("PATCH", r"/api/repos/([^/]+/[^/]+)/releases/assets/(\d+)", self._rename),
            ("DELETE", r"/api/repos/([^/]+/[^/]+)/releases/assets/(\d+)", self._delete),
        ):
            match = re.fullmatch(pattern, path)
            if match and handler.command == method:
                action(handler, body, *match.groups())
                return
        self._send(handler, 404, {"message": "Not Found"})

    def _send(
        self,
        handler: http.server.BaseHTTPRequestHandler,
        status: int,
        document: Any,
        headers: dict[str, str] | None = None,
    ) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _find(self, repo: str, tag: str | None) -> dict[str, Any] | None:
        mine = [release for release in self.releases.values() if release["repo"] == repo and not release["draft"]]
        if tag is not None:
            return next((release for release in mine if release["tag_name"] == tag), None)
        return max(mine, key=lambda release: release["id"]) if mine else None

    def _by_id(self, number: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        for release in self.releases.values():
            for asset in release["assets"]:
                if asset["id"] == int(number):
                    return release, asset
        return None

    def _download(self, handler: Any, repo: str, tag: str | None, name: str, *, allowed: bool) -> None:
        release = None if self.private and not allowed else self._find(repo, tag)
        for asset in (release or {}).get("assets", []):
            if asset["name"] == name:
                self._send(handler, 302, None, {"Location": f"{self.storage.url}/objects/{asset['id']}?signature=x"})
                return
        self._send(handler, 404, {"message": "Not Found"})

    def _get_release(self, handler: Any, _: bytes, repo: str, tag: str | None) -> None:
        release = self._find(repo, tag)
        self._send(handler, *((404, {"message": "Not Found"}) if release is None else (200, release)))

    def _create_release(self, handler: Any, body: bytes, repo: str) -> None:
        wanted = json.loads(body)
        self._send(handler, 201, self._new_release(repo, wanted["tag_name"], wanted.get("draft", False)))

    def _list_releases(self, handler: Any, _: bytes, repo: str) -> None:
        self._send(handler, 200, [release for release in self.releases.values() if release["repo"] == repo])

    def _change_release(self, handler: Any, body: bytes, repo: str, number: str) -> None:
        [release] = [release for release in self.releases.values() if release["id"] == int(number)]
        release["draft"] = json.loads(body)["draft"]
        self._send(handler, 200, release)

    def _list_assets(self, handler: Any, _: bytes, repo: str, number: str) -> None:
        [release] = [release for release in self.releases.values() if release["id"] == int(number)]
        self._send(handler, 200, release["assets"])

    def _upload(self, handler: Any, body: bytes, repo: str, number: str) -> None:
        [release] = [release for release in self.releases.values() if release["id"] == int(number)]
        name = parse_qs(urlsplit(handler.path).query)["name"][0]
        if any(asset["name"] == name for asset in release["assets"]):
            self._send(handler, 422, {"message": "already_exists"})
            return
        asset = self._attach(release, name, body)
        if self.break_uploads > 0:
            self.break_uploads -= 1
            asset["state"] = "starter"
            self._send(handler, 400, {"message": "the upload broke off"})
            return
        self._send(handler, 201, asset)

    def _get_asset(self, handler: Any, _: bytes, repo: str, number: str) -> None:
        found = self._by_id(number)
        if found is None:
            self._send(handler, 404, {"message": "Not Found"})
        elif handler.headers.get("Accept") == "application/octet-stream":
            self._send(handler, 302, None, {"Location": f"{self.storage.url}/objects/{number}?signature=x"})
        else:
            self._send(handler, 200, found[1])

    def _rename(self, handler: Any, body: bytes, repo: str, number: str) -> None:
        found = self._by_id(number)
        assert found is not None
        found[1]["name"] = json.loads(body)["name"]
        self._send(handler, 200, found[1])

    def _delete(self, handler: Any, _: bytes, repo: str, number: str) -> None:
        found = self._by_id(number)
        assert found is not None
        found[0]["assets"].remove(found[1])
        self._send(handler, 204, None)


# -- the clouds ---------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(command: list[str], port: int, what: str) -> Iterator[str]:
    """Run a server until it is not needed any more."""
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            end = time.monotonic() + 60
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 0.5).close()
                    break
                except OSError:
                    if server.poll() is not None or time.monotonic() > end:
                        log.seek(0)
                        pytest.fail(f"{what} did not start: {log.read()[-2000:].decode(errors='replace')}")
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _azurite() -> Path:
    """Return Azurite's program, installed from npm once and kept in the user's cache folder."""
    from filelock import FileLock

    program = AZURITE_HOME / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    if program.is_file():
        return program
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Azurite, the emulator of Azure, needs node and npm, which are not installed here")
    AZURITE_HOME.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{AZURITE_HOME}.lock", timeout=600):
        if program.is_file():
            return program
        scratch = Path(tempfile.mkdtemp(prefix="azurite-", dir=AZURITE_HOME.parent))
        try:
            options = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "--prefix", str(scratch)]
            done = subprocess.run(
                ["npm", "install", *options, f"azurite@{AZURITE}"], capture_output=True, text=True, timeout=500
            )
            if done.returncode != 0:
                pytest.skip(
                    f"Azurite could not be installed from npm (is its registry reachable?): {done.stderr[-300:]}"
                )
            scratch.rename(AZURITE_HOME)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return program


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to install Azurite while other tests run; whoever needs it waits."""

    def install() -> None:
        with contextlib.suppress(BaseException):
            _azurite()

    if any("azure" in item.name for item in session.items) and not session.config.option.collectonly:
        threading.Thread(target=install, daemon=True).start()


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with process(command, port, "moto") as url:
        yield url


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, str(Path(__file__).parent / "helpers" / "gcs_emulator.py"), str(port)]
    with process(command, port, "gcp-storage-emulator") as url:
        yield url


@pytest.fixture(scope="session")
def azurite_server() -> Iterator[str]:
    program, port = _azurite(), free_port()
    command = ["node", str(program), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"]
    with process([*command, "--silent", "--skipApiVersionCheck", "--disableTelemetry"], port, "Azurite") as url:
        yield f"{url}/devstoreaccount1"


@dataclass(frozen=True)
class Bucket:
    """An empty bucket or container, reachable by environment variables alone."""

    scheme: str
    name: str
    endpoint: str

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.name}"


def _http(method: str, url: str, headers: dict[str, str] | None = None, body: bytes | None = None) -> None:
    request = urllib.request.Request(url, method=method, headers=headers or {}, data=body)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=20):
        pass


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No credentials, proxies, indexes or caches of the machine that the tests run on."""
    for name in list(os.environ):
        if re.match(
            r"(AWS|AZURE|GOOGLE|GITHUB|GH|PHASIC|CONDA)_|STORAGE_EMULATOR_HOST|(https?|all|no)_proxy$", name, re.I
        ):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("PHASIC_MODELS_RETRIES", "3")
    return monkeypatch


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait milliseconds, not seconds, between two tries."""
    from phasic_models.remote.options import TransferOptions

    original = TransferOptions.from_environment.__func__  # type: ignore[attr-defined]

    def hasty(cls: Any, offline: bool | None = None) -> Any:
        from dataclasses import replace

        return replace(original(cls, offline), first_wait=0.005, longest_wait=0.05)

    monkeypatch.setattr(TransferOptions, "from_environment", classmethod(hasty))


@pytest.fixture
def s3(moto_server: str, clean_environment: pytest.MonkeyPatch) -> Bucket:
    bucket = Bucket("s3", next(_names), moto_server)
    _http("PUT", f"{moto_server}/{bucket.name}")
    clean_environment.setenv("AWS_ENDPOINT_URL", moto_server)
    clean_environment.setenv("AWS_ACCESS_KEY_ID", "key")
    clean_environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return bucket


@pytest.fixture
def gcs(gcs_server: str, clean_environment: pytest.MonkeyPatch) -> Bucket:
    bucket = Bucket("gs", next(_names), gcs_server)
    body = json.dumps({"name": bucket.name}).encode()
    _http("POST", f"{gcs_server}/storage/v1/b", {"Content-Type": "application/json"}, body)
    clean_environment.setenv("STORAGE_EMULATOR_HOST", gcs_server)
    return bucket


@pytest.fixture
def azure(azurite_server: str, clean_environment: pytest.MonkeyPatch) -> Bucket:
    bucket = Bucket("az", next(_names), azurite_server)
    date = formatdate(usegmt=True)
    signed = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:2021-08-06\n"
    signed += f"/devstoreaccount1/devstoreaccount1/{bucket.name}\nrestype:container"
    key = base64.b64decode(AZURITE_KEY)
    signature = base64.b64encode(hmac.new(key, signed.encode(), hashlib.sha256).digest()).decode()
    headers = {
        "x-ms-date": date,
        "x-ms-version": "2021-08-06",
        "Authorization": f"SharedKey devstoreaccount1:{signature}",
    }
    _http("PUT", f"{azurite_server}/{bucket.name}?restype=container", headers)
    clean_environment.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={AZURITE_KEY};BlobEndpoint={azurite_server};",
    )
    return bucket


@pytest.fixture(params=["s3", "gcs", "azure"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    """An empty bucket of each cloud in turn."""
    found: Bucket = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def site(clean_environment: pytest.MonkeyPatch) -> Iterator[Site]:
    server = Site()
    yield server
    server.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    server = Proxy()
    yield server
    server.close()


@pytest.fixture
def github(clean_environment: pytest.MonkeyPatch) -> Iterator[GitHub]:
    server = GitHub()
    clean_environment.setenv("GITHUB_SERVER_URL", server.url)
    clean_environment.setenv("GITHUB_API_URL", f"{server.url}/api")
    yield server
    server.close()


@dataclass(frozen=True)
class Authority:
    """A private certificate authority: its PEM file, and a context for a server on localhost."""

    pem: Path
    context: ssl.SSLContext


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    import trustme

    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    pem = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(pem))
    return Authority(pem, context)


@pytest.fixture
def secure_site(authority: Authority, clean_environment: pytest.MonkeyPatch) -> Iterator[Site]:
    server = Site(authority.context)
    yield server
    server.close()


# -- libraries to send around -------------------------------------------------------------------------------------


@pytest.fixture
def make_library(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a library folder whose files have the right checksums."""
    from phasic_models.formats import Manifest, ManifestModel, write_manifest

    def make(category: str = "coalescent", version: str = "1.0.0", models: int = 2, **fields: Any) -> Path:
        folder = tmp_path / f"source-{secrets.token_hex(4)}" / category
        folder.mkdir(parents=True)
        entries, checksums = [], {}
        for number in range(models):
            name = f"n_samples_{number}"
            for suffix in (".json", ".meta", ".safetensors"):
                content = f"{category} {version} {name}{suffix}\n".encode() * 50
                (folder / (name + suffix)).write_bytes(content)
                checksums[name + suffix] = "sha256:" + hashlib.sha256(content).hexdigest()
            key = hashlib.sha256(name.encode()).hexdigest()
            entries.append(ManifestModel(name=name, hash=key, vertices=3, parameters=["rate"]))
        manifest = Manifest(
            category=category,
            version=version,
            description=f"Models of {category}",
            format_version="1.0",
            models=entries,
            checksums=checksums,
            **fields,
        )
        write_manifest(folder / "manifest.json", manifest)
        return folder

    return make


@pytest.fixture
def make_release(tmp_path: Path, make_library: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that writes a release folder: tarballs, SHA256SUMS and index.json."""
    from phasic_models.files.archive import make_tarball
    from phasic_models.packaging.indexing import write_release_files

    def make(*versions: str, category: str = "coalescent", mirrors: tuple[str, ...] = (), **fields: Any) -> Path:
        release = tmp_path / f"release-{secrets.token_hex(4)}"
        release.mkdir()
        for version in versions or ("1.0.0",):
            folder = make_library(category, version, **fields)
            make_tarball(folder, release / f"{category}_models_v{version}.tar.gz")
        write_release_files(release, mirrors=mirrors)
        return release

    return make
