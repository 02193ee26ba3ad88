"""A fragment of a PodTemplateSpec laid over the generated one, as a strategic merge would. Pure.

Mappings are merged, lists of named things (containers, env, volumes, tolerations, ...) by what names their entries, and everything else
is replaced by what the fragment says.
"""

from __future__ import annotations

from typing import Any

_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    "resourceClaims": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "ports": ("containerPort", "protocol"),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    # Kubernetes itself replaces the whole list; what a user adds to a pod of ours should not take away what it tolerates already.
    "tolerations": ("key", "operator", "effect"),
}
"""What names an entry of a list (the patchMergeKey of k8s.io/api/core/v1); the first must be there, the rest may be absent."""
_MAY_BE_NAMELESS = frozenset({"tolerations"})  # one without a key tolerates everything


class FragmentProblem(ValueError):
    """The fragment has something that no pod template can have; the message says where."""


def overlay(base: dict[str, Any], fragment: dict[str, Any], at: str = "template") -> dict[str, Any]:
    """A new template; neither argument is changed. `at` is where the fragment stands. Raises FragmentProblem."""
    result = dict(base)
    for name, value in fragment.items():
        result[name] = _merged(name, base.get(name), value, f"{at}.{name}")
    return result


def _merged(name: str, base: Any, value: Any, at: str) -> Any:
    for kind, words in ((dict, "a mapping"), (list, "a list")):
        if isinstance(base, kind) and not isinstance(value, kind):
            raise FragmentProblem(f"{at} must be {words}")
    if isinstance(value, dict):
        return overlay(base or {}, value, at)
    if isinstance(value, list) and name in _KEYS:
        return _by_name(_KEYS[name], base or [], value, at, nameless=name in _MAY_BE_NAMELESS)
    return value


def _by_name(keys: tuple[str, ...], base: list[Any], value: list[Any], at: str, *, nameless: bool) -> list[Any]:
    merged = {_name(keys, entry): entry for entry in base}
    for index, entry in enumerate(value):
        here = f"{at}[{index}]"
        if not isinstance(entry, dict) or (keys[0] not in entry and not nameless):
            raise FragmentProblem(f"{here} must be a mapping with `{keys[0]}`")
        merged[_name(keys, entry)] = overlay(merged.get(_name(keys, entry), {}), entry, here)
    return list(merged.values())


def _name(keys: tuple[str, ...], entry: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(entry.get(key, "")) for key in keys)
