"""`python -m trigger`."""

from trigger.cli import entry

entry()
