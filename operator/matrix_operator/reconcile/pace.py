"""Seconds until an object is looked at again, when nothing wakes it before.

A thousand clusters that start at once are not looked at more often than one machine can: the looks that nobody asked for share a budget.
"""

AGAIN = 0.05
"""A step was taken whose effect the next look sees."""
STARTING = 0.3
"""Nodes come up or go, and nobody announces it."""
DEPLOYING = 1.0
"""Serve deploys: the directory announces the replicas' progress, not Serve's own state."""
REFUSED = 5.0
"""The machine can't carry it now: a port or memory may become free without a word to us."""
LOOKS_PER_SECOND = 20.0
"""Of all objects together that are looked at sooner than SETTLING; and of all of a kind with which all is well."""
SETTLING = 30.0
"""It waits for the user, or for something that may take long."""
STEADY = 60.0
"""All is well."""
LONGEST_STEADY = 300.0


def shared(seconds: float, eager: int) -> float:
    """The same for one of `eager` objects that are all to be looked at soon."""
    return max(seconds, min(eager / LOOKS_PER_SECOND, SETTLING)) if seconds < SETTLING else seconds


def steady(count: int) -> float:
    """STEADY for one of so many objects of a kind: from 1,200 on it is longer. Whatever changes wakes them before."""
    return max(STEADY, min(count / LOOKS_PER_SECOND, LONGEST_STEADY))
