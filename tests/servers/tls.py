"""A certificate authority for servers on localhost."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """A private certificate authority: its PEM file, and a context for a server on localhost."""

    pem: Path
    context: ssl.SSLContext


def make_authority(folder: Path) -> Authority:
    import trustme

    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    pem = folder / "ca.pem"
    ca.cert_pem.write_to_path(str(pem))
    return Authority(pem, context)
