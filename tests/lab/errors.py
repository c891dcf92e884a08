"""The one way in which the lab fails."""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot do what it was asked; the text says what to do about it."""
