"""Installing libraries, and copying cache folders to and from S3, Google Cloud Storage and Azure, against real servers."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.request
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import msgspec
import obstore
import obstore.store
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasic_models.cache.installation import check_library, install_archive, install_folder
from phasic_models.cloud_cache import (
    AzureBlobBackend,
    GCSBackend,
    S3Backend,
    download_from_github_release,
    download_from_url,
    install_model_library,
)
from phasic_models.errors import (
    CompatibilityError,
    DownloadError,
    FormatError,
    ModelNotFoundError,
    OfflineError,
    ParameterError,
)
from phasic_models.files import staging
from phasic_models.files.archive import make_tarball
from phasic_models.files.checksums import sha256_file
from phasic_models.files.names import path_problem
from phasic_models.files.staging import move_in
from phasic_models.formats import read_manifest, write_manifest
from phasic_models.formats.release_index import Index, LibraryEntry, encode_index, parse_index
from phasic_models.remote.folders import ObjectFolder, download_folder, upload
from phasic_models.remote.options import TransferOptions

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("clean_environment", "quick")]


@pytest.fixture
def root(tmp_path) -> Path:
    """A cache root of one's own."""
    return tmp_path / "cache root"


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def nothing_left(root: Path) -> None:
    """No temporary file or folder of ours is left below a cache root."""
    assert [path for path in root.rglob("*") if path.name.startswith(".tmp")] == []


def tarball(target: Path, members: dict[str, bytes], *entries: tarfile.TarInfo) -> Path:
    with tarfile.open(target, "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, BytesIO(content))
        for entry in entries:
            archive.addfile(entry)
    return target


# -- install_model_library --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["folder", "file address", "http", "https"])
def test_install_from_an_index(request, make_release, root, authority, monkeypatch, form):
    release = make_release("1.0.0", "1.1.0")
    if form == "folder":
        index: object = release
    elif form == "file address":
        index = (release / "index.json").as_uri()
    else:
        server = request.getfixturevalue("site" if form == "http" else "secure_site")
        index = server.serve_folder(release, "/models/")
        monkeypatch.setenv("PHASIC_MODELS_CA_BUNDLE", str(authority.pem))
    seen = []
    done = install_model_library("coalescent", index=index, cache_dir=root, progress=lambda *call: seen.append(call))
    assert (done.category, done.version, done.changed) == ("coalescent", "1.1.0", True)
    assert Path(done) == done.path == root / "symbolic" / "coalescent"
    assert check_library(done.path).version == "1.1.0"
    assert seen[-1][0] == "coalescent_models_v1.1.0.tar.gz"
    assert seen[-1][1] == seen[-1][2]
    nothing_left(root)


def test_the_default_place_is_the_home(make_release, clean_environment, tmp_path):
    clean_environment.setenv("PHASIC_MODELS_INDEX", str(make_release("1.0.0")))
    assert install_model_library("coalescent").path == tmp_path / "home" / ".phasic_cache" / "symbolic" / "coalescent"
    clean_environment.setenv("PHASIC_CACHE_DIR", str(tmp_path / "other"))
    assert install_model_library("coalescent").path == tmp_path / "other" / "symbolic" / "coalescent"


def test_no_archive_unpacks_to_more_than_the_index_says(make_release, root):
    release = make_release("1.0.0")
    index = parse_index((release / "index.json").read_bytes())
    library = index.libraries["coalescent"]
    [artefact] = library.versions["1.0.0"].artefacts
    smaller = msgspec.structs.replace(artefact, unpacked_size=artefact.unpacked_size - 1)
    version = msgspec.structs.replace(library.versions["1.0.0"], artefacts=[smaller])
    changed = Index(libraries={"coalescent": LibraryEntry(versions={"1.0.0": version})})
    (release / "index.json").write_bytes(encode_index(changed))
    with pytest.raises(FormatError, match="unpacks to more than"):
        install_model_library("coalescent", index=release, cache_dir=root)
    assert files_of(root) == {}
    (release / "index.json").write_bytes(encode_index(index))
    install_model_library("coalescent", index=release, cache_dir=root)


def test_what_is_installed_and_right_is_not_fetched_again(site, make_release, root):
    index = site.serve_folder(make_release("1.0.0"))
    install_model_library("coalescent", index=index, cache_dir=root)
    again = install_model_library("coalescent", index=index, cache_dir=root)
    assert not again.changed
    assert site.count("/coalescent_models_v1.0.0.tar.gz") == 1


def test_what_is_installed_and_damaged_is_fetched_again(site, make_release, root):
    index = site.serve_folder(make_release("1.0.0"))
    path = install_model_library("coalescent", index=index, cache_dir=root).path
    (path / "n_samples_0.json").write_bytes(b"damaged")
    again = install_model_library("coalescent", index=index, cache_dir=root)
    assert again.changed
    check_library(path)
    nothing_left(root)


def test_versions_up_and_down(make_release, root):
    index = make_release("1.0.0", "1.2.0", "2.0.0")
    for requirement, expected in (("coalescent", "2.0.0"), ("coalescent==1.0.0", "1.0.0"), ("coalescent<2", "1.2.0")):
        done = install_model_library(requirement, index=index, cache_dir=root)
        assert read_manifest(done.path / "manifest.json").version == done.version == expected
        check_library(done.path)
        nothing_left(root)
    assert install_model_library("coalescent", version=">=1,<2", index=index, cache_dir=root).version == "1.2.0"
    assert ("2.0.0", "it is not <2") in install_model_library("coalescent<2", index=index, cache_dir=root).passed_over


def test_errors_name_what_to_do(make_release, root):
    index = make_release("1.0.0", phasic_models_min_version="99.0.0")
    with pytest.raises(ModelNotFoundError, match="did you mean coalescent"):
        install_model_library("coalesent", index=index, cache_dir=root)
    with pytest.raises(DownloadError, match=r"no-such\.json"):
        install_model_library("coalescent", index=root / "no-such.json", cache_dir=root)
    (root).mkdir(exist_ok=True)
    assert list(root.iterdir()) == []


def test_an_incompatible_library_is_not_installed(make_release, root, tmp_path, monkeypatch):
    distribution = tmp_path / "phasic-0.10.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: phasic\nVersion: 0.10.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    index = make_release("1.0.0", phasic_min_version="0.21.0", phasic_max_version="0.32.x")
    with pytest.raises(CompatibilityError, match=r"needs phasic >=0\.21,<0\.33 and 0\.10\.0 is installed"):
        install_model_library("coalescent", index=index, cache_dir=root)
    assert not root.exists()


def test_mirrors_in_order_and_a_replaced_artefact(site, make_release, root):
    name = "coalescent_models_v1.0.0.tar.gz"
    release = make_release("1.0.0", mirrors=(f"{site.url}/mirror", f"{site.url}/other"))
    index = site.serve_folder(release, "/home/") + "index.json"
    good = (release / name).read_bytes()
    site.serve(f"/mirror/{name}", b"x" * len(good))
    site.serve(f"/other/{name}", statuses=[404])
    done = install_model_library("coalescent", index=index, cache_dir=root)
    check_library(done.path)
    assert [site.count(f"/{place}/{name}") for place in ("mirror", "other", "home")] == [1, 1, 1]
    site.serve(f"/home/{name}", b"y" * len(good))
    shutil.rmtree(root)
    with pytest.raises(DownloadError, match="replaced after publication") as caught:
        install_model_library("coalescent", index=index, cache_dir=root)
    assert hashlib.sha256(good).hexdigest() in str(caught.value)
    assert not (root / "symbolic" / "coalescent").exists()
    nothing_left(root)


def test_a_failed_install_leaves_what_was_there(site, make_release, root):
    first = install_model_library("coalescent", index=make_release("1.0.0"), cache_dir=root)
    before = files_of(first.path)
    release = make_release("2.0.0")
    index = site.serve_folder(release)
    name = "coalescent_models_v2.0.0.tar.gz"
    for page in (
        {"content": b"short"},
        {"content": (release / name).read_bytes(), "statuses": [500] * 50},
        {"content": b"<html><title>Log in</title></html>", "content_type": "text/html"},
        {"statuses": [404] * 50},
    ):
        site.serve(f"/{name}", **page)
        with pytest.raises(DownloadError):
            install_model_library("coalescent", index=index, cache_dir=root)
        assert files_of(first.path) == before
        nothing_left(root / "symbolic")


def test_an_interrupted_download_is_taken_up(site, make_release, root, clean_environment):
    clean_environment.setenv("PHASIC_MODELS_RETRIES", "0")
    release = make_release("1.0.0", models=30)
    name = "coalescent_models_v1.0.0.tar.gz"
    index = site.serve_folder(release)
    site.pages[f"/{name}"].cut_after = 500
    with pytest.raises(DownloadError, match="cut off"):
        install_model_library("coalescent", index=index, cache_dir=root)
    # Less than a piece arrived, so the second run begins anew; what matters is that it comes through.
    done = install_model_library("coalescent", index=index, cache_dir=root)
    assert len(check_library(done.path).manifest.models) == 30
    nothing_left(root)


def test_offline(site, make_release, root, clean_environment):
    index = site.serve_folder(make_release("1.0.0")) + "index.json"
    clean_environment.setenv("PHASIC_MODELS_OFFLINE", "1")
    with pytest.raises(OfflineError, match=r"coalescent is not installed and the network is switched off"):
        install_model_library("coalescent", index=index, cache_dir=root)
    with pytest.raises(OfflineError):
        install_model_library("coalescent", cache_dir=root)
    assert site.requests == []
    install_model_library("coalescent", index=index, cache_dir=root, offline=False)
    asked = len(site.requests)
    found = install_model_library("coalescent>=1", index=index, cache_dir=root)
    assert (found.version, found.changed, len(site.requests)) == ("1.0.0", False, asked)
    with pytest.raises(OfflineError, match=r"coalescent 1\.0\.0 is installed in"):
        install_model_library("coalescent>=2", index=index, cache_dir=root)
    assert install_model_library("queuing", index=make_release("1.0.0", category="queuing"), cache_dir=root).changed


def test_no_room_on_the_disk(make_release, root, monkeypatch):
    index = make_release("1.0.0")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DownloadError, match=r"coalescent_models_v1\.0\.0\.tar\.gz: it needs [\d,]+ bytes"):
        install_model_library("coalescent", index=index, cache_dir=root)
    assert files_of(root) == {}
    nothing_left(root)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind an administrator")
def test_a_folder_that_may_not_be_written(make_release, root):
    root.mkdir(mode=0o500)
    with pytest.raises(DownloadError, match="PHASIC_CACHE_DIR"):
        install_model_library("coalescent", index=make_release("1.0.0"), cache_dir=root)


def test_a_place_that_is_a_file(make_release, root):
    root.write_text("in the way")
    with pytest.raises(DownloadError, match=r"cannot write to .*PHASIC_CACHE_DIR"):
        install_model_library("coalescent", index=make_release("1.0.0"), cache_dir=root)
    assert root.read_text() == "in the way"


def test_a_copy_that_is_found_first_is_named(make_release, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    packaged = tmp_path / "environment" / "share" / "phasic_cache"
    install_model_library("coalescent", index=make_release("1.0.0"), cache_dir=packaged)
    newer = make_release("1.1.0")
    done = install_model_library("coalescent", index=newer)
    assert done.changed
    assert done.shadowed_by == packaged / "symbolic" / "coalescent"
    same = install_model_library("coalescent", index=make_release("1.0.0"))
    assert not same.changed, "the environment's own copy is the wanted one"
    assert same.path == packaged / "symbolic" / "coalescent"


def test_many_at_once(site, make_release, root):
    index = site.serve_folder(make_release("1.0.0", "2.0.0")) + "index.json"
    failures = []

    def work(number: int) -> None:
        try:
            for _ in range(3):
                install_model_library(f"coalescent=={1 + number % 2}.0.0", index=index, cache_dir=root)
                assert check_any(root / "symbolic" / "coalescent") in ("1.0.0", "2.0.0")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    check_library(root / "symbolic" / "coalescent")
    nothing_left(root)


def check_any(folder: Path) -> str:
    """Read a library that others replace all the time: every file that is opened by its folder is of one version."""
    if not hasattr(os, "O_DIRECTORY"):
        return read_manifest(folder / "manifest.json").version
    for _ in range(100):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.fdopen(os.open("manifest.json", os.O_RDONLY, dir_fd=handle), "rb") as stream:
                manifest = stream.read()
            with os.fdopen(os.open("n_samples_0.json", os.O_RDONLY, dir_fd=handle), "rb") as stream:
                model = stream.read()
        except FileNotFoundError:
            # This copy was replaced and is being removed; the next opening finds the new one.
            continue
        finally:
            os.close(handle)
        version = model.decode().split()[1]
        assert f'"version": "{version}"'.encode() in manifest
        return version
    raise AssertionError("the library was never there")


#: How often a process is killed at a random moment; PHASIC_TEST_KILLS=200 for the long run.
KILLS = int(os.environ.get("PHASIC_TEST_KILLS", "6"))


def test_killed_at_any_moment(site, make_release, root):
    """After a kill the old version is there or the new one, whole; the next run completes and tidies up."""
    release = make_release("1.0.0", "2.0.0", models=6)
    index = site.serve_folder(release) + "index.json"
    install_model_library("coalescent==1.0.0", index=index, cache_dir=root)
    library = root / "symbolic" / "coalescent"
    code = (
        "import sys; from phasic_models.cloud_cache import install_model_library as go; print('ready', flush=True)\n"
        f"for version in ('2.0.0', '1.0.0') * 500: go('coalescent', version, index={index!r}, cache_dir={str(root)!r})"
    )
    moments = random.Random(2026)
    for _ in range(KILLS):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        child.stdout.readline()
        time.sleep(moments.uniform(0.0, 0.25))
        child.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        child.communicate()
        check_library(library)
    for folder in (root / "symbolic").glob(".tmp-*"):
        os.utime(folder, (0, 0))
    install_model_library("coalescent==2.0.0", index=index, cache_dir=root)
    install_model_library("coalescent==1.0.0", index=index, cache_dir=root)
    assert check_library(library).version == "1.0.0"
    assert list((root / "symbolic").glob(".tmp-*")) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_installed_files_can_be_read_by_others(make_release, root):
    path = install_model_library("coalescent", index=make_release("1.0.0"), cache_dir=root).path
    mask = os.umask(0)
    os.umask(mask)
    for file in path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE(path.stat().st_mode) == 0o777 & ~mask


# -- archives and folders ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("top", ["", "./", "coalescent/", "any folder/deeper/"])
def test_layouts_of_archives(make_library, tmp_path, root, top):
    library = make_library()
    archive = tarball(tmp_path / "x.tar.gz", {top + path.name: path.read_bytes() for path in library.iterdir()})
    [done] = install_archive(archive, root / "symbolic")
    assert files_of(done.path) == files_of(library)


def test_two_libraries_in_one_archive(make_library, tmp_path, root):
    members = {}
    for category in ("coalescent", "queuing"):
        members |= {f"{category}/{path.name}": path.read_bytes() for path in make_library(category).iterdir()}
    done = install_archive(tarball(tmp_path / "x.tar.gz", members), root / "symbolic")
    assert [library.category for library in done] == ["coalescent", "queuing"]
    members["more/manifest.json"] = members["queuing/manifest.json"]
    members |= {name.replace("queuing/", "more/"): data for name, data in members.items() if "queuing/" in name}
    with pytest.raises(FormatError, match="the same library twice"):
        install_archive(tarball(tmp_path / "y.tar.gz", members), root / "symbolic")


def test_junk_of_macos_is_dropped(make_library, tmp_path, root):
    library = make_library()
    members = {f"coalescent/{path.name}": path.read_bytes() for path in library.iterdir()}
    members |= {"coalescent/._manifest.json": b"x", "coalescent/.DS_Store": b"x", "__MACOSX/coalescent/._a.json": b"x"}
    members |= {"._coalescent": b"x"}
    [done] = install_archive(tarball(tmp_path / "x.tar.gz", members), root / "symbolic")
    assert files_of(done.path) == files_of(library)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


@pytest.mark.parametrize(
    "entry",
    [
        link("coalescent/n.json", "/etc/passwd"),
        link("coalescent", "../../outside"),
        link("coalescent/n.json", "../../outside", tarfile.LNKTYPE),
        link("coalescent/device", "", tarfile.CHRTYPE),
        tarfile.TarInfo("../outside.json"),
        tarfile.TarInfo("/tmp/outside.json"),
        tarfile.TarInfo("coalescent/../../outside.json"),
    ],
    ids=lambda entry: f"{entry.name} {entry.linkname}",
)
def test_unsafe_archives_are_refused(make_library, tmp_path, root, entry):
    before = install_folder(make_library(version="0.9.0"), root / "symbolic")
    members = {f"coalescent/{path.name}": path.read_bytes() for path in make_library().iterdir()}
    with pytest.raises(FormatError, match=r"x\.tar\.gz"):
        install_archive(tarball(tmp_path / "x.tar.gz", members, entry), root / "symbolic")
    assert check_library(before.path).version == "0.9.0"
    nothing_left(root)
    assert not list(tmp_path.rglob("outside*"))


def spoil(library: Path, how: str) -> None:
    model = library / "n_samples_0.json"
    if how == "altered":
        model.write_bytes(model.read_bytes().replace(b"n_samples", b"N_samples"))
    elif how == "missing":
        model.unlink()
    elif how == "added":
        (library / "unlisted.safetensors").write_bytes(b"x")
    elif how == "category":
        manifest = library / "manifest.json"
        manifest.write_bytes(manifest.read_bytes().replace(b'"category": "coalescent"', b'"category": "../escape"'))
    elif how == "manifest":
        (library / "manifest.json").write_bytes(b"{")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("altered", "n_samples_0.json.*altered or damaged"),
        ("missing", "n_samples_0.json: missing"),
        ("added", "unlisted.safetensors is not in the manifest"),
        ("category", "escape"),
        ("manifest", "not valid JSON"),
    ],
)
def test_every_file_is_checked_against_the_manifest(make_library, tmp_path, root, how, words):
    library = make_library()
    spoil(library, how)
    archive = make_tarball(library, tmp_path / "x.tar.gz")
    with pytest.raises(FormatError, match=words):
        install_archive(archive, root / "symbolic")
    with pytest.raises(FormatError, match=words):
        install_folder(library, root / "symbolic")
    assert files_of(root) == {}


def test_an_archive_without_a_manifest(tmp_path, root):
    with pytest.raises(FormatError, match=r"x\.tar\.gz: it holds no manifest\.json"):
        install_archive(tarball(tmp_path / "x.tar.gz", {"a.json": b"{}"}), root / "symbolic")


def test_where_folders_cannot_be_exchanged(make_library, root, monkeypatch):
    """On Windows and some network file systems the old folder is moved away first, and comes back if that fails."""
    monkeypatch.setattr(staging, "_exchange", lambda *_: False)
    symbolic = root / "symbolic"
    install_folder(make_library(version="1.0.0"), symbolic)
    install_folder(make_library(version="2.0.0"), symbolic)
    assert check_library(symbolic / "coalescent").version == "2.0.0"
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name == "copy":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="Input/output error"):
        install_folder(make_library(version="3.0.0"), symbolic)
    assert check_library(symbolic / "coalescent").version == "2.0.0"
    nothing_left(root)


def test_a_link_in_place_of_a_library_is_replaced_and_its_target_kept(make_library, tmp_path, root):
    elsewhere = install_folder(make_library(version="1.0.0"), tmp_path / "elsewhere").path
    (root / "symbolic").mkdir(parents=True)
    try:
        (root / "symbolic" / "coalescent").symlink_to(elsewhere, target_is_directory=True)
    except OSError:
        pytest.skip("this system allows no symbolic links")
    install_folder(make_library(version="2.0.0"), root / "symbolic")
    assert not (root / "symbolic" / "coalescent").is_symlink()
    assert check_library(root / "symbolic" / "coalescent").version == "2.0.0"
    assert check_library(elsewhere).version == "1.0.0"


def test_hard_links_to_installed_files_keep_their_content(make_library, tmp_path, root):
    path = install_folder(make_library(version="1.0.0"), root / "symbolic").path
    twin = tmp_path / "twin.json"
    os.link(path / "n_samples_0.json", twin)
    before = twin.read_bytes()
    install_folder(make_library(version="2.0.0"), root / "symbolic")
    assert twin.read_bytes() == before


def test_move_in_to_an_empty_place(tmp_path):
    (tmp_path / "new").mkdir()
    move_in(tmp_path / "new", tmp_path / "target", aside=tmp_path / "aside")
    assert (tmp_path / "target").is_dir()
    assert not (tmp_path / "aside").exists()


# -- download_from_url, download_from_github_release ------------------------------------------------------------------


def test_from_an_address(site, make_release, root, tmp_path):
    release = make_release("1.0.0")
    name = "coalescent_models_v1.0.0.tar.gz"
    url = site.serve_folder(release) + name
    [done] = download_from_url(url, extract_to=root / "symbolic", verify_checksum=sha256_file(release / name))
    assert check_library(done.path).version == "1.0.0"
    assert download_from_url(url, output_path=tmp_path / "kept.tar.gz") == tmp_path / "kept.tar.gz"
    [again] = download_from_url(url, output_path=tmp_path / "kept.tar.gz", extract_to=root / "symbolic")
    assert again.path == done.path
    [home] = download_from_url(str(release / name))
    assert home.path == tmp_path / "home" / ".phasic_cache" / "symbolic" / "coalescent"
    with pytest.raises(DownloadError, match="SHA-256"):
        download_from_url(url, extract_to=root / "symbolic", verify_checksum="0" * 64)
    nothing_left(root)


def test_from_a_page_that_is_no_archive(site, root):
    url = site.serve("/x.tar.gz", b"{}")
    with pytest.raises(FormatError, match=rf"{url}: not a complete \.tar\.gz"):
        download_from_url(url, extract_to=root / "symbolic")


@pytest.mark.parametrize("tag", ["v1.0.0", "latest"])
def test_from_a_github_release(github, make_release, root, tag):
    release = make_release("1.0.0")
    github.attach("munch-group/phasic-models", "v1.0.0", release)
    name = "coalescent_models_v1.0.0.tar.gz"
    [done] = download_from_github_release("munch-group/phasic-models", tag, name, extract_to=root / "symbolic")
    check_library(done.path)
    with pytest.raises(DownloadError, match="does not exist"):
        download_from_github_release("munch-group/phasic-models", "v9", name, extract_to=root / "symbolic")
    with pytest.raises(FormatError, match=r"lists no other\.tar\.gz; it has coalescent_models"):
        download_from_github_release("munch-group/phasic-models", tag, "other.tar.gz", extract_to=root / "symbolic")


def test_the_release_s_own_checksums_are_used(github, make_release, root):
    release = make_release("1.0.0")
    name = "coalescent_models_v1.0.0.tar.gz"
    sums = release / "SHA256SUMS"
    right = sums.read_text()
    sums.write_text("0" * 64 + right[64:])
    github.attach("munch-group/phasic-models", "v1.0.0", release)
    with pytest.raises(DownloadError, match="SHA-256"):
        download_from_github_release("munch-group/phasic-models", "v1.0.0", name, extract_to=root / "symbolic")
    checksum = right.split()[0]
    assert download_from_github_release("munch-group/phasic-models", "v1.0.0", name, root / "symbolic", checksum)
    sums.rename(release / f"{name}.sha256")
    github.attach("munch-group/phasic-models", "v1.0.2", release)
    with pytest.raises(DownloadError, match="SHA-256"):
        download_from_github_release("munch-group/phasic-models", "v1.0.2", name, extract_to=root / "symbolic")
    (release / f"{name}.sha256").unlink()
    github.attach("munch-group/phasic-models", "v1.0.1", release)
    assert download_from_github_release("munch-group/phasic-models", "v1.0.1", name, root / "symbolic")


def test_a_private_repository(github, make_release, root, clean_environment):
    github.attach("my-org/models", "v1.0.0", make_release("1.0.0"))
    github.private = True
    arguments = ("my-org/models", "v1.0.0", "coalescent_models_v1.0.0.tar.gz", root / "symbolic")
    with pytest.raises(DownloadError, match="does not exist"):
        download_from_github_release(*arguments)
    clean_environment.setenv("GITHUB_TOKEN", github.token)
    [done] = download_from_github_release(*arguments)
    check_library(done.path)
    assert all("authorization" not in headers for _, _, headers in github.storage.requests), (
        "the token is GitHub's alone"
    )


def test_a_bad_token_does_not_hide_public_files(github, make_release, root, clean_environment):
    github.attach("my-org/models", "v1.0.0", make_release("1.0.0"))
    clean_environment.setenv("GH_TOKEN", "expired")
    assert download_from_github_release("my-org/models", "v1.0.0", "coalescent_models_v1.0.0.tar.gz", root / "symbolic")


def test_github_offline_and_names(github, root):
    with pytest.raises(OfflineError):
        download_from_github_release("a/b", "v1", "x.tar.gz", root, offline=True)
    for wrong in ("a", "a/b/c", "https://github.com/a/b", "../b"):
        with pytest.raises(DownloadError, match="owner/name"):
            download_from_github_release(wrong, "v1", "x.tar.gz", root)
    assert github.log == []


def test_the_default_index_is_the_project_s_release(github, make_release, root, monkeypatch):
    """With a server that stands for github.com: index.json and tarballs are plain release files."""
    release = make_release("1.0.0")
    github.attach("munch-group/phasic-models", "v1.0.0", release)
    address = f"{github.url}/munch-group/phasic-models/releases/latest/download/index.json"
    monkeypatch.setattr("phasic_models.remote.index_sources.DEFAULT_INDEX", address)
    check_library(install_model_library("coalescent", cache_dir=root).path)


# -- buckets ----------------------------------------------------------------------------------------------------------


def put(url: str, content: bytes) -> None:
    """Send a request past the engine, which escapes what a hostile server would not."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, data=content, method="PUT"), timeout=10):
        pass


def backend(bucket, prefix: str = ""):
    kinds = {"s3": S3Backend, "gs": GCSBackend, "az": AzureBlobBackend}
    return kinds[bucket.scheme](bucket.name, prefix)


def test_there_and_back(bucket, make_library, root, tmp_path):
    library = make_library()
    (library / ".hidden").write_text("x")
    (library / "._junk").write_text("x")
    sent = backend(bucket, "v1.0.0/").upload_cache(library, remote_prefix="coalescent/")
    assert len(sent.transferred) == 8
    assert sent.skipped == []
    assert backend(bucket).list_files() == sorted(
        f"v1.0.0/coalescent/{name}" for name in [*sent.transferred, "SHA256SUMS"]
    )
    seen = []
    there = backend(bucket, "v1.0.0/coalescent/")
    got = there.download_cache(root / "symbolic", progress=lambda *call: seen.append(call))
    (library / ".hidden").unlink()
    (library / "._junk").unlink()
    assert files_of(root) == {f"symbolic/coalescent/{name}": data for name, data in files_of(library).items()}
    assert got.bytes == sum(map(len, files_of(library).values()))
    assert seen[-1] == ("download", got.bytes, got.bytes)
    nothing_left(root)
    again = there.download_cache(root / "symbolic")
    assert (again.transferred, again.bytes, len(again.skipped)) == ([], 0, 8)


def test_only_what_changed_is_sent(bucket, make_library, root):
    library = make_library()
    there = backend(bucket, "models")
    there.upload_cache(library)
    assert there.upload_cache(library).transferred == []
    changed = make_library(version="1.1.0", models=3)
    kept = library / "n_samples_0.json"
    shutil.copy(kept, changed / kept.name)
    manifest = read_manifest(changed / "manifest.json")
    manifest.checksums[kept.name] = "sha256:" + sha256_file(kept)
    write_manifest(changed / "manifest.json", manifest)
    sent = there.upload_cache(changed)
    assert sent.skipped == ["n_samples_0.json"]
    there.download_cache(root / "symbolic")
    assert check_library(root / "symbolic" / "coalescent").version == "1.1.0"
    # The old version is there and right in part: only the rest is fetched.
    (root / "symbolic" / "coalescent" / "n_samples_1.json").write_bytes(b"damaged")
    assert there.download_cache(root / "symbolic").bytes == (changed / "n_samples_1.json").stat().st_size
    assert check_library(root / "symbolic" / "coalescent").version == "1.1.0"


def test_a_whole_cache_of_an_organisation(bucket, make_library, root, tmp_path):
    """Own entries and libraries, sent from a folder 'symbolic' and fetched with the same backend (as in the guide)."""
    symbolic = tmp_path / "mine" / "symbolic"
    install_folder(make_library("coalescent"), symbolic)
    install_folder(make_library("queuing"), symbolic)
    key = "ab" * 32
    (symbolic / f"{key}.json").write_text("{}")
    there = backend(bucket, "phasic/")
    there.upload_cache(local_cache_dir=symbolic, remote_prefix="symbolic/")
    there.download_cache(local_cache_dir=root / "symbolic")
    assert files_of(root / "symbolic") == files_of(symbolic)


def test_damage_in_the_bucket_is_found_and_nothing_changes(bucket, make_library, root):
    there = backend(bucket, "models")
    there.upload_cache(make_library(version="1.0.0"))
    there.download_cache(root / "symbolic")
    before = files_of(root)
    there.upload_cache(make_library(version="2.0.0"))
    folder = there._folder("", writing=True)
    good = folder.read("n_samples_1.json")[0]
    folder.write("n_samples_1.json", bytes(reversed(good)))
    with pytest.raises(DownloadError, match=r"n_samples_1\.json.*SHA-256"):
        there.download_cache(root / "symbolic")
    assert files_of(root) == before
    folder.write("n_samples_1.json", good[:-10])
    with pytest.raises(DownloadError, match=r"n_samples_1\.json"):
        there.download_cache(root / "symbolic")
    assert files_of(root) == before


def test_a_bucket_without_checksums_still_goes_by_the_manifest(s3, make_library, root):
    there = backend(s3, "models")
    library = make_library()
    folder = there._folder("", writing=True)
    for path in library.iterdir():
        folder.write(path.name, path)
    there.download_cache(root / "symbolic")
    assert files_of(root / "symbolic" / "coalescent") == files_of(library)
    folder.write("n_samples_1.json", b"other")
    with pytest.raises(FormatError, match=r"n_samples_1\.json: altered"):
        there.download_cache(root / "symbolic")
    assert files_of(root / "symbolic" / "coalescent") == files_of(library)


@pytest.mark.parametrize("cloud", ["s3", "azure"])
def test_large_files_go_in_parts(request, cloud, make_library, root, monkeypatch):
    """The emulator of Google's cloud has no uploads in parts."""
    there = backend(request.getfixturevalue(cloud), "large")
    monkeypatch.setattr("phasic_models.remote.folders._MULTIPART_FROM", 6 << 20)
    library = make_library()
    large = library / "README.md"
    large.write_bytes(random.Random(1).randbytes(13 << 20))
    there.upload_cache(library)
    there.download_cache(root / "symbolic")
    assert (root / "symbolic" / "coalescent" / "README.md").read_bytes() == large.read_bytes()


portable = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"], exclude_characters='/\\:*?"<>|.'),
    min_size=1,
    max_size=12,
).filter(lambda name: path_problem(f"{name}.json") is None and name.strip() and name.lower() != "manifest")


paths = st.lists(portable, min_size=1, max_size=3).map("/".join).filter(lambda name: not path_problem(f"{name}.json"))


@given(st.dictionaries(paths, st.binary(max_size=40), min_size=1))
def test_any_folder_comes_back_as_it_was(files):
    """Whatever the names: spaces, accents, percent signs and all other scripts."""
    folder = ObjectFolder(obstore.store.MemoryStore(), "some prefix", "memory://", TransferOptions())
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "source", Path(scratch) / "target"
        written = {}
        for name, content in files.items():
            path = source / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            # Where two names are one to the file system, the last content counts.
            path.write_bytes(content)
            written = files_of(source)
        assert sorted(upload(source, folder).transferred) == sorted(written)
        assert upload(source, folder).transferred == []
        got = download_folder(folder, target)
        assert files_of(target) == written
        assert got.bytes == sum(map(len, written.values()))
        assert download_folder(folder, target).transferred == []


def test_names_that_not_every_system_takes_are_not_sent(s3, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "con.json").write_text("{}")
    with pytest.raises(FormatError, match=r"'con\.json' .*device name on Windows"):
        backend(s3).upload_cache(tmp_path / "folder")
    assert backend(s3).list_files() == []


def test_chosen_files_only(s3, make_library):
    sent = backend(s3).upload_cache(make_library(), include_patterns=["*.json"])
    assert sorted(sent.transferred) == ["manifest.json", "n_samples_0.json", "n_samples_1.json"]


def test_what_is_missing(bucket, tmp_path, root):
    there = backend(bucket, "nothing/here")
    with pytest.raises(DownloadError, match=r"nothing/here.* holds no files"):
        there.download_cache(root / "symbolic")
    with pytest.raises(DownloadError, match="no such folder"):
        there.upload_cache(tmp_path / "no such")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DownloadError, match="no file"):
        there.upload_cache(tmp_path / "empty")
    assert not (root / "symbolic").exists()


def test_a_bucket_that_does_not_exist(s3, root):
    with pytest.raises(DownloadError, match="no-such-bucket"):
        S3Backend("no-such-bucket").download_cache(root / "symbolic")


def test_offline_buckets_are_not_asked(bucket, make_library, root, clean_environment):
    clean_environment.setenv("PHASIC_MODELS_OFFLINE", "1")
    there = backend(bucket)
    for action in (
        lambda: there.upload_cache(make_library()),
        lambda: there.download_cache(root / "symbolic"),
        lambda: there.list_files(),
    ):
        with pytest.raises(OfflineError, match=bucket.name):
            action()


def test_a_hostile_name_in_a_bucket(s3, root):
    there = backend(s3, "evil")
    for name in ("con.json", "a:b.json"):
        folder = there._folder("", writing=True)
        put(f"{s3.endpoint}/{s3.name}/evil/{name}", b"x")
        with pytest.raises(FormatError, match="evil"):
            there.download_cache(root / "symbolic")
        obstore.delete(folder.store, f"evil/{name}")
    assert files_of(root) == {}


def test_install_from_an_index_in_a_bucket(bucket, make_release, root):
    release = make_release("1.0.0")
    folder = backend(bucket, "releases")._folder("", writing=True)
    for path in release.iterdir():
        folder.write(path.name, path)
    done = install_model_library("coalescent", index=f"{bucket.url}/releases/index.json", cache_dir=root)
    check_library(done.path)
    url = f"{bucket.url}/releases/coalescent_models_v1.0.0.tar.gz"
    [again] = download_from_url(url, extract_to=root / "symbolic")
    assert again.path == done.path
    with pytest.raises(DownloadError, match="does not exist"):
        download_from_url(f"{bucket.url}/releases/other.tar.gz", extract_to=root / "symbolic")


@pytest.mark.parametrize("name", ["", "a/b"])
def test_names_of_buckets(name):
    with pytest.raises(ParameterError):
        S3Backend(name)


def test_s3_profiles(s3, clean_environment, make_library, root, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        clean_environment.delenv(name)
    aws = tmp_path / "home" / ".aws"
    aws.mkdir()
    (aws / "credentials").write_text("[my-aws-profile]\naws_access_key_id = a\naws_secret_access_key = b\n")
    (aws / "config").write_text(f"[profile my-aws-profile]\nregion = eu-north-1\nendpoint_url = {s3.endpoint}\n")
    there = S3Backend(bucket_name=s3.name, prefix="phasic/", profile="my-aws-profile")
    there.upload_cache(make_library())
    there.download_cache(root / "symbolic")
    check_library(root / "symbolic" / "coalescent")
    with pytest.raises(DownloadError, match=r"no AWS profile 'other'.*aws configure --profile other"):
        S3Backend(s3.name, profile="other").list_files()
    (aws / "credentials").write_text("no section")
    with pytest.raises(DownloadError, match="not a valid AWS configuration file"):
        S3Backend(s3.name, profile="other").list_files()


def test_s3_credentials_from_a_program(s3, clean_environment, make_library, root, tmp_path):
    """Single sign-on, roles and programs are left to boto3; the last of them can be tried here."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        clean_environment.delenv(name)
    answer = tmp_path / "credentials.json"
    answer.write_text(json.dumps({"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", "SessionToken": "c"}))
    aws = tmp_path / "home" / ".aws"
    aws.mkdir()
    (aws / "config").write_text(f"[profile sso]\nregion = us-east-1\ncredential_process = cat {answer}\n")
    clean_environment.setenv("AWS_CONFIG_FILE", str(aws / "config"))
    clean_environment.setenv("AWS_PROFILE", "sso")
    there = S3Backend(s3.name, "models")
    there.upload_cache(make_library())
    there.download_cache(root / "symbolic")
    check_library(root / "symbolic" / "coalescent")
    clean_environment.setitem(sys.modules, "boto3", None)
    with pytest.raises(DownloadError, match="pip install boto3"):
        there.list_files()


def test_s3_in_another_region(site, clean_environment, root):
    clean_environment.setenv("AWS_ENDPOINT_URL", site.url)
    site.serve("/elsewhere", statuses=[301] * 20)
    site.serve("/elsewhere/index.json", statuses=[301] * 20)
    with pytest.raises(DownloadError, match=r"another region.*AWS_REGION"):
        install_model_library("coalescent", index="s3://elsewhere/index.json", cache_dir=root)
    assert len(site.requests) == 1


def test_gcs_credentials_from_a_file(gcs, clean_environment, make_library, root, tmp_path):
    clean_environment.delenv("STORAGE_EMULATOR_HOST")
    clean_environment.setenv("GOOGLE_BASE_URL", gcs.endpoint)
    with pytest.raises(DownloadError, match=r"no-such\.json"):
        GCSBackend(gcs.name, credentials_path=str(tmp_path / "no-such.json")).list_files()


def test_s3_without_credentials_reads_at_once(s3, clean_environment, make_library, root):
    backend(s3, "public").upload_cache(make_library())
    import boto3

    owner = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    for name in backend(s3).list_files():
        owner.put_object_acl(Bucket=s3.name, Key=name, ACL="public-read")
    owner.close()
    clean_environment.delenv("AWS_ACCESS_KEY_ID")
    clean_environment.delenv("AWS_SECRET_ACCESS_KEY")
    begin = time.monotonic()
    backend(s3, "public").download_cache(root / "symbolic")
    assert time.monotonic() - begin < 2, "nobody looked for the credentials of a cloud machine"
    check_library(root / "symbolic" / "coalescent")


def test_azure_by_arguments(azure, clean_environment, make_library, root):
    from servers.clouds import AZURITE_KEY

    clean_environment.delenv("AZURE_STORAGE_CONNECTION_STRING")
    with pytest.raises(DownloadError, match="which storage account"):
        AzureBlobBackend(azure.name).list_files()
    clean_environment.setenv("AZURE_STORAGE_ENDPOINT", azure.endpoint)
    there = AzureBlobBackend(azure.name, "x", account_name="devstoreaccount1", account_key=AZURITE_KEY)
    there.upload_cache(make_library())
    there.download_cache(root / "symbolic")
    with pytest.raises(DownloadError, match=r"403|may not be accessed"):
        AzureBlobBackend(azure.name, account_name="devstoreaccount1", account_key="d3Jvbmc=").list_files()


def test_two_uploads_at_once_lose_no_checksum(s3, make_library):
    libraries = [make_library(f"library{number}") for number in range(6)]
    failures = []

    def send(library: Path) -> None:
        try:
            backend(s3, "all").upload_cache(library.parent)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=send, args=(library,)) for library in libraries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    sums = backend(s3, "all")._folder("", writing=False).checksums()
    assert len(sums) == 6 * 8


def test_the_index_keeps_its_promises(make_release):
    release = make_release("1.0.0")
    [artefact] = parse_index((release / "index.json").read_bytes()).libraries["coalescent"].versions["1.0.0"].artefacts
    path = release / artefact.file
    assert (artefact.size, artefact.sha256) == (path.stat().st_size, sha256_file(path))
