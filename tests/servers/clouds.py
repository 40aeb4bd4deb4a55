"""The clouds as programs: S3 is moto's server, Azure is Azurite (from npm), Google is gcp-storage-emulator."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import itertools
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

import pytest
from platformdirs import user_cache_path

AZURITE = "3.37.0"
AZURITE_HOME = user_cache_path("phasic-models-tests", appauthor=False) / f"azurite-{AZURITE}"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_names = (f"bucket-{number}" for number in itertools.count())


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


def install_azurite() -> Path:
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


@contextlib.contextmanager
def moto() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with process(command, port, "moto") as url:
        yield url


@contextlib.contextmanager
def gcs() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("gcs_emulator.py")), str(port)]
    with process(command, port, "gcp-storage-emulator") as url:
        yield url


@contextlib.contextmanager
def azurite() -> Iterator[str]:
    program, port = install_azurite(), free_port()
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


def s3_bucket(server: str, environment: pytest.MonkeyPatch) -> Bucket:
    bucket = Bucket("s3", next(_names), server)
    _http("PUT", f"{server}/{bucket.name}")
    environment.setenv("AWS_ENDPOINT_URL", server)
    environment.setenv("AWS_ACCESS_KEY_ID", "key")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return bucket


def gcs_bucket(server: str, environment: pytest.MonkeyPatch) -> Bucket:
    bucket = Bucket("gs", next(_names), server)
    body = json.dumps({"name": bucket.name}).encode()
    _http("POST", f"{server}/storage/v1/b", {"Content-Type": "application/json"}, body)
    environment.setenv("STORAGE_EMULATOR_HOST", server)
    return bucket


def azure_bucket(server: str, environment: pytest.MonkeyPatch) -> Bucket:
    bucket = Bucket("az", next(_names), server)
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
    _http("PUT", f"{server}/{bucket.name}?restype=container", headers)
    environment.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={AZURITE_KEY};BlobEndpoint={server};",
    )
    return bucket
