"""How the IPMI driver gets in: which cipher suite and privilege in which order, what is tried again, what is said.

All of it comes before the fire and sends nothing that acts, so it may try again until its deadline. The one
thing never tried again is a rejected account: that could lock it for everybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic, sleep

from pyipmi.interfaces.rmcpplus import MAX_PASSWORD_LENGTH, MAX_USER_NAME_LENGTH

from drivers.ipmi_refusal import OPEN_SESSION, RAKP_1, Step
from drivers.ipmi_session import IpmiSession
from trigger.driver import Answers
from trigger.errors import LoginFailed, Unreachable

# Seconds before the next attempt: until a session falls free, until whatever caused an ICMP error is over.
PAUSE = {Step.BUSY: 0.5, Step.NO_WAY: 0.3}


# What is said of a login that the BMC refused and that nothing can cure, and what a person can do.
REFUSALS = {
    Step.NAME: (
        "the controller rejects the user name {user!r} ({detail})",
        "check `user:` of this controller, and that the account is enabled for IPMI over LAN",
    ),
    Step.PASSWORD: (
        "the password of user {user!r} is wrong ({detail})",
        "check `password:` of this controller; it was tried once and is not tried again",
    ),
    Step.CONFUSED: (
        "the password of user {user!r} seems wrong ({detail}), unless it is the network that repeats messages",
        "check `password:` of this controller; it was tried twice and is not tried again",
    ),
    Step.KEY: (
        "the password is right, but the session key is not ({detail}): the controller seems to have a K_G key",
        "clear the controller's K_G (BMC key), or use another driver for it",
    ),
    Step.PRIVILEGE: (
        "user {user!r} is not allowed to log in as {levels} ({detail})",
        "give the account OPERATOR or ADMINISTRATOR privilege on the LAN channel",
    ),
    Step.SUITE: (
        "the controller accepts none of the cipher suites that were offered: {suites} ({detail})",
        "run preflight again, or set `cipher_suite:` on this controller to one that it enables (never 0)",
    ),
    Step.STRANGE: (
        "the controller refused the login at {stage} ({detail})",
        "look at the controller's IPMI-over-LAN settings",
    ),
}


def log_in(
    session: IpmiSession,
    user: str,
    secrets: Answers,
    suites: Sequence[int],
    privileges: Sequence[str],
    end: float,
) -> None:
    """Log `session` in with the first cipher suite and privilege that the BMC takes, before `end` (monotonic).

    With one suite, Get Channel Authentication Capabilities is skipped. Raises LoginFailed or Unreachable, and
    whatever `secrets` raises; no session is left open then.
    """
    _check_name(session.label, user)
    started, offers, levels, dead_ends = monotonic(), list(suites), list(privileges), 0
    told = (Step.SILENT, "", OPEN_SESSION)
    if len(offers) > 1:
        session.ask_capabilities(end)
    while True:
        step, detail = session.attempt(user, lambda: _password(session.label, secrets), offers[0], levels[0], end)
        if step is Step.IN:
            return
        session.leave()
        dead_ends = dead_ends + 1 if step is Step.NO_WAY else 0
        if step is not Step.SILENT or monotonic() < end or told[0] is Step.SILENT:
            told = (step, detail, session.stage)  # an attempt that the deadline cut short tells nothing new
        if not _another_offer(session, step, offers, levels) and step in REFUSALS:
            raise _refusal(session, user, step, detail, suites, privileges)
        if monotonic() >= end or dead_ends >= 2 * session.ways:
            raise _gave_up(session, *told, monotonic() - started)
        sleep(min(PAUSE.get(step, 0.0), max(0.0, end - monotonic())))


def _another_offer(session: IpmiSession, step: Step, offers: list[int], levels: list[str]) -> bool:
    """Change what the next attempt offers, by what this one came to; False if there is nothing else to offer."""
    if not session.understood:
        session.try_next_address()
    if step is Step.SUITE and len(offers) > 1:
        del offers[0]
    elif step is Step.PRIVILEGE and len(levels) > 1:
        del levels[0]
    elif step is Step.SILENT and session.stage == OPEN_SESSION and session.understood:
        # It answered before, but not to this: old firmware drops an offer that it does not know.
        offers.append(offers.pop(0))
    else:
        return False
    return True


def _check_name(label: str, user: str) -> None:
    if len(user.encode()) > MAX_USER_NAME_LENGTH:
        raise LoginFailed(
            f"{label}: the user name is longer than the {MAX_USER_NAME_LENGTH} bytes of IPMI; nothing was sent",
            next_step="check `user:` of this controller",
        )


def _password(label: str, secrets: Answers) -> str:
    password = secrets.password()
    if len(password.encode()) <= MAX_PASSWORD_LENGTH:
        return password
    del password  # so that no traceback shows it
    raise LoginFailed(
        f"{label}: the password is longer than the {MAX_PASSWORD_LENGTH} bytes that IPMI 2.0 allows; nothing was sent",
        next_step="give this account a shorter password on the controller, or use another driver for it",
    )


def _refusal(
    session: IpmiSession,
    user: str,
    step: Step,
    detail: str,
    suites: Sequence[int],
    privileges: Sequence[str],
) -> LoginFailed:
    problem, cure = REFUSALS[step]
    words = problem.format(
        user=user,
        detail=detail,
        stage=session.stage,
        levels=" or ".join(level.upper() for level in privileges),
        suites=" and ".join(str(suite) for suite in suites),
    )
    rejected = step in (Step.NAME, Step.PASSWORD, Step.CONFUSED)
    return LoginFailed(f"{session.label}: {words}; nothing was sent", rejected=rejected, next_step=cure)


def _gave_up(session: IpmiSession, step: Step, detail: str, stage: str, seconds: float) -> LoginFailed | Unreachable:
    """Return the sentence for a login that ran out of time, or that has no way to the controller."""
    label, spent = session.label, f"within {seconds:.1f} s"
    if step is Step.NO_WAY:
        return Unreachable(
            f"{label} cannot be reached: {detail}; nothing was sent",
            next_step="check the address and port, and that IPMI over LAN is enabled there",
        )
    if session.heard and not session.understood:
        return Unreachable(
            f"{label} answers, but not in RMCP+: that is not a BMC; nothing was sent",
            next_step="check the address and port",
        )
    if not session.understood:
        return Unreachable(
            f"{label} did not answer {spent}; nothing was sent",
            next_step="check the address, the management network, and that IPMI over LAN is enabled",
        )
    if step is Step.BUSY:
        return LoginFailed(
            f"{label} had no free session {spent} ({detail}); nothing was sent",
            next_step="close other IPMI sessions to this controller (ipmitool, SOL consoles, monitoring)",
        )
    if not session.speaks_rmcpplus and stage == OPEN_SESSION:
        return LoginFailed(
            f"{label} speaks IPMI 1.5 only and did not answer Open Session {spent}; nothing was sent",
            next_step="use another driver for this controller",
        )
    if stage == RAKP_1:
        return LoginFailed(
            f"{label} answered Open Session but not RAKP message 1 {spent}; nothing was sent. "
            "Many controllers are silent to a user name that they do not know",
            next_step="check `user:` of this controller, and that the account is enabled for IPMI over LAN",
        )
    return LoginFailed(
        f"{label} answered, but the login was not complete {spent} (last at {stage}); nothing was sent",
        next_step="the way to the controller loses packets or the controller is overloaded: try again",
    )
