"""Handing Serve a whole set of applications when one of them may be refused: the good ones must serve on.

One bad entry fails a whole PUT. So after a refusal the entries are tried one by one on top of what Serve has accepted before. What
builds on the others waits meanwhile (see _order): the next look knows what was refused, and sends what fits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from matrix_operator import serve_schema
from matrix_operator.errors import ServeRejected
from matrix_operator.ray_rest import RayRest, ServeDetails
from matrix_operator.serve_config import OWN_PREFIX, SYSTEM_APPLICATION, Entry, entry_hash, name_holders, serve_config

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
    """The good entries; for those that were refused, and those that wait for them, what Serve had of them before."""
    order = _order(accepted)
    good = [entry for entry in entries if entry_hash(entry) not in refused and not (refused and order(entry))]
    others = {str(entry["name"]) for entry in entries} - {str(entry["name"]) for entry in good}
    return good + [accepted[name] for name in others if name in accepted]


def _order(accepted: dict[str, Entry]) -> Callable[[Entry], int]:
    """0: it stands alone. 1: it takes over a served name, so it waits until who has it was given another. 2: mx-system, which tells the
    gateway of the names: of a refused one no replica knows."""
    holders = name_holders(accepted.get(SYSTEM_APPLICATION))

    def order(entry: Entry) -> int:
        name, served = str(entry["name"]), str((entry.get("args") or {}).get("servedName"))
        return 2 if name == SYSTEM_APPLICATION else int(holders.get(served, name) != name)

    return order


async def _one_by_one(rest: RayRest, entries: list[Entry], accepted: dict[str, Entry], why: str) -> dict[str, str]:
    """Each new or changed entry on top of those known to be good."""
    wanted = {str(entry["name"]): entry for entry in entries}
    base = {name: entry for name, entry in accepted.items() if name in wanted}
    candidates = [entry for name, entry in wanted.items() if base.get(name) != entry]
    if not candidates:
        raise ServeRejected(why)
    refused: dict[str, str] = {}
    order = _order(accepted)
    for entry in sorted(candidates, key=order):
        if refused and order(entry):
            break
        trial = {**base, str(entry["name"]): entry}
        try:
            await rest.put_serve(serve_config(trial.values()))
            base = trial
        except ServeRejected as rejection:
            refused[entry_hash(entry)] = str(rejection)
    return refused
