"""`python -m trigger`."""

from trigger.entry import entry

entry()
