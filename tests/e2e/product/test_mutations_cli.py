"""Manifests with mistakes, on the way that a user's take: from a file to the store. Refused with the place, or accepted whole."""

from __future__ import annotations

import asyncio
import copy
import json
import random
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from matrix_client.manifests import apply_manifests, read_manifests
from matrix_crds.errors import ManifestError
from matrix_crds.keys import ObjectKey
from matrix_crds.registry import KINDS
from matrix_store.sqlite import SqliteStore
from tests.e2e.product.product import Product

EXAMPLES = {path.name: path.read_text() for path in sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))}
SEEDS = 200
SEEDS_OF_THE_COMMAND = 10
ODD = [None, True, 0, -1, 2.5, 10**30, "", "x", "Ü", "a\nb", "8Gi", [], ["x"], {}, {"x": 1}, "x" * 3000, " lab"]
Objects = dict[str, Any]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container below `value` with every key or index of it."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def with_a_wrong_field(text: str, dice: random.Random) -> str:
    """One field of one document is removed, misspelt, or holds something odd."""
    documents = list(yaml.safe_load_all(text))
    container, key = dice.choice(list(places(dice.choice(documents))))
    change = dice.choice(("odd", "remove", "misspell"))
    value = container.pop(key) if change != "odd" else None
    if change == "odd":
        container[key] = copy.deepcopy(dice.choice(ODD))
    elif change == "misspell" and isinstance(container, dict):
        position = dice.randrange(len(key))
        container[key[:position] + dice.choice(string.ascii_letters) + key[position + 1 :]] = value
    return yaml.safe_dump_all(documents)


def with_wrong_characters(text: str, dice: random.Random) -> str:
    """A slip of the keyboard, or three."""
    letters = list(text)
    for _ in range(dice.randint(1, 3)):
        place = dice.randrange(len(letters))
        letters[place] = dice.choice(("", letters[place] * 2, dice.choice(string.printable), "\t", "\0", ":", "*", "&", "- "))
    return "".join(letters)


def mutated(seed: int) -> str:
    """The text of an example with something wrong in it."""
    dice = random.Random(seed)
    return dice.choice((with_a_wrong_field, with_wrong_characters))(dice.choice(list(EXAMPLES.values())), dice)


async def contents(store: SqliteStore) -> Objects:
    """Everything in the store, by object."""
    return {str((stored.key.namespace, stored.key)): stored.raw for kind in KINDS for stored in await store.list(kind.kind)}


async def apply_in_process(file: Path, database: Path) -> ManifestError | None:
    """Apply the file on top of all examples; what was refused. Fails when anything was half done."""
    store = await SqliteStore.open(database)
    try:
        for text in EXAMPLES.values():
            await store.apply_all(list(yaml.safe_load_all(text)))
        before = await contents(store)
        try:
            manifests = read_manifests([file])
            applied = await apply_manifests(store, manifests, "default")
        except ManifestError as error:
            assert await contents(store) == before
            return error
        assert [stored.key for stored, _ in applied] == [manifest.key for manifest in manifests]
        for manifest in manifests:
            stored = await store.get(ObjectKey(manifest.key.kind, manifest.resource.metadata.namespace, manifest.key.name))
            assert stored.raw["spec"] == manifest.resource.to_wire()["spec"]
        return None
    finally:
        await store.close()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_mutated_manifest_is_refused_with_its_place_or_accepted_whole(seed: int, tmp_path: Path) -> None:
    file = tmp_path / "manifest.yaml"
    file.write_text(mutated(seed))
    refused = asyncio.run(apply_in_process(file, tmp_path / "matrix.db"))
    for problem in refused.problems if refused else ():
        assert problem.file == str(file) and (problem.path or problem.line), problem
        assert problem.message and "\n" not in str(problem) and "Traceback" not in str(problem), problem


def test_most_mutated_manifests_are_refused(tmp_path: Path) -> None:
    """Or the others would prove nothing."""
    assert SEEDS / 2 < sum(refused_by_the_loader(seed, tmp_path) for seed in range(SEEDS)) < SEEDS


def refused_by_the_loader(seed: int, directory: Path) -> bool:
    file = directory / "manifest.yaml"
    file.write_text(mutated(seed))
    try:
        read_manifests([file])
    except ManifestError:
        return True
    return False


@pytest.fixture(scope="module")
def product() -> Iterator[Product]:
    with Product() as product:
        yield product


def test_the_command_refuses_with_the_place_and_changes_nothing(product: Product, tmp_path: Path) -> None:
    for seed in [seed for seed in range(SEEDS) if refused_by_the_loader(seed, tmp_path)][:SEEDS_OF_THE_COMMAND]:
        file = tmp_path / "manifest.yaml"
        file.write_text(mutated(seed))
        done = product.run("apply", str(file))
        assert (done.returncode, done.stdout) == (2, ""), (seed, done)
        lines = done.stderr.rstrip("\n").splitlines()
        assert all(line.removeprefix("error: ").startswith(f"{file}:") for line in lines), (seed, lines)
    assert json.loads(product.matrix("get", "-o", "json"))["items"] == []
    assert product.run("controller", "status").returncode == 5


def test_a_dry_run_of_the_command_checks_everything_and_changes_nothing(product: Product) -> None:
    done = product.run("apply", "--dry-run", *(str(Path(__file__).parents[3] / "examples" / name) for name in EXAMPLES))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == sum(len(list(yaml.safe_load_all(text))) for text in EXAMPLES.values())
    assert json.loads(product.matrix("get", "-o", "json"))["items"] == []
