"""`matrix bridge install-service`: a unit of the user's own systemd."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

UNIT = "matrix-bridge.service"

_TEXT = """\
[Unit]
Description=Matrix bridge: Slurm jobs of this user for the clusters of a hub
Wants=network-online.target
After=network-online.target

[Service]
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


def unit_text(options: Sequence[str]) -> str:
    """`options` of `matrix bridge run`. The program is the one that writes this."""
    words = [str(Path(sys.executable).with_name("python")), "-m", "matrix_cli", "bridge", "run", *options]
    return _TEXT.format(command=" ".join(map(_quoted, words)))


def _quoted(word: str) -> str:
    """As systemd reads a command line: `%` begins a specifier and `$` a variable."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or " " in word else word
