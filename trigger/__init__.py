"""Make a hung server write its crash dump through its BMC, and prove that the dump is complete."""

__version__ = "0.1.0"
