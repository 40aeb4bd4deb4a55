"""One HTTP client: what it does with redirects, secrets, proxies and refusals, for files and for GitHub."""

from __future__ import annotations

import base64

import pytest

from phasic_models.errors import DownloadError
from phasic_models.remote.download import download, fetch_bytes
from phasic_models.remote.github import Repository
from phasic_models.remote.http import public
from phasic_models.remote.options import TransferOptions

OPTIONS = TransferOptions(attempts=2, first_wait=0.005, longest_wait=0.01)


@pytest.fixture
def repository(site, monkeypatch):
    monkeypatch.setenv("GITHUB_API_URL", site.url)
    monkeypatch.setenv("GITHUB_SERVER_URL", site.url)
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    return Repository("owner/models-404", OPTIONS)


def test_the_api_s_redirect_takes_no_token_along(repository, site, secure_site, authority, monkeypatch):
    monkeypatch.setenv("PHASIC_MODELS_CA_BUNDLE", str(authority.pem))
    there = secure_site.serve("/release", b'{"tag_name": "v1", "assets": []}')
    site.serve("/repos/owner/models-404/releases/tags/v1", redirect=there)
    assert repository.release("v1") == {"tag_name": "v1", "assets": []}
    assert site.requests[-1][2]["authorization"] == "Bearer secret"
    assert "authorization" not in secure_site.requests[-1][2]


def test_a_redirect_on_the_same_server_keeps_the_token(repository, site):
    there = site.serve("/moved", b'{"tag_name": "v1"}')
    site.serve("/repos/owner/models-404/releases/tags/v1", redirect=there)
    assert repository.release("v1") == {"tag_name": "v1"}
    assert site.requests[-1][2]["authorization"] == "Bearer secret"


def test_what_is_written_is_not_sent_elsewhere(repository, site):
    there = site.serve("/elsewhere", b"{}")
    site.serve("/upload", redirect=there)
    with pytest.raises(DownloadError, match=r"has moved to .*/elsewhere"):
        repository.upload({"upload_url": f"{site.url}/upload"}, "index.json", b"{}")
    assert site.count("/elsewhere") == 0


@pytest.mark.parametrize("status", [401, 403, 500])
def test_only_a_missing_file_means_that_there_are_no_checksums(repository, site, monkeypatch, status):
    """The name of the repository holds 404, and so does every message about it."""
    monkeypatch.delenv("GITHUB_TOKEN")
    monkeypatch.delenv("GH_TOKEN", raising=False)
    public_ = Repository("owner/models-404", OPTIONS)
    site.serve("/owner/models-404/releases/download/v404/SHA256SUMS", statuses=[status] * 9)
    site.serve("/owner/models-404/releases/download/v404/a.tar.gz.sha256", statuses=[404] * 9)
    with pytest.raises(DownloadError, match=str(status)):
        public_.published_checksum("v404", "a.tar.gz")
    site.serve("/owner/models-404/releases/download/v404/SHA256SUMS", statuses=[404] * 9)
    assert public_.published_checksum("v404", "a.tar.gz") is None


def test_a_password_in_an_address_is_sent_and_not_shown(site, tmp_path):
    site.serve("/f", b"content")
    address = site.url.replace("http://", "http://me:p%40ss@") + "/f"
    assert download(address, tmp_path / "f", options=OPTIONS).read_bytes() == b"content"
    assert site.requests[-1][2]["authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()
    with pytest.raises(DownloadError) as caught:
        fetch_bytes(address + "-missing", options=OPTIONS)
    assert "p%40ss" not in str(caught.value)
    assert "me:***@" in str(caught.value)
    assert public("https://h/x?y=1") == "https://h/x?y=1"


@pytest.mark.parametrize("excluded", ["*", "127.0.0.0/8", "10.0.0.0/8, 127.0.0.1/32"])
def test_no_proxy_may_be_a_star_or_a_network(site, tmp_path, monkeypatch, excluded):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, excluded)
    assert download(site.serve("/f", b"content"), tmp_path / "f", options=OPTIONS).read_bytes() == b"content"


def test_one_variable_names_the_proxy_of_all(site, proxy, tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", proxy.url)
    monkeypatch.setenv("all_proxy", proxy.url)
    url = site.serve("/f", b"content")
    assert download(url, tmp_path / "f", options=OPTIONS).read_bytes() == b"content"
    assert proxy.seen == [f"GET {url}"]


def test_a_proxy_that_does_not_answer_is_named(tmp_path, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://user:secret@127.0.0.1:1")
    with pytest.raises(
        DownloadError, match=r"nothing answers at the proxy http://user:\*\*\*@127\.0\.0\.1:1"
    ) as caught:
        download("http://models.example.invalid/f", tmp_path / "f", options=OPTIONS)
    assert "secret" not in str(caught.value)


def test_http_needs_no_object_store(site, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    assert download(site.serve("/f", b"content"), tmp_path / "f", options=OPTIONS).read_bytes() == b"content"
    with pytest.raises(DownloadError, match=r"buckets need the package obstore"):
        download("s3://bucket/f", tmp_path / "g", options=OPTIONS)
