"""Tarballs: the same bytes from the same files, and nothing unpacked that could do harm."""

from __future__ import annotations

import gzip
import io
import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phasic_models.errors import FormatError
from phasic_models.files.archive import Limits, make_tarball, safe_extract
from phasic_models.files.checksums import read_checksums, write_checksums
from phasic_models.files.names import path_problem


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "coalescent"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}\n")
    (folder / "n_samples_3.json").write_bytes(bytes(range(256)) * 100)
    (folder / "empty.meta").write_bytes(b"")
    return folder


def files_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def tar_of(*entries: tuple[tarfile.TarInfo, bytes], compress: bool = True) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for entry, data in entries:
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(buffer.getvalue()) if compress else buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, linkname: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, linkname
    return info


def test_round_trip(library: Path, tmp_path: Path) -> None:
    archive = make_tarball(library, tmp_path / "out" / "coalescent_models_v1.0.0.tar.gz")
    files = safe_extract(archive, tmp_path / "symbolic")
    assert sorted(map(str, files)) == sorted(str(Path("coalescent") / p.name) for p in library.iterdir())
    assert files_below(tmp_path / "symbolic" / "coalescent") == files_below(library)
    assert [p.name for p in (tmp_path / "symbolic").iterdir()] == ["coalescent"]


def test_the_same_files_give_the_same_bytes(library: Path, tmp_path: Path) -> None:
    first = make_tarball(library, tmp_path / "a.tar.gz", mtime=1_700_000_000)
    for path in library.iterdir():
        path.chmod(0o600)
        os.utime(path, (1, 1))
    moved = tmp_path / "elsewhere" / "coalescent"
    moved.parent.mkdir()
    library.rename(moved)
    second = make_tarball(moved, tmp_path / "b.tar.gz", mtime=1_700_000_000)
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as tar:
        assert {(m.mode, m.uid, m.gid, m.uname, m.mtime) for m in tar} == {(0o644, 0, 0, "", 1_700_000_000)}


def test_tar_and_sha256sum_of_the_system_agree(library: Path, tmp_path: Path) -> None:
    archive = make_tarball(library, tmp_path / "coalescent.tar.gz")
    write_checksums([archive], tmp_path / "SHA256SUMS")
    target = tmp_path / "by-tar"
    target.mkdir()
    try:
        subprocess.run(["tar", "-xzf", str(archive), "-C", str(target)], check=True)
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=True)
    except FileNotFoundError as error:
        pytest.skip(f"this system has no {error.filename}")
    assert files_below(target / "coalescent") == files_below(library)


def test_a_library_that_cannot_be_packed(library: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="no file to pack"):
        make_tarball(tmp_path / "empty", tmp_path / "x.tar.gz")
    (library / "link.json").symlink_to(library / "manifest.json")
    with pytest.raises(FormatError, match=r"link\.json: only plain files"):
        make_tarball(library, tmp_path / "x.tar.gz")
    (library / "link.json").unlink()
    (library / "con.json").write_text("{}")
    with pytest.raises(FormatError, match="device name on Windows"):
        make_tarball(library, tmp_path / "x.tar.gz")
    assert not (tmp_path / "x.tar.gz").exists()


HOSTILE = {
    "symbolic link": tar_of((entry("a/x", tarfile.SYMTYPE, "/etc"), b"")),
    "hard link": tar_of((entry("a/x", tarfile.LNKTYPE, "a/y"), b"")),
    "fifo": tar_of((entry("a/x", tarfile.FIFOTYPE), b"")),
    "character device": tar_of((entry("a/x", tarfile.CHRTYPE), b"")),
    "block device": tar_of((entry("a/x", tarfile.BLKTYPE), b"")),
    "unknown type": tar_of((entry("a/x", b"Z"), b"")),
    "absolute path": tar_of((entry("/tmp/x"), b"1")),
    "drive letter": tar_of((entry("c:/x"), b"1")),
    "backslash": tar_of((entry("..\\x"), b"1")),
    "parent": tar_of((entry("../x"), b"1")),
    "parent inside": tar_of((entry("a/../../x"), b"1")),
    "parent folder": tar_of((entry("../x", tarfile.DIRTYPE), b"")),
    "device name": tar_of((entry("a/NUL.json"), b"1")),
    "control character": tar_of((entry("a/x\n"), b"1")),
    "not UTF-8": tar_of((entry("a/\udcff"), b"1")),
    "trailing dot": tar_of((entry("a/x."), b"1")),
    "same file twice": tar_of((entry("a/x"), b"1"), (entry("./a/x"), b"2")),
    "differs in case only": tar_of((entry("a/x"), b"1"), (entry("A/X"), b"2")),
    "file, then folder": tar_of((entry("a"), b"1"), (entry("a/x"), b"2")),
    "folder, then file": tar_of((entry("a/x"), b"1"), (entry("a"), b"2")),
    "nothing inside": tar_of(),
    "only a folder": tar_of((entry("a", tarfile.DIRTYPE), b"")),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_archive_is_refused_and_leaves_nothing(data: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "in" / "hostile.tar.gz"
    archive.parent.mkdir()
    # An honest file first: what came before the bad entry must go away too.
    archive.write_bytes(data)
    with pytest.raises(FormatError, match=r"hostile\.tar\.gz"):
        safe_extract(archive, tmp_path / "deep" / "target")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_what_was_there_survives_a_refused_archive(tmp_path: Path) -> None:
    target = tmp_path / "symbolic"
    (target / "a").mkdir(parents=True)
    (target / "a" / "x").write_text("old")
    (tmp_path / "bad.tar").write_bytes(tar_of((entry("a/x"), b"new"), (entry("../y"), b""), compress=False))
    with pytest.raises(FormatError):
        safe_extract(tmp_path / "bad.tar", target)
    assert files_below(target) == {"a/x": b"old"}
    (tmp_path / "good.tar").write_bytes(tar_of((entry("a/x"), b"new"), (entry("b/y"), b""), compress=False))
    safe_extract(tmp_path / "good.tar", target)
    assert files_below(target) == {"a/x": b"new", "b/y": b""}


def test_limits(tmp_path: Path) -> None:
    archive = tmp_path / "big.tar.gz"
    archive.write_bytes(tar_of((entry("a/x"), bytes(5_000_000)), (entry("a/y"), b"1")))
    with pytest.raises(FormatError, match="more than 1,000,000 bytes"):
        safe_extract(archive, tmp_path / "t", Limits(max_bytes=1_000_000))
    with pytest.raises(FormatError, match="more than 1 entries"):
        safe_extract(archive, tmp_path / "t", Limits(max_files=1))
    assert not (tmp_path / "t").exists()
    assert len(safe_extract(archive, tmp_path / "t", Limits(max_bytes=5_000_001, max_files=2))) == 2


def test_what_follows_the_archive_is_bounded_too(tmp_path: Path) -> None:
    plain = gzip.decompress(tar_of((entry("a/x"), b"1")))
    (tmp_path / "bomb.tar.gz").write_bytes(gzip.compress(plain + bytes(50_000_000)))
    with pytest.raises(FormatError, match="more than is allowed"):
        safe_extract(tmp_path / "bomb.tar.gz", tmp_path / "t", Limits(max_bytes=1000, max_files=10))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_as_large_as_the_memory_is_not_read(kind: bytes, tmp_path: Path) -> None:
    header = entry("x", kind)
    header.size = 8 * 1024**4
    (tmp_path / "h.tar.gz").write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_000_000)))
    with pytest.raises(FormatError, match="longer than any usual one"):
        safe_extract(tmp_path / "h.tar.gz", tmp_path / "t")


def test_a_negative_size_does_not_hang(tmp_path: Path) -> None:
    header = bytearray(entry("a/x").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xfe\x00"  # base-256: -512
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "n.tar").write_bytes(bytes(header) * 4)
    with pytest.raises(FormatError):
        safe_extract(tmp_path / "n.tar", tmp_path / "t")


@settings(max_examples=150, deadline=None)
@given(cut=st.floats(0, 1), flip=st.integers(0, 7), flipped=st.booleans(), compress=st.booleans())
def test_a_damaged_gzip_archive_never_gives_other_bytes(
    cut: float, flip: int, flipped: bool, compress: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = {"a/x": bytes(range(256)) * 10, "a/y": b"hello"}
    data = bytearray(tar_of(*((entry(name), value) for name, value in content.items()), compress=compress))
    position = int(cut * (len(data) - 1))
    if flipped:
        data[position] ^= 1 << flip
    else:
        del data[position:]
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "d.tar.gz").write_bytes(data)
    refused = ""
    try:
        safe_extract(folder / "d.tar.gz", folder / "t")
    except FormatError as error:
        refused = str(error)
    if refused:
        assert "d.tar.gz" in refused
        assert not (folder / "t").exists()
    else:
        # gzip has a checksum over the content; a bare tar file has none, and its users check the sum of the whole file.
        assert not compress or files_below(folder / "t") == content


@given(st.binary(max_size=3000))
def test_any_bytes_are_refused_or_unpacked(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "any").write_bytes(data)
    with pytest.raises(FormatError):
        safe_extract(folder / "any", folder / "t")


def test_without_the_data_filter_of_newer_pythons(library: Path, tmp_path: Path) -> None:
    archive = make_tarball(library, tmp_path / "c.tar.gz")
    hostile = tmp_path / "hostile.tar.gz"
    hostile.write_bytes(HOSTILE["symbolic link"])
    code = (
        "import sys, tarfile, phasic_models.files.archive as a\n"
        "for name in ('data_filter', 'tar_filter', 'fully_trusted_filter'):\n"
        "    vars(tarfile).pop(name, None)\n"
        "print(len(a.safe_extract(sys.argv[1], sys.argv[3])))\n"
        "try: a.safe_extract(sys.argv[2], sys.argv[3])\n"
        "except ValueError as error: print(error)\n"
    )
    arguments = [sys.executable, "-c", code, str(archive), str(hostile), str(tmp_path / "t")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "3"
    assert "link" in done.stdout.splitlines()[1]


def test_unpacked_files_have_ordinary_modes(tmp_path: Path) -> None:
    info = entry("a/x")
    info.mode = 0o6777
    (tmp_path / "m.tar.gz").write_bytes(tar_of((info, b"1")))
    safe_extract(tmp_path / "m.tar.gz", tmp_path / "t")
    assert not stat.S_IMODE((tmp_path / "t" / "a" / "x").stat().st_mode) & 0o7111


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("abc  x.tar.gz\n", "line 1: expected"),
        (f"\n{'g' * 64}  x\n", "line 2: expected"),
        (f"{'0' * 64} x\n", "line 1: expected"),
        (f"{'0' * 64}  x\n{'1' * 64}  x\n", "line 2: a second, different checksum for 'x'"),
    ],
)
def test_bad_checksum_files(text: str, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        read_checksums(text)


def test_checksum_files(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "a.txt").write_text("a")
    target = write_checksums([tmp_path / "b.txt", tmp_path / "a.txt"], tmp_path / "SHA256SUMS")
    sums = read_checksums(target.read_text())
    assert list(sums) == ["a.txt", "b.txt"]
    assert sums["a.txt"] == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert read_checksums("AB" * 32 + " *x y\r\n") == {"x y": "ab" * 32}


@given(st.text(max_size=300))
def test_an_accepted_path_stays_below_its_folder(name: str) -> None:
    if path_problem(name) is None:
        assert not Path(name).is_absolute()
        root = Path("root").resolve()
        assert root in (root / name).resolve().parents
