"""What goes wrong in the agent. Each message is for a person and says what to do.

AgentError
  LockedElsewhere   another agent works on the shared directory
  LockLost          this one held it, and does not any more
  Unusable          the shared directory, or the journal in it, can't be used
  ForeignHub        the site belongs to another hub
"""

from __future__ import annotations


class AgentError(Exception):
    """Base."""


class LockedElsewhere(AgentError):
    """Another agent works on this site's shared directory."""


class LockLost(AgentError):
    """Another agent has taken over: this one must end."""


class Unusable(AgentError):
    """The shared directory or the journal can't be read or written."""


class ForeignHub(AgentError):
    """The site has bound itself to another hub."""
