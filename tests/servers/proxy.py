"""A forward proxy."""

from __future__ import annotations

import http.client
import http.server
import select
import socket
import threading
from typing import Any
from urllib.parse import urlsplit


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
