"""Handing Serve a whole set of applications when one of them may be refused: the good ones must serve on.

One bad entry fails a whole PUT. So after a refusal the entries are tried one by one on top of what Serve has accepted before.
"""

from __future__ import annotations

import logging

from matrix_operator import serve_schema
from matrix_operator.errors import ServeRejected
from matrix_operator.ray_rest import RayRest, ServeDetails
from matrix_operator.serve_config import OWN_PREFIX, Entry, entry_hash, serve_config

log = logging.getLogger(__name__)


async def apply_serve(rest: RayRest, before: ServeDetails | None, entries: tuple[Entry, ...]) -> dict[str, str]:
    """PUT the entries. Returns what was refused: the entry's hash -> why. Raises ForeignFault, and ServeRejected if even the
    set that Serve had accepted before is refused (then no entry of ours is to blame)."""
    accepted = {name: app.deployed_app_config for name, app in (before.applications if before else {}).items() if app.deployed_app_config}
    refused = {entry_hash(entry): text for entry in entries if _ours(entry) and (text := serve_schema.problem(entry))}
    good = [entry for entry in entries if entry_hash(entry) not in refused]
    wanted = _with_accepted(good, entries, accepted, refused)
    try:
        await rest.put_serve(serve_config(wanted))
    except ServeRejected as rejection:
        log.warning("Ray Serve refused the configuration; trying its entries one by one: %s", rejection)
        refused |= await _one_by_one(rest, wanted, accepted, str(rejection))
    return refused


def _ours(entry: Entry) -> bool:
    return str(entry["name"]).startswith(OWN_PREFIX)


def _with_accepted(good: list[Entry], entries: tuple[Entry, ...], accepted: dict[str, Entry], refused: dict[str, str]) -> list[Entry]:
    """The good entries, and for the refused ones what Serve had of them before."""
    names = (str(entry["name"]) for entry in entries if entry_hash(entry) in refused)
    return good + [accepted[name] for name in names if name in accepted]


async def _one_by_one(rest: RayRest, entries: list[Entry], accepted: dict[str, Entry], why: str) -> dict[str, str]:
    """Each new or changed entry on top of those known to be good."""
    wanted = {str(entry["name"]): entry for entry in entries}
    base = {name: entry for name, entry in accepted.items() if name in wanted}
    candidates = [entry for name, entry in wanted.items() if base.get(name) != entry]
    if not candidates:
        raise ServeRejected(why)
    refused: dict[str, str] = {}
    for entry in candidates:
        trial = {**base, str(entry["name"]): entry}
        try:
            await rest.put_serve(serve_config(trial.values()))
            base = trial
        except ServeRejected as rejection:
            refused[entry_hash(entry)] = str(rejection)
    return refused
