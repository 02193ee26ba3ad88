"""The controller of a state directory, as `matrix up` starts it: the standalone engine, with the site's agent beside it where this is a
login node of a Slurm site. `python -m matrix_cli.controller_process --home DIR`"""

from __future__ import annotations

import sys

from matrix_cli.site_here import SiteHere
from matrix_operator.engines import standalone
from matrix_store.home import Home


async def run(home: Home) -> None:
    """Raises StoreError."""
    async with SiteHere() as sites:
        await standalone.run(home, sites=sites)


if __name__ == "__main__":
    sys.exit(standalone.main("python -m matrix_cli.controller_process", run))
