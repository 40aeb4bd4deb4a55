"""A server that takes packages as prefix.dev does and serves them as a channel; a process of its own.

``python channel_server.py FOLDER KEY`` prints its port. The uploader holds the interpreter lock while it waits for an answer,
so a thread of the same process could never give one.
"""

from __future__ import annotations

import http.server
import sys
from email.parser import BytesParser
from functools import partial
from pathlib import Path


class Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *args, key: str, **kwargs) -> None:
        self.key = key
        super().__init__(*args, **kwargs)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        parts = self.path.strip("/").split("/")
        if parts[:3] != ["api", "v1", "upload"] or len(parts) != 4:
            return self.answer(404)
        if self.headers["authorization"] != f"Bearer {self.key}":
            return self.answer(401)
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        for part in BytesParser().parsebytes(head + body).get_payload():
            target = Path(self.directory) / parts[3] / "noarch" / part.get_filename()
            if target.exists():
                return self.answer(409)
            target.write_bytes(part.get_payload(decode=True))
        return self.answer(201)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    handler = partial(Handler, directory=sys.argv[1], key=sys.argv[2])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
