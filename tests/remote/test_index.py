"""The release index: its form, its checksum, finding it, and the choice of a version."""

from __future__ import annotations

import json
from importlib import resources

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version
from reaching import reaches

from phasic_models import compat
from phasic_models.errors import (
    CompatibilityError,
    DownloadError,
    FormatError,
    LibraryError,
    ModelNotFoundError,
    OfflineError,
)
from phasic_models.files.names import name_problem
from phasic_models.formats import Retraction
from phasic_models.formats.release_index import (
    Artefact,
    Index,
    LibraryEntry,
    ModelEntry,
    Release,
    content_checksum,
    encode_index,
    index_schema,
    parse_index,
)
from phasic_models.packaging.indexing import describe_tarball, merge, write_release_files
from phasic_models.remote.choosing import parse_requirement, retracted_models, select
from phasic_models.remote.index_sources import DEFAULT_INDEX, artefact_addresses, index_addresses, read_index
from phasic_models.remote.options import TransferOptions

pytestmark = pytest.mark.usefixtures("clean_environment")
SHA256 = "0123456789abcdef" * 4


def artefact(**fields) -> Artefact:
    values = {"file": "a.tar.gz", "urls": ["a.tar.gz"], "size": 1, "sha256": SHA256, "unpacked_size": 2}
    return Artefact(**{**values, "manifest_sha256": SHA256, **fields})


def release(**fields) -> Release:
    return Release(**{"artefacts": [artefact()], "format_version": "1.0", **fields})


def index_of(**versions: Release) -> Index:
    named = {name.removeprefix("v").replace("_", "."): entry for name, entry in versions.items()}
    return Index(libraries={"coalescent": LibraryEntry(versions=named)})


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True).filter(lambda name: name_problem(name) is None)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
versions = st.tuples(*[st.integers(0, 30)] * 3).map(lambda numbers: ".".join(map(str, numbers)))
sha256s = st.text("0123456789abcdef", min_size=64, max_size=64)
artefacts = st.builds(
    Artefact,
    file=names,
    urls=st.lists(texts, min_size=1, max_size=3),
    size=st.integers(0, 2**53),
    sha256=sha256s,
    unpacked_size=st.integers(0, 2**53),
    manifest_sha256=sha256s,
    kind=st.sampled_from(["tar.gz", "zip"]),
)
ranges = st.tuples(versions, versions).map(lambda pair: f">={pair[0]},<{pair[1]}")
retractions = st.none() | st.builds(Retraction, reason=texts.filter(bool), fixed_in=st.none() | versions)
releases = st.builds(
    Release,
    artefacts=st.lists(artefacts, min_size=1, max_size=2),
    format_version=st.sampled_from(["1.0", "1.7", "2.0"]),
    compatible=st.dictionaries(st.sampled_from(["phasic", "phasic-models"]), ranges),
    models=st.lists(
        st.builds(ModelEntry, name=texts, description=texts, vertices=st.integers(0, 9), retraction=retractions),
        max_size=2,
    ),
    retracted=st.sampled_from(["", "", "wrong by a factor of two"]),
)
libraries = st.builds(
    LibraryEntry, description=texts, versions=st.dictionaries(versions, releases, min_size=1, max_size=4)
)
indexes = st.dictionaries(names, libraries, max_size=3).map(lambda found: Index(libraries=found))


# -- the document -----------------------------------------------------------------------------------------------------


def test_the_checksum_of_the_content():
    """Golden value, by ``printf '{"a":{"x":[1,2],"y":"é"},"b":1}' | sha256sum``: keys sorted at every depth, no spaces, UTF-8."""
    expected = "sha256:8f5a2f91a06f6603fb76f0610a4efed21e1e8f81ed0529cdb573dc8c95bfb6ad"
    assert content_checksum({"b": 1, "checksum": "any", "a": {"y": "é", "x": [1, 2]}}) == expected
    assert content_checksum({"a": {"x": [1, 2], "y": "é"}, "b": 1}) == expected


@given(indexes)
def test_what_is_written_is_read_back(index):
    data = encode_index(index)
    again = parse_index(data)
    assert again.libraries == index.libraries
    assert encode_index(again) == data
    jsonschema.validate(json.loads(data), index_schema())


def test_the_published_schema_is_that_of_the_code():
    text = resources.files("phasic_models").joinpath("schemas/index.schema.json").read_text("utf-8")
    assert json.loads(text) == index_schema()
    jsonschema.Draft202012Validator.check_schema(json.loads(text))


@reaches(0.1)
@given(indexes, st.data())
def test_no_altered_index_is_believed(index, data):
    text = bytearray(encode_index(index))
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place] ^= 1 << data.draw(st.integers(0, 7))
    else:
        document, indent = json.loads(text), data.draw(st.sampled_from([None, 0, 1, "\t"]))
        text = bytearray(json.dumps(document, indent=indent, sort_keys=data.draw(st.booleans())).encode())
    try:
        again = parse_index(bytes(text))
    except FormatError:
        return False
    # White space and the order of keys carry no meaning, and are all that may change.
    assert again == parse_index(encode_index(index))
    return True


@given(indexes, st.data())
def test_no_truncated_index_is_believed(index, data):
    text = encode_index(index).rstrip()
    with pytest.raises(FormatError):
        parse_index(text[: data.draw(st.integers(0, len(text) - 1))])


@given(st.binary(max_size=100))
def test_rubbish_is_refused(data):
    with pytest.raises(FormatError, match=r"here/index\.json"):
        parse_index(data, source="here/index.json")


def test_deep_nesting_does_not_crash():
    with pytest.raises(FormatError):
        parse_index(b'{"index_version":"1.0","x":' + b"[" * 100_000)


def altered(change) -> bytes:
    document = json.loads(encode_index(index_of(v1_0=release())))
    change(document)
    document["checksum"] = content_checksum(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(index_version="2.0"), "install a newer phasic-models"),
        (lambda d: d.update(index_version=1), r"\$\.index_version"),
        (lambda d: d.pop("index_version"), "no 'index_version'"),
        (lambda d: d["libraries"]["coalescent"]["versions"].clear(), r"\$\.libraries"),
        (lambda d: d["libraries"]["coalescent"]["versions"].update(x=msgspec.to_builtins(release())), "versions.x"),
        (lambda d: d["libraries"].update({"../up": d["libraries"]["coalescent"]}), "'../up' is not a library's name"),
        (lambda d: d["libraries"]["coalescent"]["versions"]["1.0"]["artefacts"][0].update(size=-1), r"size"),
        (lambda d: d["libraries"]["coalescent"]["versions"]["1.0"]["artefacts"][0].update(sha256="0"), r"sha256"),
        (lambda d: d["libraries"]["coalescent"]["versions"]["1.0"]["artefacts"][0].update(urls=[]), r"urls"),
        (lambda d: d["libraries"]["coalescent"]["versions"]["1.0"]["artefacts"][0].update(file="../x"), r"file"),
        (
            lambda d: d["libraries"]["coalescent"]["versions"]["1.0"].update(compatible={"phasic": "new ones"}),
            r"versions\.1\.0\.compatible\.phasic",
        ),
    ],
)
def test_every_mistake_is_named_with_its_place(change, words):
    with pytest.raises(FormatError, match=words) as caught:
        parse_index(altered(change), source="here/index.json")
    assert "here/index.json" in str(caught.value)


def test_unknown_fields_and_minor_versions_are_read():
    def change(document):
        document["index_version"] = "1.9"
        document["news"] = {"a": 1}
        document["libraries"]["coalescent"]["versions"]["1.0"]["artefacts"][0]["attestation"] = "later"

    assert list(parse_index(altered(change)).libraries) == ["coalescent"]


# -- finding it -------------------------------------------------------------------------------------------------------


def test_where_the_index_is_looked_for(tmp_path, monkeypatch):
    assert index_addresses() == [DEFAULT_INDEX]
    config = tmp_path / "config.yaml"
    monkeypatch.setenv("PHASIC_MODELS_CONFIG", str(config))
    assert index_addresses() == [DEFAULT_INDEX]
    config.write_text("index: https://models.example.org/\n")
    assert index_addresses() == ["https://models.example.org/index.json"]
    config.write_text("index: [s3://bucket/index.json, https://models.example.org/index.json]\n")
    assert index_addresses() == ["s3://bucket/index.json", "https://models.example.org/index.json"]
    monkeypatch.setenv("PHASIC_MODELS_INDEX", str(tmp_path))
    assert index_addresses() == [str(tmp_path / "index.json")]
    assert index_addresses(tmp_path.as_uri()) == [str(tmp_path / "index.json")]
    assert index_addresses(["a.json", tmp_path]) == ["a.json", str(tmp_path / "index.json")]
    with pytest.raises(DownloadError):
        index_addresses([])


@pytest.mark.parametrize("text", ["index: 5", "index: [1]", "- a", "index: {a: b}", "index: ]", "index: ['']"])
def test_a_bad_configuration_is_named(tmp_path, monkeypatch, text):
    config = tmp_path / "config.yaml"
    config.write_text(text)
    monkeypatch.setenv("PHASIC_MODELS_CONFIG", str(config))
    with pytest.raises(FormatError, match=r"config\.yaml"):
        index_addresses()


def test_an_empty_configuration_says_nothing(tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text("# nothing yet\n")
    monkeypatch.setenv("PHASIC_MODELS_CONFIG", str(tmp_path / "config.yaml"))
    assert index_addresses() == [DEFAULT_INDEX]


def test_mirrors_of_the_index(site, make_release):
    folder = make_release("1.0.0")
    good = site.serve_folder(folder, "/good/") + "index.json"
    wrong = site.serve("/wrong/index.json", (folder / "index.json").read_bytes()[:-40])
    page = site.serve("/page/index.json", b"<html><title>Log in</title></html>", content_type="text/html")
    index, address = read_index([site.url + "/gone/index.json", wrong, page, good])
    assert address == good
    assert list(index.libraries["coalescent"].versions) == ["1.0.0"]
    with pytest.raises(DownloadError, match="none of 3 indexes") as caught:
        read_index([site.url + "/gone/index.json", wrong, page])
    assert "Log in" in str(caught.value)
    assert "damaged or was edited" in str(caught.value) or "not a release index" in str(caught.value)


def test_offline_reads_no_remote_index(site):
    with pytest.raises(OfflineError, match="PHASIC_MODELS_INDEX"):
        read_index(site.url + "/index.json", options=TransferOptions(offline=True))
    assert site.requests == []


def test_addresses_of_an_artefact():
    found = artefact(urls=["https://mirror.example/a.tar.gz", "a.tar.gz", "../all/a.tar.gz"])
    assert artefact_addresses(found, "https://h/v1/index.json") == [
        "https://mirror.example/a.tar.gz",
        "https://h/v1/a.tar.gz",
        "https://h/all/a.tar.gz",
    ]


def test_a_remote_index_cannot_name_local_files():
    found = artefact(urls=["file:///etc/passwd", "/etc/passwd", "a.tar.gz"])
    assert artefact_addresses(found, "https://h/v1/index.json") == ["https://h/etc/passwd", "https://h/v1/a.tar.gz"]
    assert artefact_addresses(found, "/data/index.json")[0] == "file:///etc/passwd"


# -- choosing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "version", "name", "specifier"),
    [
        ("coalescent", None, "coalescent", ""),
        ("coalescent==1.2.0", None, "coalescent", "==1.2.0"),
        ("coalescent=1.2.0", None, "coalescent", "==1.2.0"),
        (" coalescent >= 1.1, < 2 ", None, "coalescent", "<2,>=1.1"),
        ("coalescent~=1.1", None, "coalescent", "~=1.1"),
        ("coalescent!=1.1", None, "coalescent", "!=1.1"),
        ("phasic-models-coalescent>1", None, "coalescent", ">1"),
        ("coalescent", "1.2.0", "coalescent", "==1.2.0"),
        ("coalescent", ">=1.2", "coalescent", ">=1.2"),
        ("two_islands-v2", "1", "two_islands-v2", "==1"),
    ],
)
def test_requirements(text, version, name, specifier):
    found, wanted = parse_requirement(text, version)
    assert (found, str(wanted)) == (name, specifier)


@pytest.mark.parametrize("text", ["", "  ", "==1.0", "coalescent 1.0", "coalescent>=", "coalescent=>1", "a/b", "../x"])
def test_what_is_no_requirement(text):
    with pytest.raises(LibraryError, match=r"coalescent>=1\.1"):
        parse_requirement(text)


INDEX = index_of(
    v1_0_0=release(compatible={"phasic": ">=0.21,<0.33"}),
    v1_2_0=release(compatible={"phasic": ">=0.21,<0.33"}),
    v1_10_0=release(compatible={"phasic": ">=0.40,<0.50"}),
    v1_11_0=release(retracted="rates were off by a factor of two"),
    v2_0_0=release(format_version="2.0"),
    v3_0_0=release(artefacts=[artefact(kind="zip")]),
    v4_0_0rc1=release(),
)


def test_the_newest_that_works_and_why_not_the_others():
    found = select(INDEX, parse_requirement("coalescent"), installed={"phasic": Version("0.32.1")})
    assert found.version == "1.2.0"
    assert dict(found.passed_over) == {
        "4.0.0rc1": "it is a pre-release",
        "3.0.0": "it is published only as zip",
        "2.0.0": "its files have format 2.0 and this phasic-models reads 1.x",
        "1.11.0": "it was retracted: rates were off by a factor of two",
        "1.10.0": "it needs phasic >=0.40,<0.50 and 0.32.1 is installed",
    }


def test_without_phasic_its_range_does_not_matter():
    assert select(INDEX, parse_requirement("coalescent"), installed={}).version == "1.10.0"
    assert select(INDEX, parse_requirement("coalescent"), installed={"phasic": Version("0.45")}).version == "1.10.0"


@pytest.mark.parametrize(
    ("requirement", "version"),
    [
        ("coalescent==1.0.0", "1.0.0"),
        ("coalescent<1.2", "1.0.0"),
        ("coalescent>=1.1", "1.2.0"),
        ("coalescent~=1.0", "1.2.0"),
    ],
)
def test_ranges(requirement, version):
    assert select(INDEX, parse_requirement(requirement), installed={"phasic": Version("0.32.1")}).version == version


def test_a_pre_release_must_be_asked_for():
    assert select(INDEX, parse_requirement("coalescent==4.0.0rc1"), installed={}).version == "4.0.0rc1"
    assert select(INDEX, parse_requirement("coalescent>=4.0.0rc1"), installed={}).version == "4.0.0rc1"


def test_what_does_not_exist():
    with pytest.raises(ModelNotFoundError, match="did you mean coalescent"):
        select(INDEX, parse_requirement("coalescnt"), installed={})
    with pytest.raises(ModelNotFoundError, match="it has coalescent"):
        select(INDEX, parse_requirement("zebra"), installed={})
    with pytest.raises(ModelNotFoundError, match=r"no version of coalescent is ==9; the index has 4\.0\.0rc1, 3\.0\.0"):
        select(INDEX, parse_requirement("coalescent==9"), installed={})


def test_nothing_that_works():
    with pytest.raises(CompatibilityError) as caught:
        select(INDEX, parse_requirement("coalescent>=1.10,<3"), installed={"phasic": Version("0.32.1")})
    for reason in ("1.10.0: it needs phasic", "1.11.0: it was retracted", "2.0.0: its files have format 2.0"):
        assert reason in str(caught.value)


def test_the_installed_phasic_counts(tmp_path, monkeypatch):
    """A distribution on the path is found as any other: here an empty one that only has a name and a version."""
    distribution = tmp_path / "phasic-0.41.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: phasic\nVersion: 0.41.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert compat.installed_version("phasic") == "0.41.0"
    assert select(INDEX, parse_requirement("coalescent")).version == "1.10.0"


@given(st.lists(versions, min_size=1, unique=True), versions)
def test_the_choice_is_the_greatest_below_a_bound(numbers, bound):
    index = Index(libraries={"x": LibraryEntry(versions=dict.fromkeys(numbers, release()))})
    below = [number for number in numbers if Version(number) < Version(bound)]
    if below:
        assert Version(select(index, parse_requirement(f"x<{bound}"), installed={}).version) == max(map(Version, below))
    else:
        with pytest.raises(ModelNotFoundError):
            select(index, parse_requirement(f"x<{bound}"), installed={})


# -- making it --------------------------------------------------------------------------------------------------------


def test_a_folder_of_tarballs(make_release):
    fields = {
        "phasic_min_version": "0.21.0",
        "phasic_max_version": "0.32.x",
        "phasic_models_min_version": "0.1.0",
        "phasic_models_max_version": "0.x",
    }
    folder = make_release("1.0.0", "1.1.0", mirrors=("https://mirror.example/models/",), **fields)
    index = parse_index((folder / "index.json").read_bytes())
    newest, oldest = index.libraries["coalescent"].versions.items()
    assert (newest[0], oldest[0]) == ("1.1.0", "1.0.0")
    entry = newest[1]
    assert entry.compatible == {"phasic": ">=0.21,<0.33", "phasic-models": ">=0.1,<1"}
    assert [model.name for model in entry.models] == ["n_samples_0", "n_samples_1"]
    [found] = entry.artefacts
    tarball = folder / found.file
    assert found.urls == [f"https://mirror.example/models/{tarball.name}", tarball.name]
    assert found.size == tarball.stat().st_size
    assert found.unpacked_size > found.size
    sums = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert sums[tarball.name] == found.sha256
    before = (folder / "index.json").read_bytes()
    write_release_files(folder, mirrors=("https://mirror.example/models/",))
    assert (folder / "index.json").read_bytes() == before


def test_an_index_is_continued(make_release):
    old = parse_index((make_release("1.0.0") / "index.json").read_bytes())
    folder = make_release("1.1.0")
    write_release_files(folder, base=old)
    assert list(parse_index((folder / "index.json").read_bytes()).libraries["coalescent"].versions) == [
        "1.1.0",
        "1.0.0",
    ]


def test_no_published_version_is_replaced(make_release):
    old = parse_index((make_release("1.0.0") / "index.json").read_bytes())
    folder = make_release("1.0.0", models=3)
    with pytest.raises(LibraryError, match=r"coalescent 1\.0\.0 is published already.*raise the version"):
        write_release_files(folder, base=old)


def test_the_same_again_only_adds_mirrors():
    once = merge(Index(), "coalescent", "1.0", "", release())
    twice = merge(once, "coalescent", "1.0", "", release(artefacts=[artefact(urls=["https://m/a.tar.gz"])]))
    assert twice.libraries["coalescent"].versions["1.0"].artefacts[0].urls == ["a.tar.gz", "https://m/a.tar.gz"]
    assert merge(twice, "coalescent", "1.0", "", release()) == twice


def test_a_retraction_counts_for_the_very_same_model_of_earlier_versions():
    def version(hash_: str, reason: str = "") -> Release:
        retraction = Retraction(reason=reason, fixed_in="2.0.0") if reason else None
        return release(models=[ModelEntry(name="a", hash=hash_, retraction=retraction), ModelEntry(name="b", hash="b")])

    library = LibraryEntry(
        versions={
            "2.0.0": version("right"),
            "1.10.1": version("wrong", "a rate was doubled"),
            "1.9.0": version("wrong"),
            "1.0.0": version("older"),
            "0.9.0": version(""),
        }
    )
    stated = {number: retracted_models(library, number) for number in library.versions}
    reason = Retraction(reason="a rate was doubled", fixed_in="2.0.0")
    assert stated == {"2.0.0": {}, "1.10.1": {"a": reason}, "1.9.0": {"a": reason}, "1.0.0": {}, "0.9.0": {}}
    index = Index(libraries={"coalescent": library})
    assert parse_index(encode_index(index)).libraries == index.libraries
    assert str(reason) == "a rate was doubled (mended in 2.0.0)"


def test_what_cannot_be_indexed(tmp_path, make_library):
    with pytest.raises(LibraryError, match=r"no \.tar\.gz"):
        write_release_files(tmp_path)
    (tmp_path / "x.tar.gz").write_bytes(b"no archive")
    with pytest.raises(FormatError, match=r"x\.tar\.gz"):
        describe_tarball(tmp_path / "x.tar.gz")
