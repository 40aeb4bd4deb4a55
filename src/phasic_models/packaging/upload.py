"""Uploading packages to a channel server: prefix.dev or anaconda.org."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DownloadError, LibraryError
from .conda import read_package
from .published import find_package, refusal

__all__ = ["SERVERS", "Server", "upload_packages"]


@dataclass(frozen=True)
class Server:
    """One kind of channel server.

    Attributes
    ----------
    api
        Where packages are sent.
    channels
        Where the channels are; the name of one follows.
    key_variable
        Environment variable with the secret key.
    """

    api: str
    channels: str
    key_variable: str


SERVERS = {
    "prefix": Server("https://prefix.dev", "https://prefix.dev", "PREFIX_API_KEY"),
    "anaconda": Server("https://api.anaconda.org", "https://conda.anaconda.org", "ANACONDA_API_KEY"),
}


def upload_packages(packages: Sequence[Path], kind: str, channel: str, *, server: Server | None = None) -> list[str]:
    """Upload the packages that a channel does not have yet.

    On GitHub, a job with the right ``id-token: write`` needs no key for prefix.dev: the server knows the workflow, and each
    package gets an attestation of where it was built.

    Parameters
    ----------
    packages
        ``noarch`` packages.
    kind
        ``prefix`` or ``anaconda``.
    channel
        Name of the channel, or of its owner on anaconda.org.
    server
        Another server of that kind, such as one of your own.

    Returns
    -------
    list of str
        File names of the packages that were uploaded.

    Raises
    ------
    LibraryError
        Where the channel has the same version and build number with other bytes. Nothing is uploaded then.
    DownloadError
        Where the channel cannot be read or the server refuses.
    """
    from rattler_build import RattlerBuildError, upload_package_to_anaconda, upload_package_to_prefix

    server = server or SERVERS[kind]
    new = []
    with tempfile.TemporaryDirectory(prefix="phasic-models-") as scratch:
        for path in packages:
            content = read_package(path)
            found = find_package(f"{server.channels}/{channel}", content.identity, Path(scratch))
            if found is None:
                new.append(path)
            elif found[1] != content.sha256:
                raise LibraryError(refusal(path, content, found[0]))
    key = os.environ.get(server.key_variable) or None
    by_workflow = kind == "prefix" and key is None and "ACTIONS_ID_TOKEN_REQUEST_URL" in os.environ
    files = [str(path) for path in new]
    try:
        if kind == "prefix" and files:
            upload_package_to_prefix(files, server.api, channel, api_key=key, generate_attestation=by_workflow)
        elif files:
            upload_package_to_anaconda(files, channel, api_key=key, url=server.api)
    except RattlerBuildError as error:
        raise DownloadError(
            f"{kind}:{channel}: the upload failed ({error}). A key is read from {server.key_variable}"
        ) from error
    return [path.name for path in new]
