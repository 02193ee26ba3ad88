"""From options to an exit code: the process around the engine on Kubernetes."""

from __future__ import annotations

import logging
import sys
import time

from matrix_operator.engines import kubernetes
from matrix_operator.engines.kubernetes import CarrierFactory, Options
from matrix_operator.engines.process import run
from matrix_operator.errors import OperatorError
from matrix_operator.reconcile.steps import StepHook, no_hook
from matrix_store.errors import StoreError

log = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_UNAVAILABLE = 5
"""As the command line has it (matrix_cli.exits)."""
REPEATED_SECONDS = 30.0
SAME_BEGINNING = len("Request attempt")
"""Characters of a line of kopf's that say of what sort it is; then comes what differs."""


def main(options: Options, carrier: CarrierFactory, hook: StepHook = no_hook) -> int:
    """Runs until it is told to stop. The last line of the log says why it ended otherwise."""
    configure_logging()
    try:
        run(kubernetes.run(options, carrier, hook))
    except StoreError as error:
        log.error("%s", error)
        return EXIT_UNAVAILABLE
    except OperatorError as error:
        log.error("%s", error)
        return EXIT_FAILED
    except OSError as error:
        log.error("a port for health or metrics can't be had: %s", error)
        return EXIT_FAILED
    return 0


def configure_logging() -> None:
    """One line for each thing that happened, on stderr."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr, force=True)
    for noisy in ("httpx2", "httpcore2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)  # warns that it hears no signals in its thread
    for handler in logging.getLogger().handlers:
        handler.addFilter(Seldom())


class Seldom(logging.Filter):
    """Of kopf's lines that say the same again and again only one now and then: it tells every try to reach a server that is away. And
    without traces: its lines say what went wrong, and a watch that ends is no bug (kopf_feed)."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("kopf"):
            return True
        record.exc_info = record.exc_text = None
        kind = record.getMessage()[:SAME_BEGINNING]
        now = time.monotonic()
        if now - self._last.get(kind, float("-inf")) < REPEATED_SECONDS:
            return False
        self._last[kind] = now
        return True
