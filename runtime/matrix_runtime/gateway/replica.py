"""The gateway's Serve deployment: keeps HAProxy in line with the directory and the control plane's settings."""

from __future__ import annotations

from typing import Any

from matrix_runtime.gateway.settings import GatewaySettings


class GatewayReplica:
    """The deployment's one replica."""

    async def __init__(self, arguments: dict[str, Any]) -> None:  # type: ignore[misc]  # Ray awaits it
        self._settings = GatewaySettings()

    def reconfigure(self, user_config: Any) -> None:
        """Never raises: Serve would kill a replica that runs."""
        self._settings = GatewaySettings.model_validate(user_config or {})

    def check_health(self) -> None:
        """Raises when it must be started anew."""
