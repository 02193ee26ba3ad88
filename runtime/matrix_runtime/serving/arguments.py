"""What the control plane's Serve config says to a replica."""

from __future__ import annotations

from matrix_runtime.engines.port import EngineSettings


class ReplicaArguments(EngineSettings):
    """The `args` of the application: changing one starts every replica anew. No secret is in them, only where the secrets are."""

    version: str = ""
    """A hash of what starts the replicas anew when it changes: the replica reports it, and so tells which change it runs."""
    deployment: str
    """The ModelDeployment's name."""
    state_url: str
    """The base URL of mx-system's own server."""
    bind_host: str
    secrets_dir: str
    model_cache_dir: str
    credentials_dir: str | None = None
    """Holds a file for each key of the user's own; None: those of the environment."""
