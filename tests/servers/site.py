"""A web site that misbehaves on request."""

from __future__ import annotations

import http.server
import re
import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote


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
