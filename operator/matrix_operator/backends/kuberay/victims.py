"""Which workers go when a group shrinks. Pure.

KubeRay left alone picks at random, also among those that do the work while another has not even been scheduled, and counts pods that
are on their way out as running. So the victims are named (scaleStrategy.workersToDelete), together with the lower number of replicas,
and stay named until they are gone: a list that is cleared while they still end makes KubeRay delete as many others. So would pods that
somebody else has deleted, and that are still there when the number is lowered: those are named before any that could stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from matrix_operator.backends.kuberay.names import Object
from matrix_operator.backends.kuberay.reading import created, group_of, is_ending, is_true, name_of, workers


@dataclass(frozen=True)
class WorkerPod:
    name: str
    group: str
    created: datetime
    ready: bool = False
    idle: bool = False
    """Nothing runs on it, as Ray says. Not known: False."""
    ending: bool = False


def worker_pods(pods: Iterable[Object], idle: Collection[str] = ()) -> tuple[WorkerPod, ...]:
    """`idle` are the names of pods whose nodes do nothing."""
    return tuple(
        WorkerPod(
            name=name_of(pod),
            group=group_of(pod),
            created=created(pod),
            ready=is_true(pod, "Ready"),
            idle=name_of(pod) in idle,
            ending=is_ending(pod),
        )
        for pod in workers(pods)
    )


def named_victims(pods: Iterable[WorkerPod], wanted: int, named: Collection[str]) -> list[str]:
    """The list to write, sorted, for a group of `wanted` workers whose list is `named` now: those of it that are ending already, the
    surplus of those that stay, of which those go that are missed least, and as many that end unnamed as KubeRay would count too much."""
    pods = list(pods)
    ending = sorted((pod for pod in pods if pod.ending), key=lambda pod: (pod.name not in named, pod.name))
    staying = sorted((pod for pod in pods if not pod.ending), key=lambda pod: _worth(pod, named))
    surplus = max(len(staying) - wanted, 0)
    leaving = max(sum(pod.name in named for pod in ending), len(pods) - wanted - surplus)
    return sorted(pod.name for pod in [*ending[:leaving], *staying[:surplus]])


def _worth(pod: WorkerPod, named: Collection[str]) -> tuple[bool, bool, bool, float, str]:
    """Not yet ready, then idle, then busy; among equals those that are named already, then the youngest."""
    return pod.ready, pod.ready and not pod.idle, pod.name not in named, -pod.created.timestamp(), pod.name
