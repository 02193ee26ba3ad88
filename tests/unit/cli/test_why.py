"""The chain of causes: a snapshot goes in, links come out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from matrix_cli.causes import Controller, Link, OrphanedRay, Snapshot, explain
from matrix_cli.exits import Exit
from matrix_cli.remedies import _REMEDIES
from matrix_client.verdict import NEEDS_USER
from matrix_crds import registry
from matrix_crds.keys import ObjectKey
from matrix_store.port import StoredObject
from tests.unit.cli.runner import run
from tests.unit.client.worlds import CHAT, LAB, World, condition, manifest, ready

RUNNING = Controller(True, "process 7")
STOPPED = Controller(False)
FROZEN = Controller(True, "process 7", beating=False)
ORPHAN = OrphanedRay("uid-1", "/lost/home", "4 processes (gcs, raylet)")


def stored(key: ObjectKey, status: dict[str, Any] | None = None, **metadata: Any) -> StoredObject:
    raw = manifest(key, uid="u", generation=1, **metadata)
    return StoredObject(raw | ({} if status is None else {"status": status}))


def chain(key: ObjectKey, *objects: StoredObject, controller: Controller = RUNNING) -> tuple[Link, ...]:
    return explain(key, Snapshot({each.key: each for each in objects}, controller))


def told(links: tuple[Link, ...]) -> list[tuple[str, str, bool]]:
    """Subjects, statements, and whether there is something to do."""
    return [(link.subject, link.statement, bool(link.remedy)) for link in links]


READY = stored(LAB, ready(message="1 node"))
STARTING = stored(LAB, ready("False", "Starting", "head: waiting for the GCS"))
NO_CLUSTER = stored(CHAT, ready("False", "ClusterNotFound", "there is no MatrixCluster 'lab'"))
WAITING = stored(CHAT, ready("False", "ClusterNotReady", "MatrixCluster 'lab': ..."))
UNKNOWN = stored(CHAT, ready("Unknown", "StateUnknown", "MatrixCluster 'lab': ..."))
HELD_BACK = [condition("Ready", "True", "Ready"), condition("UpToDate", "False", "TemplateChanged", "the head")]

TABLE: list[tuple[str, ObjectKey, list[StoredObject], list[tuple[str, str, bool]]]] = [
    ("all is well", LAB, [READY], [("MatrixCluster/lab", "is ready: 1 node", False)]),
    ("not looked at yet", LAB, [stored(LAB)], [("MatrixCluster/lab", "was not looked at by the controller yet", False)]),
    (
        "a change that was not looked at yet",
        LAB,
        [StoredObject(READY.raw | {"metadata": READY.raw["metadata"] | {"generation": 2}})],
        [("MatrixCluster/lab", "was changed, and the controller has not looked at the change yet", False)],
    ),
    ("on its way", LAB, [STARTING], [("MatrixCluster/lab", "is not ready (Starting): head: waiting for the GCS", False)]),
    (
        "the user must act",
        LAB,
        [stored(LAB, ready("False", "PortTaken", "port 1 is taken"))],
        [("MatrixCluster/lab", "is not ready (PortTaken): port 1 is taken", True)],
    ),
    (
        "a deployment waits for its cluster",
        CHAT,
        [WAITING, STARTING],
        [
            ("ModelDeployment/chat", "is not ready (ClusterNotReady): it needs MatrixCluster/lab", False),
            ("MatrixCluster/lab", "is not ready (Starting): head: waiting for the GCS", False),
        ],
    ),
    (
        "down to a silent dashboard",
        CHAT,
        [UNKNOWN, stored(LAB, ready("Unknown", "DashboardUnreachable", "no answer in 5 s; nothing is changed until it answers"))],
        [
            ("ModelDeployment/chat", "is not known to be ready (StateUnknown): it needs MatrixCluster/lab", False),
            (
                "MatrixCluster/lab",
                "is not known to be ready (DashboardUnreachable): no answer in 5 s; nothing is changed until it answers",
                True,
            ),
        ],
    ),
    (
        "a cluster that does not exist",
        CHAT,
        [NO_CLUSTER],
        [
            ("ModelDeployment/chat", "is not ready (ClusterNotFound): it needs MatrixCluster/lab", False),
            ("MatrixCluster/lab", "does not exist", True),
        ],
    ),
    (
        "the cluster is ready again and the deployment has not seen it",
        CHAT,
        [WAITING, READY],
        [("ModelDeployment/chat", "is not ready (ClusterNotReady): MatrixCluster 'lab': ...", False)],
    ),
    (
        "a replica that failed, in the engine's own words",
        CHAT,
        [READY, stored(CHAT, ready("False", "BadArguments", "vLLM refuses\n  | unknown --foo"))],
        [("ModelDeployment/chat", "is not ready (BadArguments): vLLM refuses\n  | unknown --foo", True)],
    ),
    (
        "being deleted",
        LAB,
        [stored(LAB, ready("False", "Deleting", "2 processes are ending"), deletionTimestamp="2026-01-01T00:00:00Z")],
        [("MatrixCluster/lab", "is being deleted: 2 processes are ending", False)],
    ),
    (
        "a deletion that is stuck",
        LAB,
        [stored(LAB, ready("False", "DeletionStuck", "pid 7 does not end"), deletionTimestamp="2026-01-01T00:00:00Z")],
        [("MatrixCluster/lab", "is being deleted: pid 7 does not end", True)],
    ),
    (
        "ready, with a change held back",
        LAB,
        [stored(LAB, {"observedGeneration": 1, "conditions": HELD_BACK})],
        [("MatrixCluster/lab", "is ready", False), ("MatrixCluster/lab", "is not up to date (TemplateChanged): the head", True)],
    ),
]


@pytest.mark.parametrize(("key", "objects", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_chain(key: ObjectKey, objects: list[StoredObject], expected: list[tuple[str, str, bool]]) -> None:
    assert told(chain(key, *objects)) == expected


MISSING = [
    (ObjectKey("MatrixCluster", "default", "lba"), "did you mean MatrixCluster/lab?"),
    (ObjectKey("ModelDeployment", "default", "lab"), "did you mean MatrixCluster/lab?"),
    (ObjectKey("MatrixCluster", "team", "lab"), "did you mean MatrixCluster/lab?"),
    (ObjectKey("MatrixCluster", "default", "zzz"), "there is lab"),
    (ObjectKey("ModelDeployment", "default", "zzz"), "create it with `matrix up FILE`"),
]


@pytest.mark.parametrize(("key", "remedy"), MISSING)
def test_an_object_that_does_not_exist(key: ObjectKey, remedy: str) -> None:
    assert chain(key, READY, controller=STOPPED) == (Link(str(key), "does not exist", remedy),)


CONTROLLERS = [
    (STOPPED, WAITING, "is not running: nobody works on this"),
    (STOPPED, READY, "is not running: what runs goes on, but nothing heals or changes"),
    (FROZEN, STARTING, "(process 7) gives no sign of life: it hangs, or is stopped"),
]


@pytest.mark.parametrize(("controller", "subject", "says"), CONTROLLERS)
def test_a_controller_that_does_not_work_is_named_beside_the_chain(controller: Controller, subject: StoredObject, says: str) -> None:
    last = chain(subject.key, subject, STARTING if subject is WAITING else subject, controller=controller)[-1]

    assert (last.subject, last.statement, last.beside) == ("the controller", says, True)
    assert "`matrix controller" in last.remedy


@pytest.mark.parametrize("objects", [(), (READY,)])
def test_an_orphaned_ray_is_named_with_the_command_that_ends_it(objects: tuple[StoredObject, ...]) -> None:
    last = explain(LAB, Snapshot({each.key: each for each in objects}, RUNNING, (ORPHAN,)))[-1]

    assert last.statement == "still runs (4 processes (gcs, raylet)), but its record in /lost/home is lost: it holds CPUs, memory and ports"
    assert last.remedy == "end it with `matrix controller end-orphan uid-1`"


def test_every_reason_with_a_remedy_exists_and_every_one_that_needs_the_user_has_one() -> None:
    reasons = {reason.value for kind in registry.KINDS for reason in kind.reasons}

    assert set(_REMEDIES) <= reasons
    assert set().union(*NEEDS_USER.values()) <= set(_REMEDIES)


def test_the_command_shows_the_chain_and_what_to_do(world: World) -> None:
    world.put(LAB, ready("False", "InsufficientResources", "64 CPUs asked for, this machine has 2"))
    world.put(CHAT, ready("False", "ClusterNotReady", "MatrixCluster 'lab': ..."))
    result = run(world, "why", "mxd/chat")

    assert result.exit_code == Exit.FAILED
    assert result.stdout.splitlines()[:5] == [
        "✗ ModelDeployment/chat is not ready (ClusterNotReady): it needs MatrixCluster/lab",
        "✗ because MatrixCluster/lab is not ready (InsufficientResources): 64 CPUs asked for, this machine has 2",
        "  → ask for less in the manifest, or stop something that runs here, then `matrix apply FILE`",
        "✗ besides, the controller is not running: nobody works on this",
        "  → start it with `matrix controller run --detach`",
    ]


def test_the_command_as_json_and_its_exit_codes(managed: World) -> None:
    managed.put(CHAT, ready())
    well = run(managed, "why", "mxd/chat", "-o", "json")

    assert json.loads(well.stdout)[0] == {
        "subject": "ModelDeployment/chat",
        "statement": "is ready: all is well",
        "remedy": None,
        "healthy": True,
    }
    assert run(managed, "why", "mxd/nothing").exit_code == Exit.NOT_FOUND
    assert run(managed, "why", "mxd/chat", "mxc/lab").exit_code == Exit.INVALID


def test_the_command_feels_the_pulse_of_the_controller(managed: World) -> None:
    assert "the controller" not in run(managed, "why", "mxd/chat").stdout
