"""Proxies of the environment, and whether what runs on this machine is reached around them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
LOOPBACK = "127.0.0.1"


def proxy_in_the_way(environ: Mapping[str, str]) -> str:
    """The variable whose proxy a client would ask for this machine's own addresses; "" if there is none."""
    around = (environ.get("no_proxy") or environ.get("NO_PROXY") or "").replace(" ", "").split(",")
    if LOOPBACK in around or "*" in around:
        return ""
    return next((name for name in PROXIES if environ.get(name)), "")


def around_it(environ: Mapping[str, str]) -> str:
    """A value of no_proxy that has this machine in it."""
    before = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    return ",".join(part for part in (before, LOOPBACK, "localhost") if part)
