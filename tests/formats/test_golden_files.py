"""Every file and checksum of the formats against files that lie in golden/files: a change here is a change of the format.

``python tests/formats/test_golden_files.py`` writes them anew, which only a new version of the format may need.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from format_helpers import rational

from phasic_models import formats
from phasic_models.files.checksums import write_checksums
from phasic_models.formats.release_index import (
    Artefact,
    Index,
    LibraryEntry,
    ModelEntry,
    Release,
    encode_index,
    parse_index,
)

GOLDEN = Path(__file__).parent / "golden" / "files"
MODEL = ("rational.json", "rational.safetensors", "rational.meta")


def write_all(folder: Path) -> None:
    """Write one model, its manifest, and the index of a release that has it."""
    dag = rational().eliminate()
    (folder / "rational.json").write_text(dag.to_json(), encoding="utf-8", newline="\n")
    (folder / "rational.safetensors").write_bytes(formats.dag_to_bytes(dag))
    meta = formats.ModelMeta(
        model_name="rational",
        graph_hash=dag.graph.content_hash(),
        theta=[formats.Parameter(name="a", description="Größe α"), formats.Parameter(name="b")],
        description="A walk with rates that are fractions of a and b",
        format_version="1.0",
    )
    formats.write_meta(folder / "rational.meta", meta)
    checksums = {name: "sha256:" + hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in MODEL}
    entry = formats.ManifestModel(name="rational", hash=dag.graph.content_hash(), vertices=6, parameters=["a", "b"])
    manifest = formats.Manifest(
        category="walks",
        version="1.2.0",
        description="Walks",
        format_version="1.0",
        models=[entry],
        checksums=checksums,
    )
    formats.write_manifest(folder / "manifest.json", manifest)
    write_checksums([folder / name for name in MODEL], folder / "SHA256SUMS")
    artefact = Artefact(
        file="walks_models_v1.2.0.tar.gz",
        urls=["https://example.org/ü/walks_models_v1.2.0.tar.gz", "walks_models_v1.2.0.tar.gz"],
        size=1000,
        sha256="ab" * 32,
        unpacked_size=5000,
        manifest_sha256=hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest(),
        content_sha256="cd" * 32,
    )
    (folder / "index.json").write_bytes(encode_index(index_of(artefact)))


def index_of(artefact: Artefact) -> Index:
    release = Release(
        artefacts=[artefact],
        format_version="1.0",
        compatible={"phasic-models": ">=0.1,<1", "phasic": ">=0.21,<0.33"},
        models=[ModelEntry(name="rational", vertices=6, parameters=["b", "a"])],
    )
    return Index(libraries={"walks": LibraryEntry(description="Walks – ganz kurz", versions={"1.2.0": release})})


def written() -> list[str]:
    return sorted(path.name for path in GOLDEN.iterdir())


def test_every_kind_of_file_is_there():
    assert written() == sorted([*MODEL, "manifest.json", "manifest.sha256", "SHA256SUMS", "index.json"])


@pytest.fixture(scope="module")
def now(tmp_path_factory):
    folder = tmp_path_factory.mktemp("now")
    write_all(folder)
    return folder


@pytest.mark.parametrize("name", [*MODEL, "manifest.json", "manifest.sha256", "SHA256SUMS", "index.json"])
def test_the_same_bytes_as_ever(now, name):
    assert (now / name).read_bytes() == (GOLDEN / name).read_bytes()


def test_they_are_read():
    expected = rational().eliminate().model().expectation([0.7, 1.3])
    for dag in (
        formats.dag_from_json((GOLDEN / "rational.json").read_text(encoding="utf-8")),
        formats.dag_from_bytes((GOLDEN / "rational.safetensors").read_bytes()),
    ):
        assert dag.model().expectation([0.7, 1.3]) == expected
    assert formats.read_manifest(GOLDEN / "manifest.json").version == "1.2.0"
    assert parse_index((GOLDEN / "index.json").read_bytes()).libraries["walks"].description == "Walks – ganz kurz"


@pytest.mark.parametrize("name", ["SHA256SUMS", "manifest.sha256"])
def test_sums_as_sha256sum_reads_them(name):
    lines = (GOLDEN / name).read_text(encoding="utf-8").splitlines()
    assert lines
    for line in lines:
        digest, file = line[:64], line[66:]
        assert line[64:66] in ("  ", " *")
        assert hashlib.sha256((GOLDEN / file).read_bytes()).hexdigest() == digest


def canonical(value: object) -> str:
    """JSON with sorted keys, without spaces, in UTF-8: written out here, and not left to a library."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{canonical(key)}:{canonical(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int):
        return str(value)
    assert isinstance(value, str)
    assert not set(value) & {'"', "\\"}
    return f'"{value}"'


def test_the_checksum_of_the_index_by_other_means():
    document = json.loads((GOLDEN / "index.json").read_bytes())
    compatible = document["libraries"]["walks"]["versions"]["1.2.0"]["compatible"]
    assert list(compatible) != sorted(compatible)  # the order of keys in the file does not count
    checksum = document.pop("checksum")
    assert checksum == "sha256:" + hashlib.sha256(canonical(document).encode()).hexdigest()


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    write_all(GOLDEN)
