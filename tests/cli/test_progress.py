"""Progress: a callback as it is, a bar at a terminal, silence in a pipe."""

from __future__ import annotations

import io
import sys

import pytest

from phasic_models.progress import reporting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_callback_is_used_as_it_is():
    seen = []
    with reporting(lambda *call: seen.append(call)) as report:
        report("a", 1, 2)
    assert seen == [("a", 1, 2)]


@pytest.mark.parametrize("wanted", [None, False])
def test_silence_in_a_pipe(monkeypatch, wanted):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with reporting(wanted) as report:
        assert report is None
    assert stream.getvalue() == ""


def test_a_bar_at_a_terminal_that_leaves_nothing_behind(monkeypatch):
    pytest.importorskip("rich")
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm-256color")
    with reporting(None) as report:
        report("models.tar.gz", 10, 100)
        report("models.tar.gz", 100, 100)
        report("unknown size", 5, None)
    text = stream.getvalue()
    assert "models.tar.gz" in text
    assert text.endswith(("\x1b[2K", "\x1b[?25h", "\x1b[1A\x1b[2K")), "the bar is wiped out at the end"


def test_without_rich_there_is_no_bar(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with reporting(True) as report:
        assert report is None
