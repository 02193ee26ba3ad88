"""Whose a model's name is, from the deployments as the store has them."""

from __future__ import annotations

from typing import Any

import pytest

from matrix_client.endpoints import pick
from matrix_crds.keys import ObjectKey
from matrix_store.errors import NotFound
from matrix_store.port import Raw, StoredObject
from tests.unit.client.worlds import SPECS, manifest, ready

ANSWERS = {"endpoints": [{"name": "openai", "url": "http://a/v1"}]}
TAKEN = ("False", "NameTaken", "the name is served by another already")


def deployment(name: str, wants: str, status: Raw | None) -> StoredObject:
    """`wants`: its servedName, "" for none."""
    spec = SPECS["ModelDeployment"] | {"model": {"source": "hf://org/model"} | ({"servedName": wants} if wants else {})}
    raw = manifest(ObjectKey("ModelDeployment", "default", name), spec, uid=name)
    return StoredObject(raw | ({} if status is None else {"status": status}))


def has(name: str, **more: Any) -> Raw:
    """The status of one that answers to a name."""
    return ready(model=name, **ANSWERS, **more)


HELD = deployment("zz", "chat", has("chat"))


@pytest.mark.parametrize(
    "late",
    [
        deployment("aa", "chat", ready(*TAKEN, model="small", **ANSWERS)),
        deployment("aa", "chat", ready(*TAKEN, model="chat", **ANSWERS)),
        deployment("aa", "chat", has("small")),
        deployment("aa", "chat", None),
    ],
    ids=["it was refused the name", "it was refused the name that its status names", "nobody has looked yet", "it is new"],
)
def test_a_name_is_whose_it_was_not_of_who_wants_it_too(late: StoredObject) -> None:
    assert pick([late, HELD], "chat").key.name == "zz"
    assert pick([HELD, late], "aa").key.name == "aa", "by its own name it is found all the same"


def test_who_was_refused_a_name_is_found_by_the_one_that_it_has() -> None:
    late = deployment("aa", "chat", ready(*TAKEN, model="small", **ANSWERS))

    assert pick([late, HELD], "small").key.name == "aa"


def test_while_the_one_that_had_it_does_not_answer_the_name_stays_its_own() -> None:
    late = deployment("aa", "chat", ready(*TAKEN, model="small", **ANSWERS))
    held = deployment("zz", "chat", ready("False", "Loading", model="chat"))

    assert pick([late, held], "chat").key.name == "zz"


def test_of_two_on_different_clusters_the_one_that_answers_is_asked() -> None:
    starting = deployment("aa", "chat", ready("False", "Loading", model="chat"))

    assert pick([starting, HELD], "chat").key.name == "zz"


def test_a_status_without_a_name_makes_no_name_of_nothing() -> None:
    with pytest.raises(NotFound, match="there is aa"):
        pick([deployment("aa", "", ready(model=""))], "")
