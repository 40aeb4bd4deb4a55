"""Publishing to buckets, folders and GitHub releases: in a safe order, never replacing, again after a kill."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from obstore.store import LocalStore

from phasic_models.cache.installation import check_library, install_folder
from phasic_models.cloud_cache import install_model_library
from phasic_models.errors import DownloadError, FormatError, LibraryError, OfflineError
from phasic_models.files.archive import make_tarball
from phasic_models.files.checksums import read_checksums, sha256_file
from phasic_models.formats.release_index import Index, encode_index, parse_index
from phasic_models.remote import publish as publishing
from phasic_models.remote.folders import ObjectFolder
from phasic_models.remote.index_sources import read_index
from phasic_models.remote.options import TransferOptions
from phasic_models.remote.publish import publish
from phasic_models.remote.targets import GitHubTarget, LocalTarget, ObjectTarget, open_target

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("clean_environment", "quick")]
NAME = "coalescent_models_v1.0.0.tar.gz"
REPO = "munch-group/phasic-models"


@pytest.fixture(params=["file", "s3", "gcs", "azure", "github"])
def place(request, tmp_path, clean_environment) -> tuple[str, str]:
    """Where to publish, and the address of the index there."""
    if request.param == "file":
        folder = tmp_path / "published folder"
        return folder.as_uri(), str(folder / "index.json")
    if request.param == "github":
        server = request.getfixturevalue("github")
        clean_environment.setenv("GITHUB_TOKEN", server.token)
        return f"github:{REPO}@v1", f"{server.url}/{REPO}/releases/download/v1/index.json"
    url = request.getfixturevalue(request.param).url + "/models"
    return url, f"{url}/index.json"


def test_publish_and_install(place, make_library, tmp_path):
    to, index = place
    first = publish(make_library(), to)
    assert (first.category, first.version, first.file, first.changed) == ("coalescent", "1.0.0", NAME, True)
    done = install_model_library("coalescent", index=index, cache_dir=tmp_path / "cache")
    assert check_library(done.path).version == "1.0.0"
    assert publish(make_library(), to).changed is False
    publish(make_library(version="1.1.0"), to)
    publish(make_library("queuing", "0.3.0"), to)
    found, _ = read_index(index)
    assert {name: list(entry.versions) for name, entry in found.libraries.items()} == {
        "coalescent": ["1.1.0", "1.0.0"],
        "queuing": ["0.3.0"],
    }
    for requirement in ("coalescent==1.0.0", "coalescent==1.1.0", "queuing"):
        check_library(install_model_library(requirement, index=index, cache_dir=tmp_path / "cache").path)


def test_a_published_version_is_never_replaced(place, make_library, tmp_path):
    to, index = place
    publish(make_library(), to)
    before, _ = read_index(index)
    with pytest.raises(
        LibraryError, match=r"published already, with other content.*raise the version in library\.yaml"
    ):
        publish(make_library(models=3), to)
    assert read_index(index)[0] == before
    assert (
        not install_model_library("coalescent", index=index, cache_dir=tmp_path / "c")
        .path.joinpath("n_samples_2.json")
        .exists()
    )


def test_not_even_where_the_index_was_lost(tmp_path, make_library):
    folder = tmp_path / "published"
    publish(make_library(), str(folder))
    (folder / "index.json").unlink()
    with pytest.raises(LibraryError, match=NAME):
        publish(make_library(models=3), str(folder))
    assert not (folder / "index.json").exists()
    publish(make_library(), str(folder))
    assert list(read_index(folder)[0].libraries) == ["coalescent"]


def test_nor_in_a_bucket(s3, make_library):
    publish(make_library(), f"{s3.url}/models")
    target = open_target(f"{s3.url}/models", TransferOptions())
    target.folder.write("index.json", encode_index(Index()))
    with pytest.raises(LibraryError, match=NAME):
        publish(make_library(models=3), f"{s3.url}/models")


def test_three_forms_of_a_library(make_library, tmp_path):
    """A folder, the same as a tarball, and the same installed: always the same bytes."""
    library = make_library()
    sums = set()
    sums.add(publish(library, str(tmp_path / "a")).sha256)
    sums.add(publish(tmp_path / "a" / NAME, str(tmp_path / "b")).sha256)
    install_folder(library, tmp_path / "cache" / "symbolic")
    sums.add(publish("coalescent", str(tmp_path / "c"), cache_dir=tmp_path / "cache").sha256)
    renamed = library.rename(library.with_name("any name"))
    (renamed / "._junk").write_text("x")
    sums.add(publish(renamed, str(tmp_path / "d")).sha256)
    assert len(sums) == 1
    assert sha256_file(tmp_path / "b" / NAME) in sums


def test_another_compressor_makes_no_other_version(place, make_library, tmp_path):
    """What is published stays, also where the same files are packed in another way, and where the index was lost."""
    to, index = place
    library = make_library()
    first = publish(library, to)
    other = make_tarball(library, tmp_path / "other.tar.gz", mtime=12345, compress=lambda data: gzip.compress(data, 1))
    assert sha256_file(other) != first.sha256
    again = publish(other, to)
    assert (again.changed, again.sha256) == (False, first.sha256)
    check_library(install_model_library("coalescent", index=index, cache_dir=tmp_path / "cache").path)


def test_what_cannot_be_published(make_library, tmp_path, site):
    with pytest.raises(LibraryError, match=r"'zebra' is neither"):
        publish("zebra", str(tmp_path / "out"))
    library = make_library()
    (library / "n_samples_0.json").write_bytes(b"damaged")
    with pytest.raises(FormatError, match=r"n_samples_0\.json"):
        publish(library, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    for to in ("https://example.org/models", "s3:///models", "github:owner/repo", "github:owner@v1", "ftp://x/y"):
        with pytest.raises(DownloadError):
            publish(make_library(), to)
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="cannot publish"):
        publish(make_library(), str(tmp_path / "file" / "deeper"))


def test_a_damaged_index_is_not_overwritten(make_library, tmp_path):
    folder = tmp_path / "out"
    publish(make_library(), str(folder))
    damaged = (folder / "index.json").read_bytes()[:-30]
    (folder / "index.json").write_bytes(damaged)
    with pytest.raises(FormatError, match=r"index\.json"):
        publish(make_library(version="1.1.0"), str(folder))
    assert (folder / "index.json").read_bytes() == damaged
    assert not (folder / "coalescent_models_v1.1.0.tar.gz").exists()


def test_offline(s3, github, make_library, clean_environment, tmp_path):
    clean_environment.setenv("PHASIC_MODELS_OFFLINE", "1")
    clean_environment.setenv("GITHUB_TOKEN", github.token)
    for to in (s3.url, f"github:{REPO}@v1"):
        with pytest.raises(OfflineError):
            publish(make_library(), to)
    assert github.log == []
    publish(make_library(), str(tmp_path / "out"))


def test_checksums_list_every_tarball(make_library, tmp_path):
    folder = tmp_path / "out"
    for version in ("1.0.0", "1.1.0"):
        publish(make_library(version=version), str(folder))
    sums = read_checksums((folder / "SHA256SUMS").read_text())
    assert sums == {path.name: sha256_file(path) for path in folder.glob("*.tar.gz")}
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == sorted(
        ["SHA256SUMS", "index.json", *sums]
    )


# -- the order, and kills ---------------------------------------------------------------------------------------------


def whole(folder: Path) -> list[str]:
    """Check that all that the index of a folder points at is there and right, and return its versions."""
    if not (folder / "index.json").exists():
        return []
    index = parse_index((folder / "index.json").read_bytes())
    sums = read_checksums((folder / "SHA256SUMS").read_text())
    versions = []
    for library in index.libraries.values():
        for version, release in library.versions.items():
            [artefact] = release.artefacts
            assert sha256_file(folder / artefact.file) == artefact.sha256 == sums[artefact.file]
            versions.append(version)
    return versions


def test_the_order_of_writing(make_library, tmp_path, monkeypatch):
    written = []
    for name in ("create", "change"):
        original = getattr(LocalTarget, name)

        def spy(self, file, *arguments, original=original):
            whole(self.folder)
            written.append(file)
            return original(self, file, *arguments)

        monkeypatch.setattr(LocalTarget, name, spy)
    publish(make_library(), str(tmp_path / "out"))
    publish(make_library(version="1.1.0"), str(tmp_path / "out"))
    assert written == [NAME, "SHA256SUMS", "index.json", NAME.replace("1.0.0", "1.1.0"), "SHA256SUMS", "index.json"]


@pytest.mark.parametrize("place", ["file", "s3", "github"], indirect=True)
@pytest.mark.parametrize("stop", ["SHA256SUMS", "index.json"])
def test_a_run_that_stopped_is_completed(place, make_library, tmp_path, monkeypatch, stop):
    to, index = place
    target = {"f": LocalTarget, "s": ObjectTarget, "g": GitHubTarget}[to[0]]
    original = target.change

    def die(self, name, by):
        if name == stop:
            raise KeyboardInterrupt
        return original(self, name, by)

    with monkeypatch.context() as patch:
        patch.setattr(target, "change", die)
        with pytest.raises(KeyboardInterrupt):
            publish(make_library(), to)
    with pytest.raises(DownloadError):
        read_index(index)
    assert publish(make_library(), to).changed
    check_library(install_model_library("coalescent", index=index, cache_dir=tmp_path / "cache").path)


#: How often a process is killed at a random moment; PHASIC_TEST_KILLS=200 for the long run.
KILLS = int(os.environ.get("PHASIC_TEST_KILLS", "5"))


def test_killed_at_any_moment(make_library, tmp_path):
    folder = tmp_path / "out"
    libraries = [make_library(version=f"1.{number}.0", models=1) for number in range(6 + KILLS)]
    code = (
        "import sys; from phasic_models.remote.publish import publish; print('ready', flush=True)\n"
        f"for path in sys.argv[1:]: publish(path, {str(folder)!r})"
    )
    seen = 0
    moments = random.Random(2026)
    for _ in range(KILLS):
        child = subprocess.Popen([sys.executable, "-c", code, *map(str, libraries)], stdout=subprocess.PIPE)
        child.stdout.readline()
        time.sleep(moments.uniform(0.0, 0.25))
        child.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        child.communicate()
        versions = whole(folder)
        assert len(versions) >= seen
        seen = len(versions)
    for library in libraries:
        publish(library, str(folder))
    assert len(whole(folder)) == len(libraries)


def test_readers_never_see_a_pointer_to_nothing(make_library, tmp_path):
    folder = tmp_path / "out"
    libraries = [make_library(version=f"1.{number}.0") for number in range(8)]
    over = threading.Event()
    failures, looks = [], []

    def read() -> None:
        while not over.is_set():
            try:
                if (folder / "index.json").exists():
                    index = parse_index((folder / "index.json").read_bytes())
                    for release in index.libraries["coalescent"].versions.values():
                        assert sha256_file(folder / release.artefacts[0].file) == release.artefacts[0].sha256
                    looks.append(len(index.libraries["coalescent"].versions))
            except BaseException as error:
                failures.append(error)
                return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for library in libraries:
            publish(library, str(folder))
    finally:
        over.set()
        reader.join()
    assert failures == []
    assert looks


@pytest.mark.parametrize("place", ["file", "s3", "gcs", "azure"], indirect=True)
def test_two_publishers_at_once_lose_nothing(place, make_library):
    to, index = place
    libraries = [make_library(f"library{number}") for number in range(6)]
    failures = []

    def work(library: Path) -> None:
        try:
            publish(library, to)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(library,)) for library in libraries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(read_index(index)[0].libraries) == [f"library{number}" for number in range(6)]


@pytest.mark.parametrize("place", ["file", "s3", "gcs", "azure"], indirect=True)
def test_the_same_library_published_by_many_at_once(place, make_library, tmp_path):
    to, index = place
    library = make_library()
    failures = []

    def work() -> None:
        try:
            publish(library, to)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    check_library(install_model_library("coalescent", index=index, cache_dir=tmp_path / "cache").path)


def test_a_store_without_conditional_writes(make_library, tmp_path, monkeypatch):
    """The engine's store for local folders has none for updates; publishing goes on, without their protection."""
    (tmp_path / "out").mkdir()
    folder = ObjectFolder(LocalStore(tmp_path / "out"), "", "store://out", TransferOptions())
    monkeypatch.setattr(publishing, "open_target", lambda *_: ObjectTarget(folder))
    for version in ("1.0.0", "1.1.0"):
        assert publish(make_library(version=version), "anything").changed
        assert not publish(make_library(version=version), "anything").changed
    assert whole(tmp_path / "out") == ["1.1.0", "1.0.0"]
    with pytest.raises(LibraryError):
        publish(make_library(models=3), "anything")


# -- GitHub -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def token(github, clean_environment):
    clean_environment.setenv("GITHUB_TOKEN", github.token)
    return github


def test_a_github_release(token, make_library, tmp_path):
    done = publish(make_library(), f"github:{REPO}@v1.0.0")
    assert token.names(REPO, "v1.0.0") == ["SHA256SUMS", NAME, "index.json"]
    assert done.url == f"{token.url}/{REPO}/releases/download/v1.0.0/{NAME}"
    assert read_checksums(token.content(REPO, "v1.0.0", "SHA256SUMS").decode()) == {NAME: done.sha256}
    publish(make_library(version="1.1.0"), f"github:{REPO}@v1.1.0")
    latest = f"{token.url}/{REPO}/releases/latest/download/index.json"
    index, _ = read_index(latest)
    assert list(index.libraries["coalescent"].versions) == ["1.1.0", "1.0.0"], "the new release continues the index"
    for version in ("1.0.0", "1.1.0"):
        check_library(install_model_library("coalescent", version, index=latest, cache_dir=tmp_path / "c").path)


def test_a_new_release_is_seen_only_when_it_is_complete(token, make_library, monkeypatch):
    publish(make_library(), f"github:{REPO}@v1.0.0")
    latest = f"{token.url}/{REPO}/releases/latest/download/index.json"
    original = GitHubTarget.change

    def look(self, name, by):
        index, _ = read_index(latest)
        assert list(index.libraries["coalescent"].versions) == ["1.0.0"]
        return original(self, name, by)

    monkeypatch.setattr(GitHubTarget, "change", look)
    publish(make_library(version="1.1.0"), f"github:{REPO}@v1.1.0")
    assert list(read_index(latest)[0].libraries["coalescent"].versions) == ["1.1.0", "1.0.0"]


def test_a_release_that_others_attach_continues_the_index(github, make_release, tmp_path):
    """What the release workflow does: the index is written beside the tarballs, and all is attached as it is."""
    latest = f"{github.url}/{REPO}/releases/latest/download/index.json"
    github.attach(REPO, "v1.0.0", make_release("1.0.0"))  # with addresses relative to this release
    folder = make_release("1.1.0")
    publishing.write_github_index(folder, REPO, "v1.1.0", mirrors=["https://mirror.example/models"])
    github.attach(REPO, "v1.1.0", folder)
    index, _ = read_index(latest)
    versions = index.libraries["coalescent"].versions
    home = f"{github.url}/{REPO}/releases/download"
    assert versions["1.0.0"].artefacts[0].urls == [f"{home}/v1.0.0/{NAME}"]
    newer = NAME.replace("1.0.0", "1.1.0")
    assert versions["1.1.0"].artefacts[0].urls == [
        f"{home}/v1.1.0/{newer}",
        f"https://mirror.example/models/{newer}",
        newer,
    ]
    for version in ("1.0.0", "1.1.0"):
        check_library(install_model_library("coalescent", version, index=latest, cache_dir=tmp_path / "c").path)


def test_github_without_a_token(github, make_library):
    with pytest.raises(DownloadError, match="GITHUB_TOKEN"):
        publish(make_library(), f"github:{REPO}@v1.0.0")
    assert github.log == []


def test_github_with_a_wrong_token(github, make_library, clean_environment):
    clean_environment.setenv("GITHUB_TOKEN", "wrong")
    with pytest.raises(DownloadError, match="401"):
        publish(make_library(), f"github:{REPO}@v1.0.0")


def test_github_that_limits_its_rate(token, make_library):
    token.limits.update({"GET": 2, "POST": 2})
    publish(make_library(), f"github:{REPO}@v1.0.0")
    assert token.names(REPO, "v1.0.0") == ["SHA256SUMS", NAME, "index.json"]


@pytest.mark.parametrize("header", ["Retry-After", "X-RateLimit-Reset"])
def test_github_says_for_how_long(token, make_library, monkeypatch, header):
    waits = []
    clock = SimpleNamespace(sleep=waits.append, time=time.time)
    monkeypatch.setattr("phasic_models.remote.retrying.time", clock)
    token.limits["GET"] = 1
    token.limit_headers[header] = "9" if header == "Retry-After" else str(int(time.time()) + 9)
    publish(make_library(), f"github:{REPO}@v1.0.0")
    assert max(waits) == pytest.approx(9, abs=2)
    token.limits["GET"] = 1
    token.limit_headers[header] = "3600" if header == "Retry-After" else str(int(time.time()) + 3600)
    with pytest.raises(DownloadError, match=r"asks to come back in 3,\d{3} seconds"):
        publish(make_library(version="1.1.0"), f"github:{REPO}@v1.1.0")


def test_an_upload_that_broke_off_is_cleared_away(token, make_library):
    token.break_uploads = 1
    with pytest.raises(DownloadError, match=r"400|broke off"):
        publish(make_library(), f"github:{REPO}@v1.0.0")
    publish(make_library(), f"github:{REPO}@v1.0.0")
    assert token.names(REPO, "v1.0.0") == ["SHA256SUMS", NAME, "index.json"]


def test_an_index_that_was_being_replaced_is_found_again(token, make_library):
    publish(make_library(), f"github:{REPO}@v1")
    [asset] = [a for a in token.releases[f"{REPO}@v1"]["assets"] if a["name"] == "index.json"]
    asset["name"] = "index.json.new-0123456789abcdef"
    publish(make_library(version="1.1.0"), f"github:{REPO}@v1")
    index = parse_index(token.content(REPO, "v1", "index.json"))
    assert list(index.libraries["coalescent"].versions) == ["1.1.0", "1.0.0"]
    assert not [name for name in token.names(REPO, "v1") if ".new-" in name]


def test_the_token_stays_with_github(token, make_library):
    publish(make_library(), f"github:{REPO}@v1")
    publish(make_library(version="1.1.0"), f"github:{REPO}@v1")
    assert all("authorization" not in headers for _, _, headers in token.storage.requests)
    assert token.storage.requests


def test_a_server_that_is_not_github(site, make_library, clean_environment):
    clean_environment.setenv("GITHUB_API_URL", site.url)
    clean_environment.setenv("GITHUB_TOKEN", "x")
    site.serve(f"/repos/{REPO}/releases/tags/v1", b"<html>")
    with pytest.raises(DownloadError, match="not GitHub's API"):
        publish(make_library(), f"github:{REPO}@v1")


def test_the_index_document_is_readable(make_library, tmp_path):
    publish(make_library(), str(tmp_path / "out"))
    text = (tmp_path / "out" / "index.json").read_text()
    assert text.endswith("}\n")
    assert list(json.loads(text)) == ["index_version", "libraries", "checksum"]
    assert os.linesep == "\n" or "\r" not in text
