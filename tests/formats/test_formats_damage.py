"""Model files that are damaged, contradictory, of another version or hostile: an error, never a crash or a number."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import msgspec
import numpy as np
import pytest
import safetensors
from format_helpers import HASH, altered, machine, rational, same_model
from hypothesis import given, settings
from hypothesis import strategies as st
from reaching import reaches

from phasic_models import formats
from phasic_models.errors import FormatError
from phasic_models.formats import arrays
from phasic_models.graph import Graph

# -- damage --


def test_every_flipped_bit_of_the_binary_file_is_an_error() -> None:
    data = bytearray(formats.dag_to_bytes(machine().eliminate()))
    for position in range(len(data)):
        for bit in range(8):
            data[position] ^= 1 << bit
            with pytest.raises(FormatError):
                formats.dag_from_bytes(bytes(data), source="x")
            data[position] ^= 1 << bit


def test_every_flipped_bit_of_the_document_is_an_error() -> None:
    data = bytearray(machine().eliminate().to_json().encode())
    for position in range(len(data)):
        for bit in range(8):
            data[position] ^= 1 << bit
            with pytest.raises(FormatError):
                formats.dag_from_json(bytes(data), source="x")
            data[position] ^= 1 << bit


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_every_truncation_is_an_error_that_names_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    machine().eliminate().save(path)
    data = path.read_bytes()
    for length in range(len(data) - (suffix == ".json")):  # without its last newline, the document is still whole
        read = formats.dag_from_json if suffix == ".json" else formats.dag_from_bytes
        with pytest.raises(FormatError, match=r"^model: "):
            read(data[:length], source="model")
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(FormatError, match="model"):
        formats.open_dag(path)


@pytest.mark.parametrize("extra", [b"\0", b"{}", b"\n\n\0", b"," * 100])
def test_something_appended_is_an_error(extra: bytes) -> None:
    dag = machine().eliminate()
    with pytest.raises(FormatError):
        formats.dag_from_bytes(formats.dag_to_bytes(dag) + extra)
    with pytest.raises(FormatError):
        formats.dag_from_json(formats.dag_to_json(dag).encode() + extra)


HOSTILE_TEXTS = {
    "empty": b"",
    "nothing": b"null",
    "an array": b"[]",
    "a number": b"1e999999999",
    "a page": b"<!DOCTYPE html><html></html>",
    "byte-order mark": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "not UTF-8": b'{"format_version": "\xff"}',
    "lone surrogate": b'{"format_version": "\\ud800"}',
    "deep arrays": b"[" * 1_000_000,
    "deep objects": b'{"a":' * 1_000_000,
    "deep inside an unknown key": b'{"format_version":"1.0","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "NUL": b"\0" * 100,
    "long digits": b'{"format_version": ' + b"1" * 1_000_000 + b"}",
}


@pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS)
def test_hostile_texts(text: bytes) -> None:
    for read in (formats.dag_from_json, formats.decode_meta, formats.decode_manifest, formats.dag_from_bytes):
        with pytest.raises(FormatError, match=r"^the file: "):
            read(text, source="the file")


def test_text_that_no_file_can_hold() -> None:
    with pytest.raises(FormatError, match="not valid Unicode"):
        formats.dag_from_json('{"format_version": "\ud800"}')


# -- contradictions inside a document --


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("vertices_length", 7, r"says 7, but there are \d+ - at `\$\.vertices_length`"),
        ("param_length", 3, r"says 3, but there are 2 - at `\$\.param_length`"),
        ("state_length", 2, r"instead of 2 - at `\$\.vertices\[0\]\.state`"),
        ("vertices/2/state", [1, 2], r"at `\$\.vertices\[2\]\.state`"),
        ("vertices/2/state", [2**63], r"at `\$\.vertices\[\.\.\.\]\.state|\$\.vertices\[2\]\.state"),
        ("vertices/2/state", [1.5], r"`\$\.vertices\[2\]\.state\[0\]`"),
        ("vertices/2/rate", 0, r"at `\$\.vertices\[2\]`"),
        ("vertices/2/rate", ..., r"at `\$\.vertices\[2\]`"),
        ("vertices/1/rate", 0, r"at `\$\.vertices\[1\]`"),
        ("vertices", [], r"`\$\.vertices_length`"),
        ("is_acyclic", False, r"`\$\.is_acyclic`"),
        ("is_discrete", True, r"`\$\.graph(_hash)?`"),
        ("is_discrete", 1, r"Expected `bool`, got `int` - at `\$\.is_discrete`"),
        ("graph_hash", HASH, r"graph's hash is [0-9a-f]{64}, the file says '0123.* - at `\$\.graph_hash`"),
        ("graph/edges/3/1", 0, r"`\$\.graph`"),
        ("graph/edges/3/1", 10**6, r"`\$\.graph`"),
        ("graph/edges/3/2", 2**31 - 1, r"`\$\.graph`"),
        ("graph/edges/3/0", 0, r"at `\$\.graph"),
        ("graph/edges/3/0", 2**31 - 1, r"`\$\.graph\.edges"),
        ("graph/edges/3/0", 2**31, r"at `\$\.graph\.edges\[3\]\[0\]`"),
        ("graph/edges/3/0", -1, r"at `\$\.graph\.edges\[3\]\[0\]`"),
        ("graph/edges/3", [1, 2], r"at `\$\.graph\.edges\[3\]`"),
        ("graph/edges", [], r"`\$\.graph`"),
        ("graph/weights_length", 10**6, r"`\$\.graph\.weights_length`"),
        ("graph/weights_length", 0, r"`\$\.graph"),
        ("expressions/0", ["const", 10**400], r"`\$\.expressions\[0\]\[1\]`"),
        ("expressions/0", ["pow", 0, 0], r"`\$\.expressions\[0\]\[0\]`"),
        ("expressions/0", ["mul", 0, 0], r"`\$\.(graph|expressions)"),
        ("expressions/0", ["affine", 0.0, [[7, 1.0]]], r"`\$\.graph`"),
        ("expressions/0", ["affine", 0.0, [[0, 1.0], [0, 1.0]]], r"`\$\.graph`"),
        ("expressions/0", ["affine", 0.0, [[0]]], r"`\$\.expressions\[0\]\[2\]\[0\]`"),
        ("expressions/0", ["const", "1"], r"Expected `float`, got `str` - at `\$\.expressions\[0\]\[1\]`"),
        ("expressions/0", [], r"`\$\.expressions\[0\]`"),
        ("expressions/-1", ["add", 0, 1], r"`\$\.expressions\[\d+\]`"),
        ("expressions/-1", ["const", 1.0], r"`\$\.expressions\[\d+\]`"),
        ("expressions/-1", ..., r"`\$\.expressions`"),
        ("expressions", [], r"`\$\.graph\.weights_length`"),
        ("expanded", False, r"`\$\.vertices\[\d+\]`"),
        ("elimination/order/0", 0, r"`\$\.elimination\.order`"),
        ("elimination/order/0", 10**6, r"`\$\.elimination\.order`"),
        ("elimination/order", [], r"`\$\.elimination\.order`"),
        ("elimination/blocks", [], r"`\$\.elimination\.order`"),
        ("elimination/blocks", [0], r"`\$\.elimination\.order`"),
        ("elimination/blocks/0", 1, r"`\$\.elimination\.order`"),
        ("elimination/blocks/-1", 10**9, r"`\$\.elimination\.order`"),
        ("elimination/operations", 10**12, r"`\$\.elimination\.operations`"),
        ("param_names", ["a", "a"], r"`\$\.graph`"),
        ("param_names", ["a", ""], r"`\$\.graph`"),
        ("param_names", ["a", None], r"`\$\.param_names\[1\]`"),
        ("expressions", ..., "missing required field `expressions`"),
    ],
)
def test_contradictions_are_named(path: str, value: object, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        formats.dag_from_json(altered(path, value), source="m.json")
    assert str(caught.value).startswith("m.json: ")


@pytest.mark.parametrize("name", ["elimination/ordering", "param_names"])
def test_altered_labels_are_noticed(name: str) -> None:
    value = "by hand" if name.startswith("e") else ["a", "c"]
    with pytest.raises(FormatError, match=r"`\$\.labels_hash`"):
        formats.dag_from_json(altered(name, value, sign=False))


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "0x10", "01", "1.", "'1'", "1e400"])
def test_numbers_that_are_none(literal: str) -> None:
    text = machine().eliminate().to_json()
    assert '["const",0.5]' in text
    with pytest.raises(FormatError):
        formats.dag_from_json(text.replace('["const",0.5]', f'["const",{literal}]'))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"graph_hash":', '"graph_hash": "x", "graph_hash":'),
        ('"state":', '"state":[9],"state":'),
        ('"weights_length":', '"weights_length": 1, "weights_length":'),
        ('"expressions":', '"expressions": [["const",1.0]], "expressions":'),
        ('"expanded":', '"note": {"a": 1, "a": 1}, "expanded":'),
    ],
)
def test_a_key_that_occurs_twice(old: str, new: str) -> None:
    with pytest.raises(FormatError, match="occurs twice"):
        formats.dag_from_json(machine().eliminate().to_json().replace(old, new, 1))


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(0, 9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3),
    st.lists(st.integers(0, 3), max_size=3),
    st.just({}),
)


@reaches(0.03)
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_any_other_value_anywhere_is_an_error_or_the_same_model(data: st.DataObject) -> bool:
    dag = rational().eliminate()
    text = dag.to_json()
    document = json.loads(text)
    place, key = document, None
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.integers(0, 5)):
            place = place[key]
        else:
            break
    same = [place[key]]
    if type(same[0]) is int and abs(same[0]) < 2**53:
        same.append(float(same[0]))
    place[key] = data.draw(leaves | st.sampled_from(same))
    try:
        found = formats.dag_from_json(json.dumps(document))
    except FormatError:
        return False
    same_model(found, dag)
    assert formats.dag_to_json(found) == text
    return True


# -- versions --


def test_an_unknown_minor_version_is_read() -> None:
    document = json.loads(altered("format_version", "1.7"))
    document["colour"] = {"of": ["the", "sky"]}
    document["vertices"][0]["label"] = "start"
    same_model(formats.dag_from_json(json.dumps(document)), rational().eliminate())


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("2.0", "newer than 1"),
        ("10.3", "newer than 1"),
        ("0.9", "older than 1"),
        (..., "older than 1"),
        ("one", "not one that phasic-models reads"),
        ("1.x", "not one that phasic-models reads"),
        ("1.٣", "not one that phasic-models reads"),
        ("9" * 10000, "newer than 1"),
    ],
)
def test_an_unknown_major_version_is_refused_with_the_command(version: object, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        formats.dag_from_json(altered("format_version", version), source="m.json")
    assert "ptd-cache migrate" in str(caught.value)


def test_the_version_is_judged_before_the_rest() -> None:
    with pytest.raises(FormatError, match="newer than 1"):
        formats.dag_from_json('{"format_version": "2.0", "vertices": "elsewhere"}')
    with pytest.raises(FormatError, match="newer than 1"):
        formats.decode_manifest(b'{"format_version": "2.0"}')


# -- hostile binary files --


def forged(
    changes: dict[str, object] | None = None, labels: dict[str, object] | None = None, graph: Graph | None = None
) -> bytes:
    """A file whose digest is right and whose content is not."""
    dag = (graph or rational()).eliminate()
    data = formats.dag_to_bytes(dag)
    found = {
        name: np.frombuffer(tensor["data"], dtype=arrays._NUMPY[tensor["dtype"]]).reshape(tensor["shape"])
        for name, tensor in safetensors.deserialize(data)
    }
    for name, array in (changes or {}).items():
        if array is None:
            del found[name]
        else:
            found[name] = np.ascontiguousarray(array)
    start = 8 + int.from_bytes(data[:8], "little")
    known = msgspec.json.decode(msgspec.json.decode(data[8:start])["__metadata__"]["phasic_models"])["model"]
    model = msgspec.json.encode(known | (labels or {}))
    from safetensors.numpy import save

    blank = save(found, {"phasic_models": ""})
    digest = hashlib.sha256(model + blank[8 + int.from_bytes(blank[:8], "little") :]).hexdigest()
    return save(found, {"phasic_models": f'{{"sha256":"{digest}","model":{model.decode()}}}'})


def test_the_forger_can_make_a_true_file() -> None:
    assert forged() == formats.dag_to_bytes(rational().eliminate())


FORGERIES = {
    "a missing tensor": {"order": None},
    "another type": {"order": np.zeros(5, np.int64)},
    "another dimension": {"order": np.zeros((5, 1), np.int32)},
    "no rows": {"order": np.zeros(0, np.int32)},
    "no blocks": {"block_ptr": np.zeros(0, np.int32)},
    "no edges": {"edge_ptr": np.zeros(0, np.int64)},
    "no states": {"state_array": np.zeros((0, 1), np.int64)},
    "states without entries": {"state_array": np.zeros((6, 0), np.int64)},
    "descending pointers": {"edge_ptr": np.array([0, 2, 1, 5, 7, 8], np.int64)},
    "huge pointers": {"lower_ptr": np.array([0, 2**62, 2**62, 2**62, 2**62, 2**62], np.int64)},
    "negative pointers": {"upper_ptr": np.array([0, -1, 0, 0, 0, 0], np.int64)},
    "a NaN": {"affine_base": np.array([np.nan, 1.0, 2.0, 3.0, 4.0])},
    "an unknown operation": {"program_op": np.full(rational().weights.n_program, 77, np.uint8)},
}


@pytest.mark.parametrize("changes", FORGERIES.values(), ids=FORGERIES)
def test_forged_tensors(changes: dict[str, object]) -> None:
    with pytest.raises(FormatError, match=r"^f\.safetensors: "):
        formats.dag_from_bytes(forged(changes), source="f.safetensors")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"graph_hash": HASH}, "hash"),
        ({"operations": -1}, "operations"),
        ({"operations": "many"}, "operations"),
        ({"format_version": "2.0"}, "ptd-cache migrate"),
        ({"param_names": ["a"]}, "param"),
        ({"param_names": ["a", "a"]}, "occurs more than once"),
        ({"param_names": None}, "param_names"),
        ({"is_discrete": True}, "f.safetensors"),
    ],
)
def test_forged_labels(labels: dict[str, object], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        formats.dag_from_bytes(forged(labels=labels), source="f.safetensors")


extremes = st.sampled_from([-(2**31), -1, 0, 1, 2, 3, 4, 5, 7, 100, 2**31 - 1])


@reaches(0.1)
@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_any_forged_number_is_an_error_or_the_same_answer(data: st.DataObject) -> bool:
    graph = data.draw(st.sampled_from(GRAPHS))
    expected = graph.eliminate()
    name = data.draw(st.sampled_from(sorted(arrays.TENSORS)))
    holder = next(h for h in (expected, expected.graph, expected.graph.weights) if hasattr(h, name))
    array = np.array(getattr(holder, name))
    if array.size == 0 or data.draw(st.integers(0, 9)) == 0:
        shape = (data.draw(st.integers(0, 9)), *array.shape[1:])
        array = np.resize(array, shape) if array.size else np.zeros(shape, array.dtype)
    else:
        place = data.draw(st.integers(0, array.size - 1))
        value = data.draw(extremes | st.sampled_from([array.flat[place].item(), array.flat[-1 - place].item()]))
        array.flat[place] = value % 256 if array.dtype == np.uint8 else value
    try:
        found = formats.dag_from_bytes(forged({name: array}, graph=graph))
    except FormatError:
        return False
    theta = [0.5] * graph.param_length()
    assert found.model().expectation(theta) == expected.model().expectation(theta)
    assert found.graph.content_hash() == graph.content_hash()
    return True


GRAPHS = [machine(), rational()]


def header(text: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 8,
        b"\xff" * 8,
        b"\xff" * 64,
        struct.pack("<Q", 2**63) + b"{}",
        header(b"{}"),
        header(b"[]"),
        header(b"null"),
        header(b"{" * 1000),
        header(b'{"a":' * 100000),
        header(b'{"__metadata__":{"phasic_models":"{}"}}'),
        header(b'{"__metadata__":{"phasic_models":"[[[[["}}'),
        header(b'{"__metadata__":{"phasic_models":1}}'),
        header(b'{"__metadata__":{"other":"{}"}}'),
        header(b'{"__metadata__":{"phasic_models":"{\\"sha256\\":\\"\\",\\"model\\":{}}"}}'),
        header(b'{"order":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}', b"\0\0\0\0"),
        header(b'{"order":{"dtype":"I32","shape":[4611686018427387904],"data_offsets":[0,4]}}', b"\0\0\0\0"),
        header(b'{"order":{"dtype":"I32","shape":[-1],"data_offsets":[0,4]}}', b"\0\0\0\0"),
        header(b'{"order":{"dtype":"I32","shape":[1],"data_offsets":[4,0]}}', b"\0\0\0\0"),
        header(b'{"order":{"dtype":"I32","shape":[1],"data_offsets":[0,99]}}', b"\0\0\0\0"),
        b"PK\x03\x04" + b"\0" * 100,
        b"<!DOCTYPE html>" + b" " * 100,
    ],
)
def test_hostile_headers(data: bytes) -> None:
    with pytest.raises(FormatError, match=r"^f\.safetensors: "):
        formats.dag_from_bytes(data, source="f.safetensors")
