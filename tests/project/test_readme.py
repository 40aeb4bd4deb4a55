"""The README's Python runs as written and prints what the README shows.

``python tests/project/test_readme.py`` puts the real output into the README.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from pathlib import Path
from unittest import mock

import pytest
import yaml

from phasic_models.formats import Manifest, ManifestModel, ModelMeta, write_manifest, write_meta
from phasic_models.library import load_library

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
# A block of Python and the block of its output.
EXAMPLE = re.compile(r"```python\n(?P<code>.*?)```\n\n```text\n(?P<output>.*?)```\n", re.DOTALL)


def install_models(root: Path, text: str) -> None:
    """Put the models that `text` loads by name into a cache root, from the libraries' sources."""
    listed: dict[str, list[ManifestModel]] = {}
    for category, name in sorted(set(re.findall(r"load_model\(\"(\w+)/(\w+)\"\)", text))):
        folder = root / "symbolic" / category
        folder.mkdir(parents=True, exist_ok=True)
        dag = load_library(ROOT / "libraries" / category).graph(name).eliminate()
        dag.save(folder / f"{name}.safetensors")
        write_meta(folder / f"{name}.meta", ModelMeta(model_name=name, graph_hash=dag.content_hash()))
        names = list(dag.graph.param_names)
        listed.setdefault(category, []).append(ManifestModel(name=name, hash=dag.content_hash(), parameters=names))
    for category, models in listed.items():
        write_manifest(root / "symbolic" / category / "manifest.json", Manifest(category=category, models=models))


def outputs(text: str, root: Path) -> list[str]:
    """What the examples in `text` print, run one after the other in one namespace."""
    install_models(root, text)
    namespace: dict[str, object] = {"__name__": "readme"}
    printed = []
    with mock.patch.dict(os.environ, {"PHASIC_CACHE_DIR": str(root)}):
        for example in EXAMPLE.finditer(text):
            sink = io.StringIO()
            with contextlib.redirect_stdout(sink):
                exec(compile(example["code"], str(README), "exec"), namespace)
            printed.append(sink.getvalue())
    return printed


def test_examples_print_what_is_shown(tmp_path: Path) -> None:
    text = README.read_text(encoding="utf-8")
    shown = [example["output"] for example in EXAMPLE.finditer(text)]
    assert shown
    assert outputs(text, tmp_path) == shown


def test_every_python_block_shows_its_output() -> None:
    text = README.read_text(encoding="utf-8")
    assert text.count("```python") == len(EXAMPLE.findall(text))


def test_environment_file_is_yaml() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    environment = yaml.safe_load(block)
    assert {"name", "channels", "dependencies"} <= environment.keys()


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_to_files(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    missing = [
        target
        for target in re.findall(r"\]\(([^)#]+)\)", text)
        if not target.startswith("http") and not (ROOT / target).exists()
    ]
    assert not missing


def test_every_library_is_listed() -> None:
    text = README.read_text(encoding="utf-8")
    for folder in (ROOT / "libraries").iterdir():
        if (folder / "library.yaml").exists():
            assert f"`phasic-models-{folder.name}`" in text


def test_citation_file() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    assert citation["version"] == version[1]
    assert citation["license"] == "MIT"


def update() -> None:
    """Replace the outputs in the README by what the examples print."""
    text = README.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        printed = iter(outputs(text, Path(folder)))
    README.write_text(
        EXAMPLE.sub(lambda m: f"```python\n{m['code']}```\n\n```text\n{next(printed)}```\n", text), encoding="utf-8"
    )


if __name__ == "__main__":
    update()
