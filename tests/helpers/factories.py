"""Libraries and releases to send around: the right checksums, contents of no meaning."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any


def library_maker(root: Path) -> Callable[..., Path]:
    """Return a function that writes a library folder whose files have the right checksums."""
    from phasic_models.formats import Manifest, ManifestModel, write_manifest

    def make(category: str = "coalescent", version: str = "1.0.0", models: int = 2, **fields: Any) -> Path:
        folder = root / f"source-{secrets.token_hex(4)}" / category
        folder.mkdir(parents=True)
        entries, checksums = [], {}
        for number in range(models):
            name = f"n_samples_{number}"
            for suffix in (".json", ".meta", ".safetensors"):
                content = f"{category} {version} {name}{suffix}\n".encode() * 50
                (folder / (name + suffix)).write_bytes(content)
                checksums[name + suffix] = "sha256:" + hashlib.sha256(content).hexdigest()
            key = hashlib.sha256(name.encode()).hexdigest()
            entries.append(ManifestModel(name=name, hash=key, vertices=3, parameters=["rate"]))
        manifest = Manifest(
            category=category,
            version=version,
            description=f"Models of {category}",
            format_version="1.0",
            models=entries,
            checksums=checksums,
            **fields,
        )
        write_manifest(folder / "manifest.json", manifest)
        return folder

    return make


def release_maker(root: Path, make_library: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that writes a release folder: tarballs, SHA256SUMS and index.json."""
    from phasic_models.files.archive import make_tarball
    from phasic_models.packaging.indexing import write_release_files

    def make(*versions: str, category: str = "coalescent", mirrors: tuple[str, ...] = (), **fields: Any) -> Path:
        release = root / f"release-{secrets.token_hex(4)}"
        release.mkdir()
        for version in versions or ("1.0.0",):
            folder = make_library(category, version, **fields)
            make_tarball(folder, release / f"{category}_models_v{version}.tar.gz")
        write_release_files(release, mirrors=mirrors)
        return release

    return make
