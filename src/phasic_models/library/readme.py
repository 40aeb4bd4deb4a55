"""The part of a library's README.md that is generated from library.yaml.

It is between two markers; the text around it is the author's.
"""

from __future__ import annotations

from ..errors import LibraryError
from .loading import Library, shown_path
from .spec import Citation, ModelSpec, Parameter

BEGIN = "<!-- generated from library.yaml: begin -->"
END = "<!-- generated from library.yaml: end -->"


def render_tables(library: Library) -> str:
    """Markdown tables of the models, their parameters and their sources."""
    sources = list(dict.fromkeys(model.citation.text() for model in library.models))
    number = {text: index for index, text in enumerate(sources, start=1)}
    lines = [
        f"Version {library.version}, for phasic {library.spec.compatible.phasic} and "
        f"phasic-models {library.spec.compatible.phasic_models}. Licence: {library.spec.license}.",
        "",
        "| model | what it is | status | source |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{model.name}` | {_cell(model.description)}{' (discrete time)' if model.discrete else ''} "
        f"| {_status(model)} | [{number[model.citation.text()]}] |"
        for model in library.models
    ]
    lines += ["", "### Parameters", "", "In the order of theta."]
    for names, parameters in _parameter_groups(library):
        lines += ["", ", ".join(f"`{name}`" for name in names) + ":", ""]
        lines += ["| parameter | what it is | unit | example |", "|---|---|---|---|"]
        lines += [
            f"| `{item.name}` | {_cell(item.description)} | {_cell(item.unit)} | {item.example!r} |"
            for item in parameters
        ]
    errata = [(model, item) for model in library.models for item in model.errata]
    if errata:
        lines += ["", "### Errata", ""]
        for model, item in errata:
            fixed = f"; fixed in {item.fixed_in}" if item.fixed_in else ""
            lines.append(f"- `{model.name}`, versions {item.affects}{fixed}: {item.description}")
    lines += ["", "### Sources", ""]
    lines += [f"{index}. {_source(citation)}" for index, citation in enumerate(_citations(library), start=1)]
    return "\n".join(lines) + "\n"


def render_readme(library: Library, text: str) -> str:
    """The text of a README with the generated part renewed.

    Raises
    ------
    LibraryError
        The two markers are not there, once each and in order.
    """
    begin, end = text.find(BEGIN), text.find(END)
    if text.count(BEGIN) != 1 or text.count(END) != 1 or end < begin:
        raise LibraryError(
            f"{shown_path(library.folder / 'README.md')}: expected the lines {BEGIN!r} and {END!r}, once each and in "
            "this order; the tables are written between them"
        )
    return f"{text[: begin + len(BEGIN)]}\n\n{render_tables(library)}\n{text[end:]}"


def update_readme(library: Library) -> bool:
    """Renew the generated part of the library's README.md; returns whether the file changed."""
    from ..formats import write_atomic

    path = library.folder / "README.md"
    text = path.read_text(encoding="utf-8")
    renewed = render_readme(library, text)
    if renewed != text:
        write_atomic(path, renewed)
    return renewed != text


def _parameter_groups(library: Library) -> list[tuple[list[str], list[Parameter]]]:
    """Models that have all parameters in common share one table."""
    groups: list[tuple[list[str], list[Parameter]]] = []
    for model in library.models:
        for names, parameters in groups:
            if parameters == model.parameters:
                names.append(model.name)
                break
        else:
            groups.append(([model.name], list(model.parameters)))
    return groups


def _citations(library: Library) -> list[Citation]:
    return list({model.citation.text(): model.citation for model in library.models}.values())


def _status(model: ModelSpec) -> str:
    if model.retraction is None:
        return model.status
    fixed = f" Use version {model.retraction.fixed_in}." if model.retraction.fixed_in else ""
    return f"**retracted**: {_cell(model.retraction.reason)}{fixed}"


def _source(citation: Citation) -> str:
    return citation.text().replace(citation.link, f"<{citation.link}>")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
