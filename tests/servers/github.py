"""The paths of GitHub's release API."""

from __future__ import annotations

import hashlib
import http.server
import itertools
import json
import re
import threading
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from servers.site import Site


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
