"""Logging for people who debug: standard error, off by default, and never a secret in it."""

from __future__ import annotations

import logging
import sys


def set_up_logging(verbose: int) -> None:
    """Send log records to standard error: none by default, ours with -v, the libraries' too with -vv.

    Every record passes the filter of live secrets (trigger/secrets.py), whichever library wrote it.
    """
    if not verbose:
        logging.getLogger().addHandler(logging.NullHandler())
        logging.lastResort = None  # a library's warning is no message for a person on call
        return
    from trigger.secrets import redacting_filter

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    handler.addFilter(redacting_filter())
    logging.basicConfig(level=logging.DEBUG if verbose > 1 else logging.INFO, handlers=[handler], force=True)
