"""gcp-storage-emulator as a server of its own, with the part of Google's XML API that the object-store engine speaks.

The emulator keeps and serves the objects; it knows the JSON API, and of the XML API plain GET and PUT. Added here are HEAD, the
listing of a bucket, entity tags and generations in the headers, and ``x-goog-if-generation-match``.
"""

from __future__ import annotations

import sys
import threading
from datetime import datetime
from email.utils import format_datetime
from functools import partial
from http.server import ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import buckets
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage

LOCK = threading.RLock()


class Handler(RequestHandler):
    """The emulator's own handler, and what it lacks."""

    def parse_request(self) -> bool:
        """Undo the quoting of the bucket's name, which the emulator does not expect there."""
        known = super().parse_request()
        if known:
            bucket, slash, rest = self.path.lstrip("/").partition("/")
            self.path = f"/{unquote(bucket)}{slash}{rest}"
        return known

    def _place(self) -> tuple[str, str]:
        bucket, _, name = unquote(urlsplit(self.path).path).lstrip("/").partition("/")
        return bucket, name

    def _object(self):
        try:
            return self.storage.get_file_obj(*self._place())
        except NotFound:
            return None

    def end_headers(self) -> None:
        """Say of every object which generation it is."""
        found = self._object() if self.command in ("GET", "HEAD", "PUT") else None
        if found is not None:
            self.send_header("ETag", f'"{found["generation"]}"')
            self.send_header("x-goog-generation", found["generation"])
            updated = datetime.strptime(found["updated"], "%Y-%m-%dT%H:%M:%S.%f%z")
            self.send_header("Last-Modified", format_datetime(updated, usegmt=True))
        super().end_headers()

    def _answer(self, status: int, body: bytes = b"", length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        with LOCK:
            found = self._object()
            self._answer(404 if found is None else 200, length=0 if found is None else int(found["size"]))

    def do_GET(self) -> None:
        with LOCK:
            query = parse_qs(urlsplit(self.path).query)
            if "list-type" not in query:
                super().do_GET()
                return
            files, _ = self.storage.get_file_list(self._place()[0], query.get("prefix", [None])[0], None, None)
            entries = "".join(
                f"<Contents><Key>{escape(file['name'])}</Key><Size>{file['size']}</Size>"
                f'<LastModified>{file["updated"]}</LastModified><ETag>"{file["generation"]}"</ETag></Contents>'
                for file in files
            )
            self._answer(200, f"<?xml version='1.0'?><ListBucketResult>{entries}</ListBucketResult>".encode())

    def do_PUT(self) -> None:
        with LOCK:
            expected = self.headers.get("x-goog-if-generation-match")
            found = self._object()
            if expected is not None and expected != ("0" if found is None else found["generation"]):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self._answer(412)
                return
            if self.headers.get("Authorization") is None:
                self._answer(401)
                return
            super().do_PUT()


def main() -> None:
    """Serve on the port that is given, until the process is ended."""
    storage = Storage(use_memory_fs=True)
    for bucket in sys.argv[2:]:
        buckets.create_bucket(bucket, storage)
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), partial(Handler, storage)).serve_forever()


if __name__ == "__main__":
    main()
