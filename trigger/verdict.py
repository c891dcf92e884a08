"""What it all means: pure, from the outcome of the shot and what was seen since, to an exit code and words."""

from __future__ import annotations

from typing import NamedTuple

from trigger.events import Finished

# A host that still runs the kernel it ran at the fire, this long after it, did not crash: a panic takes no time.
SAME_BOOT_PROOF_S = 20.0
# A dump is complete before its host boots again; this long after, a target without one will not get one.
NO_DUMP_GRACE_S = 60.0


class Seen(NamedTuple):
    """What was seen since the shot.

    `outcome` is accepted or unknown. `dump` is the state of the target (trigger/post/landing.py), `dump_path` what
    was found there, `dump_ours` that it is proved to be of this host and crash, `dump_final` that it will not change.
    `boot` is "" (nothing authenticated seen), same, or new. Ages are in seconds; `same_boot_s` is that of the shot
    when the same boot was last seen.
    """

    outcome: str
    dump: str = "waiting"
    dump_path: str = ""
    dump_text: str = ""
    dump_ours: bool = False
    dump_final: bool = False
    boot: str = ""
    since_fire_s: float = 0.0
    same_boot_s: float = 0.0
    since_back_s: float = 0.0
    timed_out: bool = False
    detached: bool = False
    until: str = "verified"


def decide(host: str, seen: Seen) -> Finished | None:
    """Return the end of the run, or None while there is more to wait for."""
    for rule in (_verified, _answered, _reached, _no_crash, _no_dump, _unverifiable, _detached, _timed_out):
        finished = rule(host, seen)
        if finished is not None:
            return finished
    return None


def _verified(host: str, seen: Seen) -> Finished | None:
    if seen.dump != "verified":
        return None
    return Finished(
        exit_code=0,
        sent="yes",
        text=f"A complete dump of {host} has landed: {seen.dump_path}.",
        dump=seen.dump_path,
        safe_to_power_cycle="yes",
        safe_reason="the dump is complete at its target",
        next=f"trigger inspect {seen.dump_path}",
        ends_fire=True,
    )


def _answered(host: str, seen: Seen) -> Finished | None:
    """`--until accepted`: the controller's answer, or that there was none, is all that was asked for."""
    if seen.until != "accepted":
        return None
    accepted = seen.outcome == "accepted"
    what = "was accepted by its controller" if accepted else "was not answered, and may have been delivered"
    return Finished(
        exit_code=0 if accepted else 7,
        sent="yes" if accepted else "maybe",
        text=f"The NMI for {host} {what}; nothing else was waited for.",
        safe_to_power_cycle="no" if accepted else "unknown",
        safe_reason="a dump may be being written",
        next=f"trigger wait {host}",
    )


def _reached(host: str, seen: Seen) -> Finished | None:
    """`--until crashed` and `--until landed`."""
    crashed = seen.boot == "new" or (seen.dump_ours and seen.dump in ("writing", "landed"))
    if seen.until == "crashed" and crashed:
        evidence = "it runs a new boot" if seen.boot == "new" else "a dump appeared at its target"
        text, safe = f"{host} has crashed: {evidence}.", "no"
    elif seen.until == "landed" and seen.dump == "landed":
        text = f"A dump of {host} has landed: {seen.dump_path}; whether it is of this crash was not asked."
        safe = "unknown"
    else:
        return None
    return Finished(
        exit_code=0,
        sent="yes",
        text=text,
        dump=seen.dump_path,
        safe_to_power_cycle=safe,
        safe_reason="the dump is not proved to be complete",
        next=f"trigger wait {host}",
    )


def _no_crash(host: str, seen: Seen) -> Finished | None:
    if seen.boot != "same" or seen.same_boot_s < SAME_BOOT_PROOF_S:
        return None
    said = "accepted the NMI" if seen.outcome == "accepted" else "did not answer"
    return Finished(
        8,
        "maybe" if seen.outcome == "unknown" else "yes",
        f"The controller of {host} {said}, and {seen.same_boot_s:.0f} s later the host still runs the kernel that"
        " it ran before: the shot had no effect. The likeliest cause: kernel.unknown_nmi_panic is 0, so that the"
        " kernel ignores NMIs (its log then says 'Dazed and confused').",
        "",
        "yes",
        "no crash, so no dump is being written",
        f"trigger preflight {host}",
        True,
    )


def _no_dump(host: str, seen: Seen) -> Finished | None:
    if seen.boot != "new":
        return None
    if seen.dump in ("incomplete", "failed") and seen.dump_final:
        what = f"the dump at {seen.dump_path or 'its target'} is not complete ({seen.dump_text or seen.dump})"
    elif seen.dump == "waiting" and seen.since_back_s >= NO_DUMP_GRACE_S:
        what = f"no new dump is at its target {NO_DUMP_GRACE_S:.0f} s after it came back"
    else:
        return None
    return Finished(
        9,
        "yes",
        f"{host} has booted anew since the shot, and {what}. No complete dump will come.",
        seen.dump_path,
        "yes",
        "the host runs again and writes no dump",
        f"trigger preflight {host}",
        True,
    )


def _unverifiable(host: str, seen: Seen) -> Finished | None:
    """A dump that has landed while its host is back will not say more about itself by waiting."""
    if seen.dump != "landed" or seen.boot != "new" or seen.since_back_s < NO_DUMP_GRACE_S:
        return None
    return _pending(host, seen, f"the dump that landed cannot be proved to be of this crash: {seen.dump_text}.")


def _detached(host: str, seen: Seen) -> Finished | None:
    if not seen.detached:
        return None
    return _pending(host, seen, "watching was stopped.")


def _timed_out(host: str, seen: Seen) -> Finished | None:
    if not seen.timed_out:
        return None
    nothing_seen = seen.dump in ("waiting", "unreadable") and not seen.boot
    if seen.outcome == "unknown" and nothing_seen:
        return Finished(
            7,
            "maybe",
            f"The NMI left for {host}, was not answered, and nothing was seen until the deadline: neither a dump nor"
            " a new boot. It may have been delivered, and a dump may still be being written.",
            "",
            "unknown",
            "a dump may be being written without anybody seeing it",
            f"trigger wait {host}",
        )
    return _pending(host, seen, "the deadline has passed.")


def _pending(host: str, seen: Seen, why: str) -> Finished:
    what = {
        "writing": f"A dump is being written at {seen.dump_path}",
        "landed": f"A dump has landed at {seen.dump_path} and is not verified yet",
        "incomplete": f"What is at {seen.dump_path} is not complete ({seen.dump_text})",
        "unreadable": f"The target cannot be read from here ({seen.dump_text})",
    }.get(seen.dump, "No dump has been seen yet")
    sent = "yes" if seen.outcome == "accepted" else "maybe"
    unsafe = seen.boot != "new"
    warning = f" Do not power-cycle {host}: that would destroy a dump that is being written." if unsafe else ""
    return Finished(
        10,
        sent,
        f"{host}: {why} {what}.{warning}",
        seen.dump_path,
        "unknown" if unsafe else "yes",
        "nothing proves that no dump is being written" if unsafe else "the host has booted anew",
        f"trigger wait {host}",
    )
