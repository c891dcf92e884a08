"""What it means when a BMC refuses a login, by the stage that it does so at."""

from __future__ import annotations

import enum

from pyipmi.errors import CompletionCodeError, DecodingError, MessageStatusCodeError
from pyipmi.interfaces.rmcpplus import (
    PAYLOAD_TYPE_OPEN_SESSION_REQUEST,
    PAYLOAD_TYPE_RAKP_1,
    PAYLOAD_TYPE_RAKP_3,
)

OPEN_SESSION, RAKP_1, RAKP_3 = "Open Session", "RAKP message 1", "RAKP message 3"
SET_PRIVILEGE = "Set Session Privilege Level"
STAGES = {
    PAYLOAD_TYPE_OPEN_SESSION_REQUEST: OPEN_SESSION,
    PAYLOAD_TYPE_RAKP_1: RAKP_1,
    PAYLOAD_TYPE_RAKP_3: RAKP_3,
}


class Step(enum.Enum):
    """What one attempt to log in came to."""

    IN = "logged in"
    SILENT = "no answer"
    ANEW = "the handshake got out of step"
    BUSY = "no free session"
    NO_WAY = "could not be sent"
    SUITE = "cipher suite refused"
    PRIVILEGE = "privilege refused"
    NAME = "user name rejected"
    PASSWORD = "password rejected"  # noqa: S105 - a sentence, not a secret
    CONFUSED = "password rejected, or repeated messages"
    KEY = "another key"
    STRANGE = "refused with a code that has no cure"


# RMCP+ and RAKP status codes, IPMI 2.0 table 13-15. 0x12 (illegal parameter) is what some firmware says to an
# algorithm that it does not know.
STATUS = {
    0x01: Step.BUSY,
    0x02: Step.ANEW,
    0x04: Step.SUITE,
    0x05: Step.SUITE,
    0x06: Step.SUITE,
    0x07: Step.SUITE,
    0x08: Step.ANEW,
    0x09: Step.PRIVILEGE,
    0x0A: Step.PRIVILEGE,
    0x0B: Step.BUSY,
    0x0C: Step.NAME,
    0x0D: Step.NAME,
    0x0F: Step.PASSWORD,
    0x10: Step.SUITE,
    0x11: Step.SUITE,
    0x12: Step.SUITE,
}
# Completion codes of Set Session Privilege Level, IPMI 2.0 section 22.18, and the general ones (table 5-2).
PRIVILEGE_CODES = {0x80, 0x81, 0xD4}
BUSY_CODES = {0xC0, 0xC3, 0xD2}


def meaning(stage: str, error: Exception) -> tuple[Step, str]:
    """Return what python-ipmi's `error` at `stage` of a login means, and a detail for people."""
    if isinstance(error, MessageStatusCodeError):
        return STATUS.get(error.msc, Step.STRANGE), f"status {error.msc:#04x}, {error.msc_desc}"
    if isinstance(error, CompletionCodeError):
        detail = f"completion code {error.cc:#04x}, {error.cc_desc}"
        if error.cc in PRIVILEGE_CODES:
            return Step.PRIVILEGE, detail
        return (Step.BUSY if error.cc in BUSY_CODES else Step.STRANGE), detail
    if isinstance(error, DecodingError):
        # Only two are left by now: other algorithms than asked for, or a reply too short to mean anything.
        return (Step.SUITE if stage == OPEN_SESSION else Step.ANEW), str(error)
    # AuthenticationError: a code of RAKP message 2 (made with the password) or 4 (with the BMC's key) does not fit.
    return (Step.PASSWORD if stage == RAKP_1 else Step.KEY), str(error)
