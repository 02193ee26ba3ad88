"""What keeps a pod's containers from being started, in the kubelet's words: images and Secrets that are not there."""

from __future__ import annotations

from collections.abc import Iterator

from tests.lab.kuberay import pod_status
from tests.lab.kuberay.cache import Cache
from tests.lab.kuberay.client import Client, Object, Refused, in_namespace
from tests.lab.kuberay.faults import Ailments


class Obstacles:
    """Looks at what pods name."""

    def __init__(self, client: Client) -> None:
        self.secrets = Cache(client, "/api/v1/secrets")
        self._client = client

    async def to_volumes(self, pod: Object) -> str:
        """Why its volumes can't be mounted, in the kubelet's words; empty when they can."""
        for volume, name in _mounted(pod):
            if await self._secret(pod["metadata"]["namespace"], name) is None:
                return f'MountVolume.SetUp failed for volume "{volume}" : secret "{name}" not found'
        return ""

    async def before(self, pod: Object, ailments: Ailments) -> pod_status.State | None:
        """The state of its containers, or None when they can be started."""
        namespace = pod["metadata"]["namespace"]
        images = [spec["image"] for spec in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"])]
        missing = next((image for image in images if image in ailments.missing_images), None)
        if missing:
            return _not_pulled(pod, missing)
        for name, key in _in_environment(pod):
            secret = await self._secret(namespace, name)
            if secret is None:
                return pod_status.waiting("CreateContainerConfigError", f'secret "{name}" not found')
            if key not in secret.get("data", {}):
                return pod_status.waiting("CreateContainerConfigError", f"couldn't find key {key} in Secret {namespace}/{name}")
        return None

    async def _secret(self, namespace: str, name: str) -> Object | None:
        """The watch may be a moment behind: its no is asked for again."""
        known = self.secrets.get((namespace, name))
        if known:
            return known
        try:
            return await self._client.get(in_namespace("/api/v1", "secrets", (namespace, name)))
        except Refused as refused:
            if refused.code == 404:
                return None
            raise


def _not_pulled(pod: Object, image: str) -> pod_status.State:
    """First why, then that it is tried again later."""
    before = [entry["state"].get("waiting", {}).get("reason") for entry in pod["status"].get("containerStatuses", ())]
    if "ErrImagePull" in before or "ImagePullBackOff" in before:
        return pod_status.waiting("ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: not found')
    return pod_status.waiting("ErrImagePull", f'failed to pull and unpack image "{image}": not found')


def _mounted(pod: Object) -> Iterator[tuple[str, str]]:
    """Its volumes that need a Secret, with the Secret's name."""
    for volume in pod["spec"].get("volumes", ()):
        sources = [volume.get("secret"), *(source.get("secret") for source in volume.get("projected", {}).get("sources", ()))]
        for source in filter(None, sources):
            if not source.get("optional"):
                yield volume["name"], source.get("secretName") or source["name"]


def _in_environment(pod: Object) -> Iterator[tuple[str, str]]:
    """Names and keys of the Secrets that its containers' environments need."""
    for spec in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
        for variable in spec.get("env", ()):
            reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
            if reference and not reference.get("optional"):
                yield reference["name"], reference["key"]
