"""Metadata, manifests and the atomic writing of files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import jsonschema
import pytest
from format_helpers import HASH, machine
from hypothesis import given
from hypothesis import strategies as st

from phasic_models import formats
from phasic_models.errors import FormatError

# -- metadata and manifest --

GUIDE_META = """{
  "model_name": "coalescent_n10",
  "description": "Coalescent model for 10 samples",
  "phasic_version": "0.21.3",
  "created": "2025-10-13T10:30:00Z",
  "graph_hash": "a3f2e9c8b1d4...",
  "stats": {
    "vertices": 1024,
    "edges": 2048,
    "elimination_time_ms": 234.5
  },
  "parameters": {
    "n_samples": 10,
    "mutation_rate_param": true
  },
  "compatible_versions": ["0.21.x", "0.22.x"]
}"""

GUIDE_MANIFEST = """{
  "category": "coalescent",
  "description": "Population genetics coalescent models",
  "version": "1.0.0",
  "models": [
    {
      "name": "n_samples_3",
      "hash": "a3f2e9c8b1d4...",
      "description": "3 sample coalescent",
      "vertices": 256,
      "parameters": ["mutation_rate"]
    }
  ],
  "checksums": {
    "n_samples_3.json": "sha256:@HASH@"
  }
}""".replace("@HASH@", HASH)


def test_the_metadata_of_the_guide() -> None:
    meta = formats.decode_meta(GUIDE_META.encode())
    assert meta.stats is not None
    assert (meta.stats.vertices, meta.stats.elimination_time_ms) == (1024, 234.5)
    assert meta.parameters == {"n_samples": 10, "mutation_rate_param": True}
    assert json.loads(formats.encode_meta(meta)) == json.loads(GUIDE_META)
    jsonschema.validate(json.loads(GUIDE_META), formats.json_schema("meta"))


def test_the_metadata_of_step_3_of_the_guide(tmp_path: Path) -> None:
    """Written with json.dump, without a format version, and with fields of one's own."""
    path = tmp_path / "x.meta"
    path.write_text(
        json.dumps(
            {
                "model_name": "coalescent_n3",
                "description": "Coalescent model: coalescent_n3",
                "phasic_version": "0.21.3",
                "created": "2025-10-13T10:30:00Z",
                "graph_hash": HASH,
                "laboratory": {"room": 3},
            },
            indent=2,
        )
    )
    assert formats.read_meta(path).graph_hash == HASH


def test_the_manifest_of_the_guide() -> None:
    manifest = formats.decode_manifest(GUIDE_MANIFEST.encode())
    assert manifest.models[0].parameters == ["mutation_rate"]
    assert json.loads(formats.encode_manifest(manifest)) == json.loads(GUIDE_MANIFEST)
    jsonschema.validate(json.loads(GUIDE_MANIFEST), formats.json_schema("manifest"))


text = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
maybe_text = st.none() | text
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
metas = st.builds(
    formats.ModelMeta,
    model_name=st.text("abc_1", min_size=1),
    description=text,
    format_version=st.sampled_from([None, "1.0", "1.3"]),
    graph_hash=st.just(HASH),
    created=maybe_text,
    stats=st.none() | st.builds(formats.Stats, vertices=st.integers(0, 10**9), elimination_time_ms=st.floats(0, 1e300)),
    parameters=st.dictionaries(text, json_values, max_size=3),
    theta=st.lists(
        st.builds(formats.Parameter, name=names, unit=text, example=st.none() | st.floats(-10, 10)), max_size=3
    ),
    citation=st.none()
    | st.builds(formats.Citation, authors=st.lists(text, max_size=2), year=st.none() | st.integers(1600, 2100)),
    status=st.sampled_from([None, "provisional", "verified", "retracted"]),
    retraction=st.none() | st.builds(formats.Retraction, reason=names),
    errata=st.lists(st.builds(formats.Erratum, description=text, affects=maybe_text), max_size=2),
    is_discrete=st.none() | st.booleans(),
    compatible_versions=st.lists(text, max_size=2),
)
manifests = st.builds(
    formats.Manifest,
    category=names,
    description=text,
    version=names,
    models=st.lists(
        st.builds(formats.ManifestModel, name=names, hash=st.just(HASH), parameters=st.lists(text, max_size=2)),
        max_size=3,
        unique_by=lambda model: model.name,
    ),
    checksums=st.dictionaries(names, st.just(f"sha256:{HASH}"), max_size=4),
)


@given(meta=metas)
def test_round_trip_of_metadata(meta: formats.ModelMeta) -> None:
    data = formats.encode_meta(meta)
    assert formats.decode_meta(data) == meta
    assert data.endswith(b"}\n")
    assert b"\r" not in data
    jsonschema.validate(json.loads(data), formats.json_schema("meta"))


@given(manifest=manifests)
def test_round_trip_of_manifests(manifest: formats.Manifest) -> None:
    data = formats.encode_manifest(manifest)
    assert formats.decode_manifest(data) == manifest
    assert formats.encode_manifest(formats.decode_manifest(data)) == data
    assert list(json.loads(data).get("checksums", {})) == sorted(manifest.checksums)
    jsonschema.validate(json.loads(data), formats.json_schema("manifest"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_lacks_is_not_written(value: float) -> None:
    with pytest.raises(FormatError, match=r"`\$\.parameters\.rates\[1\]`"):
        formats.encode_meta(formats.ModelMeta(model_name="m", graph_hash=HASH, parameters={"rates": [1.0, value]}))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '"n_samples_3"',
            '"../n_samples_3"',
            r"cannot be a file name: it holds a separator.* - at `\$\.models\[0\]\.name`",
        ),
        ('"n_samples_3"', '"C:x"', "cannot be a file name"),
        ('"n_samples_3"', '".."', "cannot be a file name"),
        ('"n_samples_3"', '"a\\u0000b"', "cannot be a file name"),
        ('"n_samples_3"', '"x."', "cannot be a file name"),
        (
            '"n_samples_3.json"',
            '"/etc/passwd"',
            r"cannot be a file name: it holds a separator of folders - at `\$\.checksums`",
        ),
        ('"n_samples_3.json"', '"a\\\\b.json"', "cannot be a file name"),
        ("sha256:0", "sha256:X", "is not 'sha256:' and 64 hexadecimal digits"),
        ("sha256:0", "md5:0", "is not 'sha256:' and 64 hexadecimal digits"),
        ("256,", "-1,", r"`\$\.models\[0\]\.vertices`"),
        ("256,", '"many",', r"Expected `int.*`, got `str` - at `\$\.models\[0\]\.vertices`"),
        ('"models": [', '"models": [{"name": "n_samples_3", "hash": "x"},', "listed twice"),
        ('"category": "coalescent",', "", "missing required field `category`"),
        ('"category"', '"category": "a", "category"', "occurs twice"),
    ],
)
def test_bad_manifests(old: str, new: str, message: str) -> None:
    assert old in GUIDE_MANIFEST
    with pytest.raises(FormatError, match=message) as caught:
        formats.decode_manifest(GUIDE_MANIFEST.replace(old, new, 1).encode(), source="manifest.json")
    assert str(caught.value).startswith("manifest.json: ")


def test_a_bad_status() -> None:
    with pytest.raises(FormatError, match=r"`\$\.status`"):
        formats.decode_meta(b'{"model_name": "m", "graph_hash": "x", "status": "fine"}')


def test_a_folder_is_compared_with_its_manifest(tmp_path: Path) -> None:
    dag = machine().eliminate()
    for suffix in (".json", ".safetensors"):
        dag.save(tmp_path / f"machine{suffix}")
    manifest = formats.Manifest(
        category="reliability",
        models=[formats.ManifestModel(name="machine", hash=dag.content_hash())],
        checksums={
            f"machine{s}": f"sha256:{formats.sha256_file(tmp_path / f'machine{s}')}" for s in (".json", ".safetensors")
        },
    )
    formats.write_manifest(tmp_path / "manifest.json", manifest)
    assert formats.read_manifest(tmp_path / "manifest.json") == manifest
    assert formats.manifest_problems(tmp_path) == []

    (tmp_path / "machine.safetensors").unlink()
    (tmp_path / "machine.json").write_text("{}")
    manifest.models.append(formats.ManifestModel(name="other", hash=HASH))
    formats.write_manifest(tmp_path / "manifest.json", manifest)
    altered_file, missing, uncovered = formats.manifest_problems(tmp_path)
    assert "machine.json: altered or damaged" in altered_file
    assert "machine.safetensors: missing" in missing
    assert "'other'" in uncovered


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for read in (formats.open_dag, formats.read_meta, formats.read_manifest):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "nothing.json")


# -- writing --


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.mkdir()
    with pytest.raises(OSError, match="file"):
        formats.write_atomic(target, b"new")
    assert [item.name for item in tmp_path.iterdir()] == ["file"]
    with pytest.raises(FileNotFoundError):
        formats.write_atomic(tmp_path / "nowhere" / "file", b"new")


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes there")
def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """The limit on the size of files makes a write fail in the middle, as a full disk does."""
    (tmp_path / "file").write_bytes(b"old")
    code = (
        "import resource, sys; from phasic_models.formats import write_atomic\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: write_atomic(sys.argv[1], b'x' * 1_000_000)\n"
        "except OSError as error: print('failed', error.errno)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "file")], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith("failed")
    assert [item.name for item in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.skipif(sys.platform == "win32", reason="no umask there")
def test_others_may_read_what_the_umask_allows(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        formats.write_atomic(tmp_path / "file", "text")
    finally:
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_other_names_of_a_file_keep_the_old_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    os.link(tmp_path / "a", tmp_path / "b")
    formats.write_atomic(tmp_path / "a", b"new")
    assert (tmp_path / "b").read_bytes() == b"old"


def test_readers_see_whole_files_only(tmp_path: Path) -> None:
    target = tmp_path / "file"
    contents = [bytes([letter]) * 100_000 for letter in b"abcd"]
    target.write_bytes(contents[0])
    done = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not done.is_set():
            seen.add(target.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    writers = [
        threading.Thread(target=lambda data=data: [formats.write_atomic(target, data) for _ in range(10)])
        for data in contents
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    done.set()
    reader.join()
    assert seen <= set(contents)
    assert [item.name for item in tmp_path.iterdir()] == ["file"]
