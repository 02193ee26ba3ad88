"""Alice, with a site's file, on a Slurm of her own tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.e2e.slurm.conftest import MakeLab
from tests.e2e.slurm.product.login import Login


@pytest.fixture(scope="module")
def alice(make_lab: MakeLab) -> Iterator[Login]:
    """What she leaves running ends with the lab's machines."""
    lab = make_lab()
    user = lab.users["alice"]
    login = Login(lab, user)
    login.shared.mkdir(mode=0o700)
    os.chown(login.shared, user.uid, user.uid)
    login.matrix("bridge", "init")
    yield login
    lab.cancel_all()
