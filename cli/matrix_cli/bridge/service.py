"""`matrix bridge install-service`: a unit of the user's own systemd."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

UNIT = "matrix-bridge.service"
_KEPT = ("PATH", "LD_LIBRARY_PATH", "SLURM_CONF")

_TEXT = """\
[Unit]
Description=Matrix bridge: Slurm jobs of this user for the clusters of a hub
Wants=network-online.target
After=network-online.target

[Service]
# Slurm's commands are found as in the shell that wrote this: systemd reads no profile.
{environment}
ExecStart={command}
Restart=always
RestartSec=10
# Jobs and what they wait for are not its children: ending it ends nothing else.
KillMode=process

[Install]
WantedBy=default.target
"""


def unit_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where systemd looks for a user's own units (systemd.unit(5))."""
    return Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user" / UNIT


def unit_text(options: Sequence[str], environ: Mapping[str, str] = os.environ) -> str:
    """`options` of `matrix bridge run`. The program is the one that writes this."""
    words = [str(Path(sys.executable).with_name("python")), "-m", "matrix_cli", "bridge", "run", *options]
    settings = [f"Environment={_quoted(f'{name}={environ[name]}')}" for name in _KEPT if name in environ]
    return _TEXT.format(command=" ".join(_quoted(word.replace("$", "$$")) for word in words), environment="\n".join(settings))


def _quoted(word: str) -> str:
    """As systemd reads it: `%` begins a specifier. (In a command line `$` begins a variable, too.)"""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if escaped != word or set(word) & set(" $") else word
