"""The controller of the standalone engine, killed between two steps: controller_with_hook.py HOME TRIED_FILE (see KillOnce)."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from matrix_operator.engines import standalone
from matrix_store.home import Home
from tests.e2e.kill_once import KillOnce

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    asyncio.run(standalone.run(Home(Path(sys.argv[1])), KillOnce(Path(sys.argv[2]))))
