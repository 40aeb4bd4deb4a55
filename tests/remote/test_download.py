"""Fetching one file, from servers that are slow, cut off, redirect, lie or limit."""

from __future__ import annotations

import email.utils
import errno
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import filelock
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasic_models.errors import DownloadError, OfflineError
from phasic_models.files.addresses import join, local_path, scheme_of
from phasic_models.files.checksums import normalise_sha256
from phasic_models.files.ownership import owner_tag
from phasic_models.remote.download import check_free_space, download, download_first, fetch_bytes
from phasic_models.remote.options import TransferOptions

CONTENT = random.Random(7).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OPTIONS = TransferOptions(timeout=0.5, connect_timeout=2, attempts=4, first_wait=0.005, longest_wait=0.05)

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

pytestmark = pytest.mark.usefixtures("clean_environment")


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def leftover(folder: Path, owner: str = "00000000-0-x") -> Path:
    """The path of a partial file: process 0 is nobody."""
    return folder / f".tmp-f-{SHA256[:16]}-{owner}.part"


def get(url: str, target: Path, **arguments) -> Path:
    return download(url, target, options=OPTIONS, **arguments)


# -- what works -----------------------------------------------------------------------------------------------------


def test_the_right_file_arrives(site, tmp_path):
    seen = []
    target = get(
        site.serve("/a/models.tar.gz", CONTENT),
        tmp_path / "new" / "models.tar.gz",
        size=len(CONTENT),
        sha256=SHA256,
        progress=lambda *call: seen.append(call),
    )
    assert target.read_bytes() == CONTENT
    assert leftovers(target.parent) == []
    assert seen[-1] == ("models.tar.gz", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_the_file_obeys_the_umask(site, tmp_path):
    target = get(site.serve("/f", CONTENT), tmp_path / "f")
    plain = tmp_path / "plain"
    plain.touch()
    assert target.stat().st_mode == plain.stat().st_mode


def test_a_query_and_odd_characters_reach_the_server(site, tmp_path):
    site.serve("/odd name+é.gz", b"yes")
    assert get(f"{site.url}/odd%20name+%C3%A9.gz?signature=a%2Fb&x=1", tmp_path / "f").read_bytes() == b"yes"
    assert site.requests[-1][1] == "/odd%20name+%C3%A9.gz?signature=a%2Fb&x=1"


def test_redirects_are_followed(site, tmp_path):
    site.serve("/to", CONTENT)
    site.serve("/over", redirect="/to?token=1")
    assert (
        get(site.serve("/from", redirect=f"{site.url}/over"), tmp_path / "f", sha256=SHA256).stat().st_size == 3_000_000
    )


def test_a_redirect_in_a_circle_ends(site, tmp_path):
    with pytest.raises(DownloadError, match="/circle"):
        get(site.serve("/circle", redirect="/circle"), tmp_path / "f")


def test_an_answer_without_a_length(site, tmp_path):
    url = site.serve("/chunked", CONTENT, chunked=True)
    assert get(url, tmp_path / "f", size=len(CONTENT), sha256=SHA256).read_bytes() == CONTENT


def test_an_empty_file(site, tmp_path):
    empty = hashlib.sha256(b"").hexdigest()
    assert get(site.serve("/empty"), tmp_path / "f", size=0, sha256=empty).read_bytes() == b""


@pytest.mark.parametrize("form", ["path", "file"])
def test_local_files(tmp_path, form):
    source = tmp_path / "a folder" / "models #1.tar.gz"
    source.parent.mkdir()
    source.write_bytes(CONTENT)
    address = str(source) if form == "path" else source.as_uri()
    assert get(address, tmp_path / "copy", sha256=SHA256).read_bytes() == CONTENT
    with pytest.raises(DownloadError, match=r"no-such.*No such file"):
        get(str(tmp_path / "no-such"), tmp_path / "copy2")


def test_what_is_there_and_right_is_not_fetched(site, tmp_path):
    (tmp_path / "f").write_bytes(CONTENT)
    get(site.url + "/nowhere", tmp_path / "f", sha256=SHA256)
    assert site.requests == []


def test_what_is_there_and_wrong_is_replaced(site, tmp_path):
    (tmp_path / "f").write_bytes(b"x" * len(CONTENT))
    assert get(site.serve("/f", CONTENT), tmp_path / "f", sha256=SHA256).read_bytes() == CONTENT


# -- interruptions --------------------------------------------------------------------------------------------------


def test_a_cut_connection_is_resumed(site, tmp_path):
    url = site.serve("/f", CONTENT, cut_after=1_500_000, etag='"one"')
    assert get(url, tmp_path / "f", sha256=SHA256).read_bytes() == CONTENT
    assert site.count("/f") == 2
    start = int(site.requests[1][2]["range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= 1_500_000


def test_many_cuts_are_survived_while_there_is_progress(site, tmp_path):
    url = site.serve("/f", CONTENT, cut_after=400_000, cuts=100, etag='"one"')
    assert get(url, tmp_path / "f", sha256=SHA256).read_bytes() == CONTENT
    assert site.count("/f") >= 7


def test_without_checksum_or_entity_tag_a_cut_file_starts_again(site, tmp_path):
    url = site.serve("/f", CONTENT, cut_after=1_500_000)
    assert get(url, tmp_path / "f").read_bytes() == CONTENT
    assert all("range" not in headers for _, _, headers in site.requests)


def test_a_file_that_changes_in_between_is_not_mixed(site, tmp_path):
    url = site.serve("/f", CONTENT, cut_after=1_500_000, etag='"one"')
    other = bytes(reversed(CONTENT))

    def change(*_):
        site.pages["/f"].content, site.pages["/f"].etag = other, '"two"'

    assert get(url, tmp_path / "f", progress=change).read_bytes() == other


def test_a_server_without_ranges_is_asked_for_all(site, tmp_path):
    url = site.serve("/f", CONTENT, cut_after=1_500_000, ranges=False, etag='"one"')
    assert get(url, tmp_path / "f", sha256=SHA256).read_bytes() == CONTENT


def test_a_server_that_resumes_at_another_place(site, tmp_path):
    url = site.serve("/f", CONTENT, cut_after=1_500_000, shift=10, etag='"one"')
    assert get(url, tmp_path / "f").read_bytes() == CONTENT


def test_a_silent_server_is_given_up_and_resumed(site, tmp_path):
    begin = time.monotonic()
    url = site.serve("/f", CONTENT, stall_after=1_500_000, etag='"one"')
    assert get(url, tmp_path / "f", sha256=SHA256).read_bytes() == CONTENT
    assert time.monotonic() - begin < 10


def test_a_slow_server_is_waited_for(site, tmp_path):
    assert get(site.serve("/f", CONTENT, delay=0.3), tmp_path / "f", sha256=SHA256).read_bytes() == CONTENT
    assert site.count("/f") == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_passing_failures_are_retried(site, tmp_path, status):
    url = site.serve("/f", CONTENT, statuses=[status, status])
    assert get(url, tmp_path / "f", sha256=SHA256).read_bytes() == CONTENT
    assert site.count("/f") == 3


def test_a_small_file_s_message_names_no_temporary_file(site):
    with pytest.raises(DownloadError, match=f"^could not fetch {site.url}/f: the server answers 500"):
        fetch_bytes(site.serve("/f", statuses=[500] * 9), options=OPTIONS)
    with pytest.raises(DownloadError, match=f"^{site.url}/g does not exist"):
        fetch_bytes(f"{site.url}/g", options=OPTIONS)


def test_waits_grow_and_end(site, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr("phasic_models.remote.download.time", SimpleNamespace(sleep=waits.append))
    options = TransferOptions(attempts=6, first_wait=1, longest_wait=8)
    with pytest.raises(DownloadError, match=r"503 Service Unavailable.*6 tries"):
        download(site.serve("/f", statuses=[503] * 50), tmp_path / "f", options=options)
    assert [round(wait / base) for wait, base in zip(waits, (1, 2, 4, 8, 8), strict=True)] == [1] * 5
    assert site.count("/f") == 6


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_for_time_gets_it(site, tmp_path, monkeypatch, status, form):
    """Retry-After is honoured from the first refusal on."""
    waits = []
    monkeypatch.setattr("phasic_models.remote.download.time", SimpleNamespace(sleep=waits.append))
    asked = "7" if form == "seconds" else email.utils.formatdate(time.time() + 7, usegmt=True)
    url = site.serve("/f", CONTENT, statuses=[status] * 3, error_headers={"Retry-After": asked})
    assert get(url, tmp_path / "f", sha256=SHA256).read_bytes() == CONTENT
    assert waits == pytest.approx([7, 7, 7], abs=2)
    assert site.count("/f") == 4


def test_a_busy_server_is_resumed(site, tmp_path):
    """What had arrived when the server grew busy is not fetched again."""
    url = site.serve("/f", CONTENT, statuses=[200, 503, 503], cut_after=1_500_000, etag='"one"')
    assert get(url, tmp_path / "f", sha256=SHA256).read_bytes() == CONTENT
    ranges = [headers.get("range", "") for _, _, headers in site.requests]
    assert ranges[0] == ""
    assert len(set(ranges[1:])) == 1
    assert ranges[1].startswith("bytes=")


@pytest.mark.parametrize("asked", ["3600", "soon", "-3", ""])
def test_a_server_cannot_make_us_wait_for_ever(site, tmp_path, asked):
    """An hour is refused at once, with the number; nonsense counts as nothing said."""
    url = site.serve("/f", CONTENT, statuses=[429] * 50, error_headers={"Retry-After": asked})
    begin = time.monotonic()
    words = r"429 .*asks to wait 3,600 seconds; try again then" if asked == "3600" else r"429 .*4 tries"
    with pytest.raises(DownloadError, match=words):
        get(url, tmp_path / "f", sha256=SHA256)
    assert time.monotonic() - begin < 5
    assert site.count("/f") == (1 if asked == "3600" else 4)


def test_a_mirror_that_asks_for_too_long_is_passed_over(site, tmp_path):
    busy = site.serve("/busy", CONTENT, statuses=[503] * 50, error_headers={"Retry-After": "3600"})
    urls = [busy, site.serve("/f", CONTENT)]
    assert download_first(urls, tmp_path / "f", sha256=SHA256, options=OPTIONS).read_bytes() == CONTENT


def test_a_busy_server_s_redirect_gets_no_credentials(site, secure_site, authority, tmp_path, monkeypatch):
    """No token to another host and no way out of TLS, after a refusal too."""
    monkeypatch.setenv("PHASIC_MODELS_CA_BUNDLE", str(authority.pem))
    url = site.serve("/f", statuses=[503], redirect=secure_site.serve("/g", CONTENT))
    target = download(url, tmp_path / "f", sha256=SHA256, options=OPTIONS, headers={"Authorization": "Bearer secret"})
    assert target.read_bytes() == CONTENT
    assert site.requests[-1][2]["authorization"] == "Bearer secret"
    assert "authorization" not in secure_site.requests[-1][2]
    back = secure_site.serve("/back", statuses=[503], redirect=site.serve("/plain", CONTENT))
    with pytest.raises(DownloadError, match="redirects out of TLS"):
        get(back, tmp_path / "h", sha256=SHA256)
    assert site.count("/plain") == 0


def test_a_later_run_takes_up_what_a_stopped_one_left(site, tmp_path):
    url = site.serve("/f", CONTENT, cut_after=1_200_000, etag='"one"')
    once = TransferOptions(attempts=1)
    with pytest.raises(DownloadError, match=r"cut off .*1 tries; [\d,]+ of 3,000,000 bytes received") as caught:
        download(url, tmp_path / "f", size=len(CONTENT), sha256=SHA256, options=once)
    received = int(re.search(r"([\d,]+) of 3,000,000", str(caught.value))[1].replace(",", ""))
    # The engine hands over 256 KiB or more at a time, as the network delivers them, and drops what it has begun.
    assert 1_200_000 - (1 << 18) < received <= 1_200_000
    assert not (tmp_path / "f").exists()
    assert len([name for name in leftovers(tmp_path) if name.endswith(".part")]) == 1
    get(url, tmp_path / "f", size=len(CONTENT), sha256=SHA256)
    assert site.requests[-1][2]["range"].startswith(f"bytes={received}-")
    assert leftovers(tmp_path) == []


def test_a_rotten_left_over_is_thrown_away(site, tmp_path):
    url = site.serve("/f", CONTENT)
    leftover(tmp_path).write_bytes(b"rotten" * 1000)
    assert get(url, tmp_path / "f", sha256=SHA256).read_bytes() == CONTENT
    (tmp_path / "f").unlink()
    leftover(tmp_path).write_bytes(CONTENT)
    before = len(site.requests)
    assert get(url, tmp_path / "f", sha256=SHA256).read_bytes() == CONTENT
    assert len(site.requests) == before, "a complete left-over needs no server"


def test_a_killed_download_leaves_no_file_and_is_completed(site, tmp_path):
    url = site.serve("/f", CONTENT, stall_after=2_000_000, etag='"one"')
    code = f"from phasic_models.remote.download import download; download({url!r}, {str(tmp_path / 'f')!r}, sha256={SHA256!r})"
    child = subprocess.Popen([sys.executable, "-c", code])
    end = time.monotonic() + 20
    while time.monotonic() < end and not any(part.stat().st_size for part in tmp_path.glob(".tmp-f-*.part")):
        time.sleep(0.01)
    child.kill()
    child.wait()
    assert not (tmp_path / "f").exists()
    [part] = tmp_path.glob(".tmp-f-*.part")
    assert part.stat().st_size > 0
    assert get(url, tmp_path / "f", sha256=SHA256).read_bytes() == CONTENT
    assert "range" in site.requests[-1][2], "what it left was taken up"
    assert leftovers(tmp_path) == []


# -- lies and refusals ----------------------------------------------------------------------------------------------


def test_a_wrong_checksum_is_an_error_with_all_the_numbers(site, tmp_path):
    url = site.serve("/f", CONTENT)
    with pytest.raises(DownloadError) as caught:
        get(url, tmp_path / "f", sha256="0" * 64)
    message = str(caught.value)
    for part in (url, str(tmp_path / "f"), "0" * 64, SHA256, "3,000,000 bytes"):
        assert part in message
    assert not (tmp_path / "f").exists()
    assert leftovers(tmp_path) == []


def test_a_wrong_checksum_leaves_the_old_file(site, tmp_path):
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(DownloadError):
        get(site.serve("/f", CONTENT), tmp_path / "f", sha256="0" * 64)
    assert (tmp_path / "f").read_bytes() == b"old"


def test_a_wrong_size_is_refused_before_the_transfer(site, tmp_path):
    with pytest.raises(DownloadError, match=r"has 3,000,000 bytes where 17 are expected"):
        get(site.serve("/f", CONTENT), tmp_path / "f", size=17, sha256=SHA256)


@pytest.mark.parametrize("claim", [3_500_000, 10**15])
def test_a_server_that_claims_too_much(site, tmp_path, claim):
    with pytest.raises(DownloadError, match=r"bytes"):
        get(site.serve("/f", CONTENT, claim=claim), tmp_path / "f")
    assert not (tmp_path / "f").exists()
    assert leftovers(tmp_path) == []


def test_a_server_that_claims_too_little(site, tmp_path):
    url = site.serve("/f", CONTENT, claim=1_000_000)
    with pytest.raises(DownloadError, match="1,000,000 bytes where 3,000,000 are expected"):
        get(url, tmp_path / "f", size=len(CONTENT), sha256=SHA256)
    with pytest.raises(DownloadError, match=r"SHA-256 .*1,000,000 bytes"):
        get(url, tmp_path / "f", sha256=SHA256)


def test_an_endless_answer_is_cut(site, tmp_path):
    options = TransferOptions(max_bytes=100_000)
    with pytest.raises(DownloadError, match="more than the 100,000 bytes allowed"):
        download(site.serve("/f", CONTENT, chunked=True), tmp_path / "f", options=options)
    assert list(tmp_path.glob("*f*")) == []


HTML = b"<!DOCTYPE html>\n<html><head><title>Sign in to\n your account</title></head><body>please</body></html>"


@pytest.mark.parametrize(
    ("content_type", "size"),
    [("text/html; charset=utf-8", None), ("text/html", 12345), ("application/gzip", None), ("application/gzip", 999)],
)
def test_an_html_page_is_named_as_such(site, tmp_path, content_type, size):
    url = site.serve("/models.tar.gz", HTML, content_type=content_type)
    with pytest.raises(
        DownloadError, match=r"not the archive .* an HTML page, titled 'Sign in to your account'"
    ) as caught:
        get(url, tmp_path / "f", size=size, expect="archive")
    assert url in str(caught.value)
    assert not (tmp_path / "f").exists()


def test_a_git_lfs_pointer_is_named_as_such(site, tmp_path):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123\n"
    with pytest.raises(DownloadError, match=r"not the archive .* a Git LFS pointer.*git lfs pull"):
        get(site.serve("/models.tar.gz", pointer), tmp_path / "f", expect="archive")
    assert get(site.serve("/page.html", HTML, content_type="text/html"), tmp_path / "page").read_bytes() == HTML


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, "does not exist"), (410, "does not exist"), (401, "credentials"), (403, "credentials"), (400, "refused")],
)
def test_lasting_failures_are_not_retried(site, tmp_path, status, words):
    url = site.serve("/f", statuses=[status] * 9)
    with pytest.raises(DownloadError, match=words) as caught:
        get(url, tmp_path / "f")
    assert url in str(caught.value)
    assert str(tmp_path / "f") in str(caught.value)
    assert site.count("/f") == 1
    assert isinstance(caught.value, OSError)


def test_nobody_answers(tmp_path):
    with pytest.raises(DownloadError, match=r"refused: nothing answers.*4 tries"):
        get("http://127.0.0.1:1/f", tmp_path / "f")


def test_an_unknown_kind_of_address(tmp_path):
    with pytest.raises(DownloadError, match="gopher"):
        get("gopher://example.org/f", tmp_path / "f")


# -- mirrors --------------------------------------------------------------------------------------------------------


def test_mirrors_are_tried_in_order(site, tmp_path):
    urls = [
        site.serve("/gone/f", statuses=[404]),
        site.serve("/replaced/f", b"x" * len(CONTENT)),
        site.serve("/broken/f", statuses=[500] * 99),
        site.serve("/good/f", CONTENT),
        site.serve("/never/f", CONTENT),
    ]
    download_first(urls, tmp_path / "f", options=OPTIONS, size=len(CONTENT), sha256=SHA256)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert [site.count(f"/{name}/f") for name in ("gone", "replaced", "broken", "good", "never")] == [1, 1, 4, 1, 0]


def test_when_no_mirror_has_it_each_is_named(site, tmp_path):
    urls = [site.serve("/a/f", statuses=[404]), site.serve("/b/f", b"short")]
    with pytest.raises(DownloadError) as caught:
        download_first(urls, tmp_path / "f", options=OPTIONS, size=len(CONTENT), sha256=SHA256)
    assert all(url in str(caught.value) for url in urls)
    assert "none of 2 mirrors" in str(caught.value)


# -- offline --------------------------------------------------------------------------------------------------------


def test_offline_contacts_nobody(site, tmp_path, monkeypatch):
    url = site.serve("/f", CONTENT)
    monkeypatch.setenv("PHASIC_MODELS_OFFLINE", "1")
    for address in (url, "s3://bucket/f", "gs://bucket/f", "az://container/f"):
        with pytest.raises(OfflineError, match=r"PHASIC_MODELS_OFFLINE"):
            download(address, tmp_path / "f")
        with pytest.raises(OfflineError):
            fetch_bytes(address)
        with pytest.raises(OfflineError):
            download_first([address, address], tmp_path / "f")
    (tmp_path / "f").write_bytes(CONTENT)
    download(url, tmp_path / "f", sha256=SHA256)
    assert site.requests == []


def test_offline_still_reads_local_mirrors(site, tmp_path):
    (tmp_path / "source").write_bytes(CONTENT)
    urls = [site.serve("/f", CONTENT), str(tmp_path / "source")]
    download_first(urls, tmp_path / "f", options=TransferOptions(offline=True), sha256=SHA256)
    assert site.requests == []


# -- disks, locks, many at once ---------------------------------------------------------------------------------------


def test_the_free_space_is_looked_at_first(site, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    url = site.serve("/f", CONTENT)
    with pytest.raises(DownloadError, match=r"needs 3,000,000 bytes .* has 1,000,000 free") as caught:
        get(url, tmp_path / "f", size=len(CONTENT))
    assert caught.value.errno == errno.ENOSPC
    assert site.requests == []
    with pytest.raises(DownloadError, match="not enough disk space"):
        get(url, tmp_path / "f")
    assert not (tmp_path / "f").exists()
    check_free_space(tmp_path, -(1 << 30), "nothing")


def test_a_disk_that_fills_up(site, tmp_path):
    resource = pytest.importorskip("resource", reason="needs a limit on the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    url = site.serve("/f", CONTENT)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_234_567, hard))
    try:
        with pytest.raises(DownloadError, match=r"cannot write .*File too large.*after [\d,]+ bytes") as caught:
            get(url, tmp_path / "f", sha256=SHA256)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert list(tmp_path.glob("*f*")) == []


def test_a_folder_that_cannot_be_written(site, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="cannot write"):
        get(site.serve("/f", CONTENT), tmp_path / "file" / "f")


def test_many_threads_fetch_the_same_file(site, tmp_path):
    url = site.serve("/f", CONTENT)
    failures = []

    def work():
        try:
            get(url, tmp_path / "f", sha256=SHA256)
            assert (tmp_path / "f").read_bytes() == CONTENT
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert leftovers(tmp_path) == []


def test_two_processes_fetch_the_same_file(site, tmp_path):
    url = site.serve("/f", CONTENT, delay=0.1)
    code = f"from phasic_models.remote.download import download; download({url!r}, {str(tmp_path / 'f')!r}, sha256={SHA256!r})"
    children = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert leftovers(tmp_path) == []


def test_no_lock_is_needed(site, tmp_path, monkeypatch):
    """On NFS and Lustre locks fail, lie or hang after a crash; a download asks for none."""

    def refuse(*_, **__):
        raise AssertionError("a lock was asked for")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    if fcntl is not None:
        monkeypatch.setattr(fcntl, "flock", refuse)
        monkeypatch.setattr(fcntl, "lockf", refuse)
    assert get(site.serve("/f", CONTENT), tmp_path / "f", sha256=SHA256).read_bytes() == CONTENT


def test_what_a_living_process_fetches_is_its_own(site, tmp_path):
    """Of this host and of another one; only what is old or of a dead process is taken over."""
    others = [leftover(tmp_path, owner_tag()), leftover(tmp_path, "deadbeef-1-x")]
    for path in others:
        path.write_bytes(CONTENT[:1000])
    get(site.serve("/f", CONTENT), tmp_path / "f", sha256=SHA256)
    assert "range" not in site.requests[-1][2]
    assert [path.read_bytes() for path in others] == [CONTENT[:1000]] * 2
    (tmp_path / "f").unlink()
    os.utime(others[1], (0, 0))
    get(site.url + "/f", tmp_path / "f", sha256=SHA256)
    assert site.requests[-1][2]["range"] == "bytes=1000-"
    assert others[0].exists()
    assert not others[1].exists()


def test_a_left_over_is_taken_by_one_only(site, tmp_path):
    leftover(tmp_path).write_bytes(CONTENT[:1_000_000])
    url = site.serve("/f", CONTENT, delay=0.1)
    threads = [threading.Thread(target=get, args=(url, tmp_path / "f"), kwargs={"sha256": SHA256}) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert sum("range" in headers for _, _, headers in site.requests) == 1
    assert leftovers(tmp_path) == []


def test_an_owner_that_was_thought_dead(site, tmp_path):
    """Its file is taken over while it writes: neither harms the other, and each has the right file or an error."""
    url = site.serve("/f", CONTENT, etag='"one"')
    taken = []

    def take(*_):
        if not taken:
            [part] = tmp_path.glob(".tmp-f-*.part")
            taken.append(part.rename(leftover(tmp_path)))
            get(url, tmp_path / "other" / "f", sha256=SHA256, part_folder=tmp_path)

    with pytest.raises(DownloadError, match="cannot write"):
        get(url, tmp_path / "f", sha256=SHA256, progress=take)
    assert (tmp_path / "other" / "f").read_bytes() == CONTENT
    assert not (tmp_path / "f").exists()


def test_names_of_temporary_files_stay_short(site, tmp_path):
    name = "n" * 250
    seen = []
    get(
        site.serve("/f", CONTENT),
        tmp_path / name,
        sha256=SHA256,
        progress=lambda *_: seen.extend(leftovers(tmp_path)),
    )
    assert seen
    assert max(map(len, seen)) < 80


# -- proxies and certificate authorities ------------------------------------------------------------------------------


def test_a_proxy_is_used(site, proxy, tmp_path, monkeypatch):
    port = site.server.server_port
    site.serve("/f", CONTENT)
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("http_proxy", proxy.url)
    get(f"http://models.example.invalid:{port}/f", tmp_path / "f", sha256=SHA256)
    assert proxy.seen == [f"GET http://models.example.invalid:{port}/f"]
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    get(f"{site.url}/f", tmp_path / "g", sha256=SHA256)
    assert len(proxy.seen) == 1


def test_a_proxy_tunnels_tls(secure_site, authority, proxy, tmp_path, monkeypatch):
    secure_site.serve("/f", CONTENT)
    monkeypatch.setenv("PHASIC_MODELS_CA_BUNDLE", str(authority.pem))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("https_proxy", proxy.url)
    get(f"{secure_site.url}/f", tmp_path / "f", sha256=SHA256)
    assert proxy.seen == [f"CONNECT localhost:{secure_site.server.server_port}"]


@pytest.mark.parametrize("variable", ["PHASIC_MODELS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_private_authority_is_trusted_when_named(secure_site, authority, tmp_path, monkeypatch, variable, chunked):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(authority.pem))
    url = secure_site.serve("/f", CONTENT, chunked=chunked)
    assert get(url, tmp_path / "f", sha256=SHA256).read_bytes() == CONTENT


def test_an_unknown_authority_is_refused_with_the_remedy(secure_site, tmp_path):
    url = secure_site.serve("/f", CONTENT)
    with pytest.raises(DownloadError, match=r"PHASIC_MODELS_CA_BUNDLE"):
        get(url, tmp_path / "f")
    assert secure_site.requests == []


def test_no_redirect_leads_out_of_tls(secure_site, site, authority, tmp_path, monkeypatch):
    monkeypatch.setenv("PHASIC_MODELS_CA_BUNDLE", str(authority.pem))
    url = secure_site.serve("/f", redirect=site.serve("/f", CONTENT))
    with pytest.raises(DownloadError):
        get(url, tmp_path / "f")
    assert site.requests == []


def test_a_missing_bundle_is_named(secure_site, tmp_path, monkeypatch):
    monkeypatch.setenv("PHASIC_MODELS_CA_BUNDLE", str(tmp_path / "no.pem"))
    with pytest.raises(DownloadError, match=r"PHASIC_MODELS_CA_BUNDLE names .*no\.pem"):
        get(secure_site.serve("/f", CONTENT), tmp_path / "f")


# -- settings and addresses -------------------------------------------------------------------------------------------


def test_settings_from_the_environment(monkeypatch):
    monkeypatch.setenv("PHASIC_MODELS_TIMEOUT", "7.5")
    monkeypatch.setenv("PHASIC_MODELS_RETRIES", "0")
    monkeypatch.setenv("PHASIC_MODELS_OFFLINE", "yes")
    options = TransferOptions.from_environment()
    assert (options.timeout, options.connect_timeout, options.attempts, options.offline) == (7.5, 7.5, 1, True)
    assert TransferOptions.from_environment(offline=False).offline is False
    monkeypatch.setenv("PHASIC_MODELS_OFFLINE", "0")
    assert TransferOptions.from_environment().offline is False
    for wrong in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv("PHASIC_MODELS_TIMEOUT", wrong)
        with pytest.raises(DownloadError, match=f"PHASIC_MODELS_TIMEOUT is '{wrong}'"):
            TransferOptions.from_environment()


@pytest.mark.parametrize("text", ["", "abc", "0" * 63, "g" * 64, "sha256:" + "0" * 65, "a3f2e9c8..."])
def test_what_is_no_checksum(text):
    with pytest.raises(DownloadError, match="not a SHA-256"):
        normalise_sha256(text)


def test_checksums_may_have_a_prefix_and_capitals(site, tmp_path):
    get(site.serve("/f", CONTENT), tmp_path / "f", sha256=f"sha256:{SHA256.upper()}")


@pytest.mark.parametrize(
    ("base", "relative", "expected"),
    [
        ("https://h/r/v1/index.json", "a.tar.gz", "https://h/r/v1/a.tar.gz"),
        ("https://h/r/v1/index.json?x=1", "../v0/a b.tar.gz", "https://h/r/v0/a%20b.tar.gz"),
        ("s3://bucket/index.json", "a.tar.gz", "s3://bucket/a.tar.gz"),
        ("gs://bucket/deep/index.json", "a.tar.gz", "gs://bucket/deep/a.tar.gz"),
        ("https://h/index.json", "s3://b/a.tar.gz", "s3://b/a.tar.gz"),
        ("/data/index.json", "https://h/a.tar.gz", "https://h/a.tar.gz"),
    ],
)
def test_addresses_count_from_the_index(base, relative, expected):
    assert join(base, relative) == expected


def test_local_addresses(tmp_path):
    assert join(str(tmp_path / "index.json"), "a.tar.gz") == str(tmp_path / "a.tar.gz")
    assert join((tmp_path / "index.json").as_uri(), "a.tar.gz") == str(tmp_path / "a.tar.gz")
    assert scheme_of("C:\\folder\\file") == scheme_of("folder/file") == scheme_of(tmp_path) == "file"
    with pytest.raises(DownloadError, match="three slashes"):
        local_path("file://folder/index.json")


@given(
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1).filter(lambda t: t.strip("."))
)
def test_file_addresses_come_back(name):
    path = Path("/folder") / name
    if os.name != "nt":
        assert local_path(path.as_uri()) == path
