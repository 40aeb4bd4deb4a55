"""Channels: packages are added to a folder or a bucket, never replaced, and what a client sees is complete."""

from __future__ import annotations

import shutil
import time
from datetime import timedelta
from pathlib import Path

import pytest

pytest.importorskip("rattler", reason="needs the build group")

import rattler
from conda_helpers import index, install, library_package, names, serve, solve, stub
from servers.clouds import Bucket

from phasic_models.errors import DownloadError, FormatError, LibraryError
from phasic_models.packaging.channel import add_packages, against, index_channel

pytestmark = pytest.mark.slow


def test_added_to_a_folder_beside_what_is_there(tmp_path: Path) -> None:
    channel = tmp_path / "a channel"
    first, second = library_package(tmp_path), library_package(tmp_path, category="queuing")
    assert add_packages([first], str(channel)) == [first.name]
    before = (channel / "noarch" / first.name).stat().st_mtime_ns
    assert add_packages([first, second], str(channel)) == [second.name]
    assert (channel / "noarch" / first.name).stat().st_mtime_ns == before
    url = channel.as_uri()
    assert names(solve(url, "phasic-models-coalescent", "phasic-models-queuing")) == [
        "phasic-models-coalescent 1.0.0",
        "phasic-models-queuing 1.0.0",
    ]
    assert sorted(path.name for path in (channel / "noarch").glob("*.conda")) == sorted([first.name, second.name])
    assert not [path for path in (channel / "noarch").iterdir() if path.name.startswith(".tmp-")]


def test_a_published_build_is_never_replaced(tmp_path: Path) -> None:
    channel = tmp_path / "channel"
    first = library_package(tmp_path)
    add_packages([first], str(channel))
    changed = library_package(tmp_path, '{"a": 1}')
    assert changed.name != first.name
    other = library_package(tmp_path, category="queuing")
    with pytest.raises(LibraryError, match=r"phasic-models-coalescent 1\.0\.0 build 0 is already in .* raise 'build'"):
        add_packages([other, changed], str(channel))
    assert [path.name for path in (channel / "noarch").glob("*.conda")] == [first.name]
    # The same name with other bytes, as another version of the packer would give.
    fake = tmp_path / "fake" / first.name
    fake.parent.mkdir()
    shutil.copy(changed, fake)
    with pytest.raises(LibraryError, match=r"manifest\.json: sha256") as refused:
        add_packages([fake], str(channel))
    assert "build: " in str(refused.value)
    raised = library_package(tmp_path, '{"a": 1}', build=1)
    assert add_packages([raised], str(channel)) == [raised.name]
    assert solve(channel.as_uri(), "phasic-models-coalescent")[0].build_number == 1


def test_what_is_not_a_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.conda").write_bytes(b"PK")
    with pytest.raises(FormatError, match=r"x\.conda: not a conda package"):
        add_packages([tmp_path / "x.conda"], str(tmp_path / "channel"))
    assert not (tmp_path / "channel").exists()


def test_a_channel_that_cannot_be_read(tmp_path: Path) -> None:
    package = library_package(tmp_path)
    with pytest.raises(DownloadError, match="not a channel that can be read"):
        against(package, str(tmp_path / "nothing"), tmp_path)
    with serve(tmp_path) as url:
        with pytest.raises(DownloadError, match="not a channel that can be read"):
            against(package, f"{url}/nothing", tmp_path)
        with pytest.raises(DownloadError, match=r"nothing\.conda"):
            against(package, f"{url}/nothing.conda", tmp_path)


def test_upgrade_keeps_what_the_user_has(tmp_path: Path) -> None:
    """An environment is upgraded and emptied; files that did not come from a package stay."""
    channel, prefix, cache = tmp_path / "channel", tmp_path / "prefix", tmp_path / "cache"
    old = library_package(tmp_path, '{"version": 1}')
    add_packages([old], str(channel))
    install(solve(channel.as_uri(), "phasic-models-coalescent"), prefix, cache)
    folder = prefix / "share" / "phasic_cache" / "symbolic"
    (folder / "mine.json").write_text("mine")
    add_packages([library_package(tmp_path, '{"version": 2}', version="1.1.0")], str(channel))
    install(solve(channel.as_uri(), "phasic-models-coalescent"), prefix, cache)
    assert (folder / "coalescent" / "manifest.json").read_text() == '{"version": 2}'
    install([], prefix, cache)
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["mine.json"]


def test_ten_thousand_packages_solve_in_under_a_second(tmp_path: Path) -> None:
    """Written as repodata only: what a client downloads of a large channel is its index."""
    import json

    channel = tmp_path / "channel"
    package = library_package(tmp_path)
    add_packages([package], str(channel))
    repodata = channel / "noarch" / "repodata.json"
    content = json.loads(repodata.read_text())
    ((name, record),) = content["packages.conda"].items()
    for number in range(10_000):
        category, version = f"phasic-models-lib{number % 100:03}", f"1.{number // 100}.0"
        entry = record | {"name": category, "version": version}
        content["packages.conda"][f"{category}-{version}-{record['build']}.conda"] = entry
    repodata.write_text(json.dumps(content))
    for other in ("repodata.json.zst", "repodata_shards.msgpack.zst"):
        (channel / "noarch" / other).unlink()
    assert name == package.name
    gateway = rattler.Gateway(cache_dir=tmp_path / "repodata cache")

    async def run() -> list[rattler.RepoDataRecord]:
        return await rattler.solve(
            [rattler.Channel(channel.as_uri())],
            ["phasic-models-coalescent", "phasic-models-lib007", "phasic-models-lib042 <1.50"],
            gateway=gateway,
            platforms=["noarch"],
            timeout=timedelta(seconds=30),
        )

    import asyncio

    asyncio.run(run())
    start = time.perf_counter()
    records = asyncio.run(run())
    seconds = time.perf_counter() - start
    assert names(records) == [
        "phasic-models-coalescent 1.0.0",
        "phasic-models-lib007 1.99.0",
        "phasic-models-lib042 1.49.0",
    ]
    assert seconds < 1


# -- S3 -----------------------------------------------------------------------------------------------------------


def s3_client(bucket: Bucket) -> rattler.Client:
    from rattler.networking.middleware import S3Config, S3Middleware

    return rattler.Client([S3Middleware({bucket.name: S3Config(bucket.endpoint, "us-east-1", "path")})])


@pytest.mark.parametrize("folder", ["", "/some/folder"])
def test_a_channel_in_a_bucket(s3: Bucket, folder: str, tmp_path: Path) -> None:
    channel = f"{s3.url}{folder}"
    old = library_package(tmp_path)
    assert add_packages([old], channel) == [old.name]
    new = library_package(tmp_path, '{"version": 2}', version="1.1.0")
    other = library_package(tmp_path, category="queuing")
    assert add_packages([old, new, other], channel) == [new.name, other.name]
    changed = library_package(tmp_path, '{"a": 1}')
    with pytest.raises(LibraryError, match=r"phasic-models-coalescent 1\.0\.0 build 0 is already in s3://"):
        add_packages([changed], channel)
    shutil.copy(changed, tmp_path / old.name)
    with pytest.raises(LibraryError, match="with other bytes"):
        add_packages([tmp_path / old.name], channel)
    prefix, client = tmp_path / "a prefix", s3_client(s3)

    def installed(*specs: str) -> list[str]:
        records = solve(channel, *specs, client=client)
        install(records, prefix, tmp_path / "cache", client)
        return names(records)

    both = ["phasic-models-coalescent 1.1.0", "phasic-models-queuing 1.0.0"]
    assert installed("phasic-models-coalescent", "phasic-models-queuing") == both
    folder_of = prefix / "share" / "phasic_cache" / "symbolic"
    assert (folder_of / "coalescent" / "manifest.json").read_text() == '{"version": 2}'
    assert installed("phasic-models-coalescent <1.1") == ["phasic-models-coalescent 1.0.0"]
    assert (folder_of / "coalescent" / "manifest.json").read_text() == "{}"
    assert not (folder_of / "queuing" / "manifest.json").exists()


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="s3://no-such-bucket-here"):
        add_packages([library_package(tmp_path)], "s3://no-such-bucket-here/x")


def test_an_index_drops_what_was_removed(tmp_path: Path) -> None:
    channel = tmp_path / "channel"
    first = stub(channel, "phasic", "0.21.0")
    stub(channel, "phasic", "0.20.0")
    url = index(channel)
    assert names(solve(url, "phasic")) == ["phasic 0.21.0"]
    first.unlink()
    index_channel(channel)
    assert names(solve(url, "phasic")) == ["phasic 0.20.0"]
