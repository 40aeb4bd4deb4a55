"""The files of one entry of the cache: how a model is encoded."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ..formats import FORMAT_VERSION, ModelMeta, Parameter, Stats, dag_to_bytes, dag_to_json, encode_meta

if TYPE_CHECKING:
    from ..dag import SymbolicDAG

#: Up to this many operations the readable document is stored beside the engine's file; a larger one is written when it
#: is asked for, because writing it would take longer than the elimination.
EAGER_JSON_OPERATIONS = 20_000


def encode_entry(
    dag: SymbolicDAG, milliseconds: float | None = None, model_name: str = "", description: str = ""
) -> dict[str, bytes | str]:
    """Encode the files of one entry, by suffix.

    Parameters
    ----------
    dag
        The eliminated model.
    milliseconds
        How long the elimination took, where it was measured.
    model_name, description
        For the metadata; an entry without a name has its hash for one.
    """
    graph = dag.graph
    key = graph.content_hash()
    meta = ModelMeta(
        model_name=model_name or key,
        description=description,
        format_version=FORMAT_VERSION,
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        graph_hash=key,
        stats=Stats(
            vertices=graph.vertices_length(),
            edges=graph.n_edges,
            operations=dag.operations,
            elimination_time_ms=None if milliseconds is None else round(milliseconds, 3),
        ),
        is_discrete=graph.discrete,
        theta=[Parameter(name=name) for name in graph.param_names],
    )
    files: dict[str, bytes | str] = {".meta": encode_meta(meta), ".safetensors": dag_to_bytes(dag)}
    if dag.operations <= EAGER_JSON_OPERATIONS:
        files[".json"] = dag_to_json(dag)
    return files
