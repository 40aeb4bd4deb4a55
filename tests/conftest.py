"""Settings and fixtures for all tests. The servers are imported by the first test that asks for one."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from servers.clouds import Bucket
    from servers.github import GitHub
    from servers.proxy import Proxy
    from servers.site import Site
    from servers.tls import Authority

# A loaded machine is no reason to fail; what must be fast has a test of its own.
settings.register_profile("default", deadline=None)
settings.load_profile("default")

# A shell that runs the tests in the background has them ignore Ctrl-C, and what they start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to install Azurite while other tests run; whoever needs it waits."""

    def install() -> None:
        from servers.clouds import install_azurite

        with contextlib.suppress(BaseException):
            install_azurite()

    if any("azure" in item.name for item in session.items) and not session.config.option.collectonly:
        threading.Thread(target=install, daemon=True).start()


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


# -- servers on loopback --------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    from servers.clouds import moto

    with moto() as url:
        yield url


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[str]:
    from servers.clouds import gcs

    with gcs() as url:
        yield url


@pytest.fixture(scope="session")
def azurite_server() -> Iterator[str]:
    from servers.clouds import azurite

    with azurite() as url:
        yield url


@pytest.fixture
def s3(moto_server: str, clean_environment: pytest.MonkeyPatch) -> Bucket:
    from servers.clouds import s3_bucket

    return s3_bucket(moto_server, clean_environment)


@pytest.fixture
def gcs(gcs_server: str, clean_environment: pytest.MonkeyPatch) -> Bucket:
    from servers.clouds import gcs_bucket

    return gcs_bucket(gcs_server, clean_environment)


@pytest.fixture
def azure(azurite_server: str, clean_environment: pytest.MonkeyPatch) -> Bucket:
    from servers.clouds import azure_bucket

    return azure_bucket(azurite_server, clean_environment)


@pytest.fixture(params=["s3", "gcs", "azure"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    """An empty bucket of each cloud in turn."""
    found: Bucket = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def site(clean_environment: pytest.MonkeyPatch) -> Iterator[Site]:
    from servers.site import Site

    with contextlib.closing(Site()) as server:
        yield server


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    from servers.proxy import Proxy

    with contextlib.closing(Proxy()) as server:
        yield server


@pytest.fixture
def github(clean_environment: pytest.MonkeyPatch) -> Iterator[GitHub]:
    from servers.github import GitHub

    with contextlib.closing(GitHub()) as server:
        clean_environment.setenv("GITHUB_SERVER_URL", server.url)
        clean_environment.setenv("GITHUB_API_URL", f"{server.url}/api")
        yield server


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    from servers.tls import make_authority

    return make_authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def secure_site(authority: Authority, clean_environment: pytest.MonkeyPatch) -> Iterator[Site]:
    from servers.site import Site

    with contextlib.closing(Site(authority.context)) as server:
        yield server


# -- libraries to send around ---------------------------------------------------------------------------------------


@pytest.fixture
def make_library(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a library folder whose files have the right checksums."""
    from factories import library_maker

    return library_maker(tmp_path)


@pytest.fixture
def make_release(tmp_path: Path, make_library: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that writes a release folder: tarballs, SHA256SUMS and index.json."""
    from factories import release_maker

    return release_maker(tmp_path, make_library)
