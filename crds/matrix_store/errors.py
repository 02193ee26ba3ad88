"""What a store can say no with.

StoreError
├── NotFound          the object is not there
├── Conflict          it is not in the state the caller thought it was; look again
├── Rejected          the store's own rules say no to what was to be written
├── Forbidden         whoever is calling may not do that
└── Unavailable       the store can't be used now: nothing is known, so nothing may be concluded
    ├── Busy          another process holds it (passes)
    ├── Full          no room to write
    ├── Corrupt       its file is not what it was
    └── LockedElsewhere  a controller on another host, or another process here, owns it
"""

from __future__ import annotations


class StoreError(Exception):
    """Base. The text is one line for a person and says what to do."""


class NotFound(StoreError):
    """The object is not there."""


class Conflict(StoreError):
    """It is not in the state the caller thought it was; look again."""


class Rejected(StoreError):
    """The store's own rules say no to what was to be written."""


class Forbidden(StoreError):
    """Whoever is calling may not do that."""


class Unavailable(StoreError):
    """The store can't be used now."""


class Busy(Unavailable):
    """Another process holds it; this passes."""


class Full(Unavailable):
    """No room to write."""


class Corrupt(Unavailable):
    """Its file is not what it was."""


class LockedElsewhere(Unavailable):
    """Another controller owns it."""
