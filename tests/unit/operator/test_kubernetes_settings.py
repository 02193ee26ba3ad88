"""The settings file: what is wrong is said by its name, and nothing of it is guessed."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from matrix_crds.cluster import ModelCache, PersistentVolumeClaim, Storage
from matrix_operator.backends.kuberay.settings import Accelerator, KubeRaySettings
from matrix_operator.engines.kubernetes_settings import SettingsError, SiteSettings, read

WHOLE = """
image: example.com/matrix:1
rayImages: {"2.59.0": "example.com/matrix:0"}
imagePullPolicy: Always
imagePullSecrets: [pull]
gpuResource: amd.com/gpu
accelerators:
  H100:
    nodeLabels: {nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}
  MI300:
    nodeLabels: {amd.com/gpu: "true"}
    resource: amd.com/gpu
runAsUser: 2000
drainSeconds: 30
modelCache: {persistentVolumeClaim: {claimName: models, path: hub}}
storage: {uri: "s3://bucket/lab"}
"""


def settings(path: Path, text: str) -> SiteSettings:
    (path / "site.yaml").write_text(text)
    return read(path / "site.yaml")


def test_the_file_has_every_setting_of_the_backend() -> None:
    assert set(SiteSettings.model_fields) == {field.name for field in fields(KubeRaySettings)}


def test_a_whole_file(tmp_path: Path) -> None:
    assert settings(tmp_path, WHOLE).kuberay() == KubeRaySettings(
        image="example.com/matrix:1",
        ray_images={"2.59.0": "example.com/matrix:0"},
        image_pull_policy="Always",
        image_pull_secrets=("pull",),
        gpu_resource="amd.com/gpu",
        accelerators={
            "H100": Accelerator({"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}),
            "MI300": Accelerator({"amd.com/gpu": "true"}, "amd.com/gpu"),
        },
        run_as_user=2000,
        drain_seconds=30,
        model_cache=ModelCache(persistent_volume_claim=PersistentVolumeClaim(claim_name="models", path="hub")),
        storage=Storage(uri="s3://bucket/lab"),
    )


def test_what_is_absent_is_as_the_backend_has_it(tmp_path: Path) -> None:
    assert settings(tmp_path, "image: x").kuberay() == KubeRaySettings(image="x")


def test_options_come_before_the_file(tmp_path: Path) -> None:
    assert SiteSettings(image="y").over(settings(tmp_path, "image: x\ndrainSeconds: 5")).kuberay() == KubeRaySettings("y", drain_seconds=5)


@pytest.mark.parametrize("text", ["", "drainSeconds: 5"])
def test_without_an_image_nothing_can_be_made(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="--image"):
        settings(tmp_path, text).kuberay()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("images: x", "images: there is no such setting; there are image, rayImages, imagePullPolicy"),
        ("storage: {}", "storage: exactly one of uri, persistentVolumeClaim must be given"),
        ("modelCache: {hostPath: {path: data}}", "modelCache.hostPath.path: "),
        ("rayImages: {newest: x}", "rayImages.newest.[key]: string should match pattern"),
        ("run_as_user: 5", "run_as_user: there is no such setting"),
        ("runAsUser: 0", "runAsUser: input should be greater than or equal to 1"),
        ("runAsUser: '5'", "runAsUser: input should be a valid integer"),
        ("drainSeconds: -1", "drainSeconds: input should be greater"),
        ("imagePullPolicy: Sometimes", "imagePullPolicy: input should be 'Always'"),
        ("imagePullSecrets: pull", "imagePullSecrets: input should be a valid list"),
        ("accelerators: {H100: {}}", "accelerators.H100.nodeLabels: field required"),
        ("accelerators: {H100: {nodeLabels: {a: b}, count: 1}}", "accelerators.H100.count: there is no such setting"),
        ("image: ''", "image: string should have at least 1 character"),
        ("- image", "the file: input should be a valid dictionary"),
        ("image: [", "can't be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, text)
    assert words in str(caught.value)
    assert str(tmp_path / "site.yaml") in str(caught.value)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, "images: x\nrunAsUser: 0")
    assert len(str(caught.value).splitlines()) == 2


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"missing.yaml can't be read"):
        read(tmp_path / "missing.yaml")
