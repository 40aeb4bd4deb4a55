"""A listing that is remembered is right, or is made again."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from phasic_models.cache import listing

links = pytest.mark.skipif(os.name == "nt", reason="links to folders need a privilege there")


@pytest.fixture
def folder(tmp_path):
    listing.forget()
    (tmp_path / "root" / "symbolic").mkdir(parents=True)
    return tmp_path / "root" / "symbolic"


@pytest.fixture
def scans(monkeypatch):
    """Every listing counts as slow; returns the list of folders that were listed."""
    monkeypatch.setattr(listing, "SLOW", -1.0)
    done = []
    original = listing._names
    monkeypatch.setattr(listing, "_names", lambda folder: done.append(folder) or original(folder))
    return done


def names(folder, keep=True):
    return listing.subfolders(folder, folder.parent / "note.json", keep=keep)


def fill(folder, count=3):
    for _ in range(count):
        (folder / f"{secrets.token_hex(32)}.json").touch()


def counts_links(folder):
    return folder.parent.stat().st_nlink == 3


@links
def test_sees_every_change_at_once(folder):
    assert names(folder) == []
    (folder / "b").mkdir()
    (folder / "a").mkdir()
    fill(folder)
    assert names(folder) == ["a", "b"]
    (folder / "b").rmdir()
    (folder / "c").symlink_to(folder / "a")
    assert names(folder) == ["a", "c"]
    shutil.rmtree(folder)
    assert names(folder) == []
    assert not (folder.parent / "note.json").exists()


def test_a_slow_listing_is_not_repeated_for_new_files(folder, scans):
    if not counts_links(folder):
        pytest.skip("this file system does not count sub-folders")
    (folder / "a").mkdir()
    assert names(folder) == ["a"]
    for _ in range(5):
        fill(folder)
        assert names(folder) == ["a"]
    assert len(scans) == 1
    (folder / "b").mkdir()
    assert names(folder) == ["a", "b"]
    (folder / "a").rename(folder / "c")
    assert names(folder) == ["b", "c"]
    assert len(scans) == 3


def test_the_next_process_uses_the_note(folder, scans):
    if not counts_links(folder):
        pytest.skip("this file system does not count sub-folders")
    (folder / "a").mkdir()
    names(folder)
    listing.forget()
    fill(folder)
    assert names(folder) == ["a"]
    assert len(scans) == 1
    (folder / "b").mkdir()
    assert names(folder) == ["a", "b"]


def test_a_read_only_layer_gets_no_note(folder, scans):
    names(folder, keep=False)
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"names": ["x"]}', b"\xff\xfe"])
def test_a_damaged_note_counts_for_nothing(folder, scans, content):
    (folder / "a").mkdir()
    (folder.parent / "note.json").write_bytes(content)
    assert names(folder) == ["a"]


@links
def test_belief_has_an_end(folder, scans, monkeypatch):
    """A link to a folder is not counted, so it is seen late, but it is seen."""
    (folder / "a").mkdir()
    names(folder)
    (folder.parent / "elsewhere").mkdir()
    (folder / "linked").symlink_to(folder.parent / "elsewhere")
    monkeypatch.setattr(listing, "BELIEVED", 0.0)
    monkeypatch.setattr(listing, "PATIENCE", 0.0)
    assert names(folder) == ["a", "linked"]


def test_without_counted_links_a_slow_listing_is_repeated_after_a_while(folder, scans, monkeypatch):
    monkeypatch.setattr(listing, "_counts", lambda _: False)
    monkeypatch.setattr(listing, "PATIENCE", 20_000.0)
    names(folder)
    (folder / "a").mkdir()
    assert names(folder) == []
    monkeypatch.setattr(listing, "PATIENCE", 0.0)
    assert names(folder) == ["a"]
    assert not (folder.parent / "note.json").exists()


class History(RuleBasedStateMachine):
    """Whatever happens to the folder, in this process or another, a remembered listing equals a fresh one."""

    def __init__(self):
        super().__init__()
        import tempfile

        self.root = Path(tempfile.mkdtemp())
        self.folder = self.root / "symbolic"
        self.folder.mkdir()
        self.slow, listing.SLOW = listing.SLOW, -1.0
        self.trusted = counts_links(self.folder)
        listing.forget()

    def teardown(self):
        listing.SLOW = self.slow
        shutil.rmtree(self.root)

    @rule(name=st.sampled_from("abc"))
    def add(self, name):
        (self.folder / name).mkdir(exist_ok=True)

    @rule(name=st.sampled_from("abc"))
    def remove(self, name):
        shutil.rmtree(self.folder / name, ignore_errors=True)

    @rule(old=st.sampled_from("abc"), new=st.sampled_from("abc"))
    def rename(self, old, new):
        if (self.folder / old).exists() and not (self.folder / new).exists():
            (self.folder / old).rename(self.folder / new)

    @rule()
    def save_an_entry(self):
        fill(self.folder, 1)

    @rule()
    def another_process(self):
        listing.forget()

    @invariant()
    def equals_a_fresh_listing(self):
        if self.trusted:
            assert names(self.folder) == sorted(path.name for path in self.folder.iterdir() if path.is_dir())


History.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestHistory = History.TestCase


def test_a_full_folder_is_looked_up_quickly(folder):
    """The point of it all, on 20,000 real files: a process's first look-up after a save does not list them."""
    if not counts_links(folder):
        pytest.skip("this file system does not count sub-folders")
    fill(folder, 20_000)
    (folder / "a").mkdir()
    names(folder)
    times = []
    for _ in range(5):
        fill(folder, 1)
        listing.forget()
        started = time.perf_counter()
        assert names(folder) == ["a"]
        times.append(time.perf_counter() - started)
    assert min(times) < 0.003
