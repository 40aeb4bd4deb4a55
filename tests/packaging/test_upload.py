"""Uploads to a channel server: what is new is sent, what is there is compared, and nothing is replaced."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rattler_build", reason="needs the build group")

from conda_helpers import library_package, names, solve

from phasic_models.errors import DownloadError, LibraryError
from phasic_models.packaging import upload
from phasic_models.packaging.channel import add_packages, index_channel
from phasic_models.packaging.upload import Server

KEY = "a key of the tests"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    folder = tmp_path / "server"
    (folder / "models" / "noarch").mkdir(parents=True)
    index_channel(folder / "models")
    script = Path(__file__).parents[1] / "helpers" / "channel_server.py"
    with subprocess.Popen(
        [sys.executable, str(script), str(folder), KEY], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{process.stdout.readline().strip()}"
        monkeypatch.setenv("PREFIX_API_KEY", KEY)
        monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_URL", raising=False)
        server = Server(api=url, channels=url, key_variable="PREFIX_API_KEY")
        monkeypatch.setitem(upload.SERVERS, "prefix", server)
        yield server
        process.kill()


def test_uploaded_once(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "server" / "models"
    package = library_package(tmp_path)
    assert add_packages([package], "prefix:models") == [package.name]
    assert (folder / "noarch" / package.name).read_bytes() == package.read_bytes()
    index_channel(folder)
    assert names(solve(f"{server.channels}/models", "phasic-models-coalescent")) == ["phasic-models-coalescent 1.0.0"]
    other = library_package(tmp_path, category="queuing")
    assert add_packages([package, other], "prefix:models") == [other.name]


def test_nothing_is_replaced(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "server" / "models"
    first = library_package(tmp_path)
    add_packages([first], "prefix:models")
    index_channel(folder)
    changed, other = library_package(tmp_path, '{"a": 1}'), library_package(tmp_path, category="queuing")
    with pytest.raises(LibraryError, match=r"phasic-models-coalescent 1\.0\.0 build 0 is already in http"):
        add_packages([other, changed], "prefix:models")
    assert [path.name for path in (folder / "noarch").glob("*.conda")] == [first.name]


def test_a_wrong_key_is_an_error_that_does_not_show_it(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFIX_API_KEY", "a wrong secret")
    with pytest.raises(DownloadError, match=r"prefix:models: the upload failed .* read from PREFIX_API_KEY") as refused:
        add_packages([library_package(tmp_path)], "prefix:models")
    assert "a wrong secret" not in str(refused.value)


def test_a_channel_that_is_not_there(server: Server, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "server" / "models")
    with pytest.raises(DownloadError, match="models: not a channel that can be read"):
        add_packages([library_package(tmp_path)], "prefix:models")


def test_the_public_servers() -> None:
    assert {kind: (server.api, server.channels) for kind, server in upload.SERVERS.items()} == {
        "prefix": ("https://prefix.dev", "https://prefix.dev"),
        "anaconda": ("https://api.anaconda.org", "https://conda.anaconda.org"),
    }
