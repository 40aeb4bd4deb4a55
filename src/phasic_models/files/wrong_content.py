"""Recognise what often comes in place of a file: a web page, or a Git LFS pointer."""

from __future__ import annotations

import re

_LFS = b"version https://git-lfs.github.com/spec/"


def explain_wrong_content(head: bytes, content_type: str = "") -> str | None:
    """Say what a file's first bytes show it to be instead of data.

    Parameters
    ----------
    head : bytes
        The beginning of the file; some kilobytes are enough.
    content_type : str
        The type that the server states.

    Returns
    -------
    str or None
        An explanation and what to do, or None where nothing is suspicious.
    """
    if head.startswith(_LFS):
        return (
            "a Git LFS pointer, which only names the file: run `git lfs pull` in the clone, "
            "or use the address of the file itself (for GitHub: media.githubusercontent.com, or a release)"
        )
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if "html" in content_type.lower() or start.startswith((b"<!doctype html", b"<html")):
        title = re.search(rb"<title[^>]*>(.*?)</title>", head, re.IGNORECASE | re.DOTALL)
        named = f", titled {' '.join(title.group(1).decode('utf-8', 'replace').split())[:200]!r}" if title else ""
        return f"an HTML page{named}: a login page, an error page, or the address of a web page in place of a file"
    return None
