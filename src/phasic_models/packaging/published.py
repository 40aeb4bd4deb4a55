"""Packages that are published: whether a channel has one, and why another of the same name is refused."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from ..errors import DownloadError
from .conda import ALL_PACKAGE, PackageContent, package_differences

__all__ = ["find_package", "refusal"]


def find_package(channel: str, identity: tuple[str, str, int], scratch: Path) -> tuple[str, str] | None:
    """Look a package up in a channel.

    Parameters
    ----------
    channel
        URL or folder of the channel.
    identity
        Name, version and build number.
    scratch
        Folder for the channel's index.

    Returns
    -------
    tuple of str or None
        URL and SHA-256 of the package; None where the channel has no such version and build number.

    Raises
    ------
    DownloadError
        Where the channel cannot be read.
    """
    from rattler import Channel, Gateway
    from rattler.exceptions import GatewayError

    name, version, number = identity
    url = channel if "://" in channel else Path(channel).resolve().as_uri()
    # A new cache each time: py-rattler 0.28 takes the answer "not modified" for an error where a channel has shards.
    gateway = Gateway(cache_dir=Path(tempfile.mkdtemp(prefix="repodata-", dir=scratch)))

    async def query() -> Any:
        return await gateway.query([Channel(url)], ["noarch"], [name], recursive=False)

    try:
        answer = asyncio.run(query())
    except GatewayError as error:
        raise DownloadError(f"{channel}: not a channel that can be read ({error})") from error
    for records in answer:
        for record in records:
            if str(record.version) == version and record.build_number == number:
                return record.url, record.sha256.hex()
    return None


def refusal(path: Path, content: PackageContent, where: str, theirs: PackageContent | None = None) -> str:
    """Say that a package is published with other bytes already, and what to do.

    Parameters
    ----------
    path, content
        Our package.
    where
        The channel or package that has it.
    theirs
        Content of the published package, to say what differs.
    """
    name, version, number = content.identity
    lines = "".join(f"\n  {line}" for line in package_differences(content, theirs)) if theirs else ""
    advice = "raise 'build' or 'version' in library.yaml"
    if name == ALL_PACKAGE:
        advice = (
            "raise 'version' in pyproject.toml, which is that of this package, or add the libraries that changed alone, with "
            "--category"
        )
    return (
        f"{path.name}: {name} {version} build {number} is already in {where}, with other bytes. A published build is "
        f"never replaced: {advice}.{lines}"
    )
