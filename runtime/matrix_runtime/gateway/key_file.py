"""The issued API keys, read again when their file changes (matrix_proto.keys)."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from matrix_proto.keys import KEYS_FILE, ApiKey, ApiKeys


class KeyFile:
    """The keys in a secrets directory."""

    def __init__(self, secrets: Path) -> None:
        self._path = secrets / KEYS_FILE
        self._signature: tuple[int, int, int] | None = None
        self._keys: tuple[ApiKey, ...] = ()
        self.problem = ""
        """Why the file is not understood, in words; meanwhile the keys from before count."""

    def read(self) -> tuple[ApiKey, ...]:
        """The keys; none while there is no file."""
        try:
            status = self._path.stat()
            signature = (status.st_mtime_ns, status.st_size, status.st_ino)
            if signature != self._signature:
                self._keys = ApiKeys.model_validate_json(self._path.read_bytes()).keys
                self._signature, self.problem = signature, ""
        except FileNotFoundError:
            self._keys, self._signature, self.problem = (), None, ""
        except (OSError, ValidationError) as error:
            self.problem = f"{self._path} is not understood, so the keys stay as they were: {str(error).splitlines()[0]}"
        return self._keys
