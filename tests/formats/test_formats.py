"""Model files: the same bits after a round trip, the same bytes from the same model, and the published schemas."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import jsonschema
import msgspec
import pytest
from format_helpers import altered, machine, rational, same_model
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Chain, any_chains

from phasic_models import formats
from phasic_models.dag import SymbolicDAG
from phasic_models.errors import FormatError, PhasicModelsError
from phasic_models.formats import model_json, records
from phasic_models.graph import Graph

# -- round trips --


@given(chain=any_chains())
@settings(max_examples=100, deadline=None)
def test_round_trip_of_random_models(chain: Chain) -> None:
    dag = chain.graph().eliminate()
    text, data = formats.dag_to_json(dag), formats.dag_to_bytes(dag)
    for found in (formats.dag_from_json(text), formats.dag_from_bytes(data)):
        same_model(found, dag)
        assert formats.dag_to_json(found) == text
        assert formats.dag_to_bytes(found) == data
    compact = formats.dag_to_json(dag, expression_limit=0)
    same_model(formats.dag_from_json(compact), dag)


def test_round_trip_of_rational_weights() -> None:
    dag = rational().eliminate()
    assert dag.graph.weights.n_program
    for expression_limit in (0, formats.EXPRESSION_LIMIT):
        same_model(formats.dag_from_json(formats.dag_to_json(dag, expression_limit=expression_limit)), dag)
    same_model(formats.dag_from_bytes(formats.dag_to_bytes(dag)), dag)


@given(chain=any_chains(), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_the_same_model_gives_the_same_bytes(chain: Chain, seed: int) -> None:
    first, second = chain.graph().eliminate(), chain.shuffled(seed).graph().eliminate()
    assert formats.dag_to_json(first) == formats.dag_to_json(second)
    assert formats.dag_to_bytes(first) == formats.dag_to_bytes(second)


@pytest.mark.parametrize("suffix", [".json", ".safetensors", ".JSON"])
def test_files(tmp_path: Path, suffix: str) -> None:
    dag = machine().eliminate()
    path = tmp_path / f"ein Modell{suffix}"
    dag.save(path)
    same_model(SymbolicDAG.load(path), dag)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_a_suffix_that_is_none_of_ours(tmp_path: Path) -> None:
    for action in (formats.open_dag, lambda path: formats.save_dag(machine().eliminate(), path)):
        with pytest.raises(FormatError, match=r"model\.txt: .* \.safetensors or \.json"):
            action(tmp_path / "model.txt")
    assert not list(tmp_path.iterdir())


def test_names_in_any_language_survive() -> None:
    graph = Graph(
        lambda s: [([1], 1.0, [])] if len(s) == 0 else [([0], 0.0, [1.0])] * int(s[0]), param_names=['µ "x"\n\\']
    )
    dag = graph.eliminate()
    same_model(formats.dag_from_json(formats.dag_to_json(dag)), dag)
    same_model(formats.dag_from_bytes(formats.dag_to_bytes(dag)), dag)


def test_a_name_that_no_file_can_hold_is_not_written() -> None:
    graph = Graph(
        lambda s: [([1], 1.0, [])] if len(s) == 0 else [([0], 0.0, [1.0])] * int(s[0]), param_names=["\ud800"]
    )
    for write in (formats.dag_to_json, formats.dag_to_bytes):
        with pytest.raises(FormatError, match="surrogates not allowed"):
            write(graph.eliminate())


def hash_of(document: dict) -> str:
    """The graph hash, from the document alone, as docs/format.md describes it."""
    edges, states = document["graph"]["edges"], [vertex["state"] for vertex in document["vertices"]]
    table = document["expressions"][: document["graph"]["weights_length"]]
    forms = [row for row in table if row[0] in ("const", "affine")]
    terms = [row[2] if row[0] == "affine" else [] for row in forms]
    program = table[len(forms) :]
    first_edge = [sum(e[0] < v for e in edges) for v in range(len(states) + 1)]
    flat = [term for row in terms for term in row]
    weights = [
        ("d", [row[1] for row in forms]),
        ("q", [sum(map(len, terms[:i])) for i in range(len(terms) + 1)]),
        ("i", [parameter for parameter, _ in flat]),
        ("d", [coefficient for _, coefficient in flat]),
        ("B", [["add", "mul", "div"].index(row[0]) + 1 for row in program]),
        ("i", [row[1] for row in program]),
        ("i", [row[2] for row in program]),
    ]
    sizes = [len(states), document["state_length"], len(edges), document["param_length"], int(document["is_discrete"])]
    parts = [("q", sizes + [len(values) for _, values in weights]), ("q", [x for state in states for x in state])]
    parts += [("q", first_edge), ("i", [e[1] for e in edges]), ("i", [e[2] for e in edges]), *weights]
    digest = hashlib.sha256(b"phasic-models graph 1\0")
    for code, values in parts:
        digest.update(struct.pack(f"<{len(values)}{code}", *values))
    return digest.hexdigest()


@given(chain=any_chains())
@settings(max_examples=50, deadline=None)
def test_the_graph_hash_can_be_computed_from_the_document(chain: Chain) -> None:
    document = json.loads(chain.graph().eliminate().to_json())
    assert hash_of(document) == document["graph_hash"]


def test_the_graph_hash_of_rational_weights_can_be_computed_from_the_document() -> None:
    document = json.loads(rational().eliminate().to_json())
    assert hash_of(document) == document["graph_hash"]


def test_another_layout_of_the_same_document_is_read() -> None:
    dag = rational().eliminate()
    document = json.loads(dag.to_json())
    for text in (json.dumps(document), json.dumps(document, indent=4), json.dumps(dict(reversed(document.items())))):
        same_model(SymbolicDAG.from_json(text), dag)


def test_the_bytes_of_format_1_0_are_frozen() -> None:
    """A change here is a change of the published format."""
    dag = SymbolicDAG.from_order(machine(), [2, 3, 0], [0, 2, 3], ordering="by hand")
    assert hashlib.sha256(dag.to_json().encode()).hexdigest() == FROZEN_JSON
    assert hashlib.sha256(formats.dag_to_bytes(dag)).hexdigest() == FROZEN_SAFETENSORS


FROZEN_JSON = "12c0111502daed6e314adf5afd35b533f5c91c78fcc4b0ef0306027b4eb7ae0c"
FROZEN_SAFETENSORS = "3e0b64601a253fa782e392331d197764834df5d7b8c2ebad79e7dfc1d33f55be"


def test_the_same_bytes_in_another_process() -> None:
    code = (
        "import sys, hashlib; sys.path[:0] = ['tests/formats', 'tests/helpers'];"
        "from test_formats import rational; from phasic_models import formats;"
        "dag = rational().eliminate();"
        "print(hashlib.sha256(dag.to_json().encode() + formats.dag_to_bytes(dag)).hexdigest())"
    )
    root = Path(__file__).parents[2]
    results = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale, "TZ": zone},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed, locale, zone in (("1", "C", "UTC"), ("77", "C.UTF-8", "Asia/Tokyo"))
    }
    assert len(results) == 1


# -- schemas --


@pytest.mark.parametrize("name", ["model", "meta", "manifest"])
def test_schemas_are_schemas(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(formats.json_schema(name))


@pytest.mark.parametrize("name", ["nothing", "../errors", ""])
def test_an_unknown_schema(name: str) -> None:
    with pytest.raises(KeyError, match="model, meta, manifest"):
        formats.json_schema(name)


@given(chain=any_chains())
@settings(max_examples=30, deadline=None)
def test_documents_follow_the_schema(chain: Chain) -> None:
    dag = chain.graph().eliminate()
    for expression_limit in (0, formats.EXPRESSION_LIMIT):
        document = json.loads(formats.dag_to_json(dag, expression_limit=expression_limit))
        jsonschema.validate(document, formats.json_schema("model"))


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    validator = jsonschema.Draft202012Validator(formats.json_schema("model"))
    for path, value in [
        ("expressions/0", ["pow", 0, 0]),
        ("expressions/0", ["const", "1"]),
        ("graph/edges/3", [1, 2]),
        ("format_version", "2.0"),
        ("is_acyclic", False),
        ("vertices/0/state", ...),
        ("expressions", ...),
    ]:
        assert not validator.is_valid(json.loads(altered(path, value)))


@pytest.mark.parametrize(
    ("name", "pointer", "kind"),
    [
        ("model", [], model_json.Document),
        ("model", ["properties", "elimination"], model_json.Elimination),
        ("model", ["properties", "graph"], model_json.OriginalGraph),
        ("model", ["$defs", "vertex"], model_json.Vertex),
        ("meta", [], records.ModelMeta),
        ("meta", ["properties", "stats"], records.Stats),
        ("meta", ["properties", "theta", "items"], records.Parameter),
        ("meta", ["properties", "citation"], records.Citation),
        ("meta", ["properties", "retraction"], records.Retraction),
        ("meta", ["properties", "errata", "items"], records.Erratum),
        ("manifest", [], records.Manifest),
        ("manifest", ["properties", "models", "items"], records.ManifestModel),
    ],
)
def test_schema_and_types_have_the_same_keys(name: str, pointer: list[str], kind: type) -> None:
    schema = formats.json_schema(name)
    for key in pointer:
        schema = schema[key]
    fields = msgspec.structs.fields(kind)
    assert set(schema["properties"]) == {field.encode_name for field in fields}
    assert set(schema.get("required", [])) == {field.encode_name for field in fields if field.required}


# -- cost --


def test_importing_the_formats_imports_nothing_heavy() -> None:
    code = "import phasic_models.formats, phasic_models.compat, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    heavy = {"yaml", "rich", "typer", "obstore", "rattler", "torch", "scipy", "jsonschema", "importlib.metadata"}
    assert not heavy & set(done.stdout.split())


def test_all_errors_are_ours() -> None:
    assert issubclass(FormatError, PhasicModelsError)
    assert issubclass(FormatError, ValueError)
