"""The order of the cache layers, and which one may be written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from phasic_models.cache import prefix


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """A home, a sys.prefix and no variables; returns the folder that holds them."""
    for name in ("PHASIC_CACHE_DIR", "PHASIC_SHARED_CACHE_DIRS", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    return tmp_path


def roots(*arguments):
    return [layer.root for layer in prefix.layers(*arguments)]


def written(*arguments):
    return [layer.root for layer in prefix.layers(*arguments) if layer.writable]


def test_default_layers(environment):
    assert roots() == [environment / "env" / "share" / "phasic_cache", environment / "home" / ".phasic_cache"]
    assert written() == [environment / "home" / ".phasic_cache"]


def test_full_order(environment, monkeypatch):
    monkeypatch.setenv("PHASIC_CACHE_DIR", str(environment / "own"))
    monkeypatch.setenv("CONDA_PREFIX", str(environment / "conda"))
    monkeypatch.setenv(
        "PHASIC_SHARED_CACHE_DIRS", os.pathsep.join([str(environment / "a"), "", str(environment / "b")])
    )
    expected = ["explicit", "own", "env/share/phasic_cache", "conda/share/phasic_cache", "a", "b", "home/.phasic_cache"]
    assert roots(environment / "explicit") == [environment / part for part in expected]
    assert written(environment / "explicit") == [environment / "explicit"]
    assert written() == [environment / "own"]
    origins = [layer.origin for layer in prefix.layers(environment / "explicit")]
    assert origins == [
        "argument",
        "PHASIC_CACHE_DIR",
        "sys.prefix",
        "CONDA_PREFIX",
        "PHASIC_SHARED_CACHE_DIRS",
        "PHASIC_SHARED_CACHE_DIRS",
        "home",
    ]


def test_a_folder_comes_once_at_its_first_place(environment, monkeypatch):
    monkeypatch.setenv("CONDA_PREFIX", str(environment / "env"))
    monkeypatch.setenv("PHASIC_SHARED_CACHE_DIRS", str(environment / "home" / "x" / ".." / ".phasic_cache"))
    assert roots() == [environment / "env" / "share" / "phasic_cache", environment / "home" / ".phasic_cache"]
    # Being named as shared does not take away that it is the user's own.
    assert written() == [environment / "home" / ".phasic_cache"]


def test_the_symbolic_folder_of_a_root_names_the_root(environment, monkeypatch):
    assert roots(environment / "own" / "symbolic")[0] == environment / "own"
    monkeypatch.setenv("PHASIC_CACHE_DIR", str(environment / "own" / "symbolic"))
    assert prefix.layers()[0].symbolic == environment / "own" / "symbolic"


def test_home_is_expanded(environment, monkeypatch):
    assert roots("~/elsewhere")[0] == environment / "home" / "elsewhere"
    monkeypatch.setenv("PHASIC_CACHE_DIR", "~/cache")
    assert roots()[0] == environment / "home" / "cache"


def test_relative_paths_do_not_follow_the_working_directory(environment, monkeypatch):
    monkeypatch.chdir(environment)
    layer = prefix.layers("cache")[0]
    monkeypatch.chdir("/")
    assert layer.root == environment / "cache"


def test_empty_variable_counts_as_unset(environment, monkeypatch):
    monkeypatch.setenv("PHASIC_CACHE_DIR", "")
    assert roots() == [environment / "env" / "share" / "phasic_cache", environment / "home" / ".phasic_cache"]


def test_empty_argument_is_refused(environment):
    with pytest.raises(ValueError, match="empty string"):
        prefix.layers("")


def test_without_a_home_nothing_is_writable(environment, monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert roots() == [environment / "env" / "share" / "phasic_cache"]
    assert written() == []
    with pytest.raises(OSError, match="PHASIC_CACHE_DIR"):
        prefix.writable_layer()
    assert prefix.writable_layer(environment / "x").root == environment / "x"


def test_nothing_is_created(environment):
    prefix.layers(environment / "explicit")
    assert list(environment.iterdir()) == []


def test_description_names_every_layer(environment):
    (environment / "own" / "symbolic").mkdir(parents=True)
    text = prefix.describe(prefix.layers(environment / "own"))
    assert f"{environment / 'own' / 'symbolic'}  (argument, writable)" in text
    assert f"{Path('home') / '.phasic_cache' / 'symbolic'}  (home, does not exist)" in text
