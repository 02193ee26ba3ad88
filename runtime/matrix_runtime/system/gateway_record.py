"""What the directory remembers of the gateway's own reports."""

from __future__ import annotations

from dataclasses import dataclass

from matrix_proto.state import SUSPECT_AFTER_SECONDS, Gateway, GatewayView


@dataclass
class GatewayRecord:
    """The last report, and when it came. After three missed ones the gateway counts as not ready, never as gone."""

    gateway: Gateway
    heard: float
    silent: bool = False

    def sweep(self, now: float, stalled: float) -> bool:
        """Notices silence; `stalled` seconds of it were the directory's own. Whether that changes what a reader sees."""
        self.heard = min(now, self.heard + stalled)
        before, self.silent = self.silent, now - self.heard > SUSPECT_AFTER_SECONDS
        return self.silent != before

    def visible(self) -> Gateway:
        """What a reader is told, the age apart."""
        if not self.silent:
            return self.gateway
        said = f"; it said last: {self.gateway.message}" if self.gateway.message else ""
        message = f"the gateway has not reported for more than {SUSPECT_AFTER_SECONDS:g} s{said}"
        return self.gateway.model_copy(update={"ready": False, "message": message})

    def view(self, now: float) -> GatewayView:
        """For the state."""
        return GatewayView(**dict(self.visible()), heartbeat_age=round(now - self.heard, 3))
