"""`matrix up --backend slurm`: the same manifests as everywhere, as jobs of the Slurm site that this machine is a login node of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from matrix_cli.settings import local
from matrix_client.context import Context
from matrix_client.errors import UsageError

if TYPE_CHECKING:
    from matrix_crds.loading import Manifest

DEFAULT_PROFILE = "default"


def on_slurm(manifests: Sequence[Manifest], profile: str | None, context: Context) -> list[Manifest]:
    """The manifests, with the site's backend in each cluster that names none. Raises UsageError."""
    from matrix_slurm_bridge.site import SiteError, default_path, load

    local(context, "--backend slurm")
    try:
        site = load(default_path())
    except SiteError as error:
        raise UsageError(str(error)) from error
    backend = {"site": site.site, "profile": choose(profile, sorted(site.profiles))}
    return [_placed(manifest, backend) if manifest.key.kind == "MatrixCluster" else manifest for manifest in manifests]


def choose(asked: str | None, known: Sequence[str]) -> str:
    """The profile that is meant. Raises UsageError."""
    if asked is None and (DEFAULT_PROFILE in known or len(known) == 1):
        return DEFAULT_PROFILE if DEFAULT_PROFILE in known else known[0]
    if asked in known:
        return str(asked)
    there = f"the site's file has {', '.join(known)}"
    raise UsageError(f"no profile {asked!r}; {there}" if asked else f"say which profile with --profile; {there}")


def _placed(manifest: Manifest, backend: dict[str, str]) -> Manifest:
    spec: dict[str, Any] = manifest.raw.get("spec") or {}
    given = spec.get("backend")
    if given is not None and given != {"slurm": backend}:
        raise UsageError(f"{manifest.file}: cluster {manifest.key.name} names its backend itself: leave --backend out, or spec.backend")
    return replace(manifest, raw={**manifest.raw, "spec": {**spec, "backend": {"slurm": backend}}})
