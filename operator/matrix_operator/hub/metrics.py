"""What the hub counts: docs/metrics.md. Labels are names from the configuration and from lists of ours: no stranger makes new ones."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class HubMetrics:
    """Of one hub, in the registry of its process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connected = Gauge("matrix_hub_site_connected", "1 while the bridge of a site is connected", ["site"], registry=registry)
        self.report_age = Gauge("matrix_hub_report_age_seconds", "Since a site was last heard; -1: never", ["site"], registry=registry)
        self.refused = Counter("matrix_hub_refused_total", "Calls that were refused, by why", ["why"], registry=registry)
        self.tunnels = Gauge("matrix_hub_tunnels", "Open tunnels, by site", ["site"], registry=registry)
        self.tunnels_failed = Counter(
            "matrix_hub_tunnels_failed_total",
            "Connections that became no tunnel, or broke, by site and why",
            ["site", "why"],
            registry=registry,
        )
        self.tunnel_bytes = Counter(
            "matrix_hub_tunnel_bytes_total", "Bytes through tunnels; direction in: to the site", ["site", "direction"], registry=registry
        )
        self.connections = Gauge("matrix_hub_connections", "TCP connections to the hub, strangers' as well", registry=registry)
        self.expiry = Gauge(
            "matrix_hub_certificate_expiry_seconds", "Until the certificate of the hub expires; negative: it has", registry=registry
        )
