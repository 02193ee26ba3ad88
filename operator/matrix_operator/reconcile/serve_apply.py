"""Handing Serve a whole set of applications when one of them may be refused: the good ones must serve on.

One bad entry fails a whole PUT. So after a refusal the entries are tried one by one on top of what Serve has accepted before. mx-system
waits meanwhile: a refused change of a name would be told to the gateway, and no replica answers to it. The next look knows what was
refused, and sends the mx-system that fits.
"""

from __future__ import annotations

import logging

from matrix_operator import serve_schema
from matrix_operator.errors import ServeRejected
from matrix_operator.ray_rest import RayRest, ServeDetails
from matrix_operator.serve_config import OWN_PREFIX, SYSTEM_APPLICATION, Entry, entry_hash, serve_config

log = logging.getLogger(__name__)


async def apply_serve(rest: RayRest, before: ServeDetails | None, entries: tuple[Entry, ...]) -> dict[str, str]:
    """PUT the entries. Returns what was refused: the entry's hash -> why. Raises ForeignFault, and ServeRejected if even the
    set that Serve had accepted before is refused (then no entry of ours is to blame)."""
    accepted = {name: app.deployed_app_config for name, app in (before.applications if before else {}).items() if app.deployed_app_config}
    refused = {entry_hash(entry): text for entry in entries if _ours(entry) and (text := serve_schema.problem(entry))}
    wanted = _with_accepted(entries, accepted, refused)
    try:
        await rest.put_serve(serve_config(wanted))
    except ServeRejected as rejection:
        log.warning("Ray Serve refused the configuration; trying its entries one by one: %s", rejection)
        refused |= await _one_by_one(rest, wanted, accepted, str(rejection))
    return refused


def _ours(entry: Entry) -> bool:
    return str(entry["name"]).startswith(OWN_PREFIX)


def _with_accepted(entries: tuple[Entry, ...], accepted: dict[str, Entry], refused: dict[str, str]) -> list[Entry]:
    """The good entries, and for the refused ones, and mx-system beside them, what Serve had of them before."""
    good = {str(entry["name"]): entry for entry in entries if entry_hash(entry) not in refused}
    held = {str(entry["name"]) for entry in entries}.difference(good) | ({SYSTEM_APPLICATION} if refused else set())
    return list((good | {name: accepted[name] for name in held if name in accepted}).values())


async def _one_by_one(rest: RayRest, entries: list[Entry], accepted: dict[str, Entry], why: str) -> dict[str, str]:
    """Each new or changed entry on top of those known to be good, mx-system last."""
    wanted = {str(entry["name"]): entry for entry in entries}
    base = {name: entry for name, entry in accepted.items() if name in wanted}
    candidates = {name: entry for name, entry in wanted.items() if base.get(name) != entry}
    if not candidates:
        raise ServeRejected(why)
    refused: dict[str, str] = {}
    for name, entry in sorted(candidates.items(), key=lambda candidate: candidate[0] == SYSTEM_APPLICATION):
        if refused and name == SYSTEM_APPLICATION and name in base:
            break
        trial = {**base, name: entry}
        try:
            await rest.put_serve(serve_config(trial.values()))
            base = trial
        except ServeRejected as rejection:
            refused[entry_hash(entry)] = str(rejection)
    return refused
