"""What can go wrong with the lab. Each message is a text for the person at the terminal."""

from __future__ import annotations


class LabError(Exception):
    """The control plane could not be built, started or reached; the message says why."""


class GoMissing(LabError):
    """There is no Go on this machine, so nothing can be built: the one reason to skip what needs a control plane."""


class NodeMissing(LabError):
    """This machine can't have a node, for want of rights or programs: the reason to skip what needs pods that run."""
