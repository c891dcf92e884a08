"""What it all means: pure, from the outcome of the shot and what was seen since, to an exit code and words.

Every end is one paragraph for somebody who is tired: what was sent and answered, what was seen and what was not, the
likeliest cause; beside it whether a power cycle is safe and why, and the next command. Proof is a dump that was read,
or the host's own boot over authenticated SSH; a console and network packets only shorten how long proof is waited for.
"""

from __future__ import annotations

from typing import NamedTuple

from trigger.events import Finished

# A host that still runs the kernel it ran at the fire, this long after it, did not crash: a panic takes no time.
SAME_BOOT_PROOF_S = 20.0
# The same when its console said before that the shot has arrived and was ignored: nothing is under way any more.
IGNORED_PROOF_S = 3.0
# A dump is complete before its host boots again; this long after, a target without one will not get one.
NO_DUMP_GRACE_S = 60.0
# The same when its console says why there is none; the host's own disk is read after it came back, others in turns.
NO_DUMP_SAID_S, NO_DUMP_SAID_ELSEWHERE_S = 2.0, 15.0

NO_EFFECT = ("ignored", "denied")  # the phases of a console that says that the shot did nothing
_DUMPING = ("crash-kernel", "saving")


class Seen(NamedTuple):
    """What was seen since the shot.

    `outcome` is accepted or unknown. `dump` is the state of the target (trigger/post/landing.py), `dump_path` what
    was found there, `dump_ours` that it is proved to be of this host and crash, `dump_final` that it will not change.
    `boot` is "" (nothing authenticated seen), same, new, or crash-kernel. Ages are in seconds; `same_boot_s` is that of
    the shot when the same boot was last seen. `shot` is what was sent, in words. `phase` is as in
    trigger/watch/phases.py; `cause` is why its witnesses say that there will be no dump; `percent` makedumpfile's.
    `console` is open, lost, unavailable or none, and `last` the last thing that was seen, in words of ours.
    `own_disk`: the target is the host's own disk. `record` is why the last preflight expected no dump. `searched`:
    every target was listed since the host was back. `told_s`: the same boot was last seen so long after the console
    said that the shot did nothing. `controller` is what the controller's log or power says of the crash, in a clause.
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
    shot: str = "NMI"
    phase: str = "fired"
    cause: str = ""
    percent: float | None = None
    console: str = "none"
    last: str = ""
    own_disk: bool = False
    record: tuple[str, ...] = ()
    searched: bool = False
    told_s: float = 0.0
    controller: str = ""


def decide(host: str, seen: Seen) -> Finished | None:
    """Return the end of the run, or None while there is more to wait for."""
    for rule in (_verified, _answered, _reached, _no_crash, _no_dump, _unverifiable, _detached, _timed_out):
        finished = rule(host, seen)
        if finished is not None:
            return finished
    return None


def safety(seen: Seen) -> tuple[str, str]:
    """Return whether a power cycle is safe now (yes, no, unknown), and why."""
    if seen.dump == "verified" and seen.boot != "same":
        return "yes", "the dump is complete at its target"
    if seen.dump == "writing":
        return "no", "a dump is being written"
    if seen.boot == "new":
        return "yes", "the host has booted anew"
    if seen.boot == "crash-kernel":
        return "no", "its crash kernel is running"
    if seen.phase in _DUMPING:
        return "no", f"{seen.last or 'its crash kernel was seen'}, and nothing proves that it has stopped"
    if seen.phase == "failed":
        return "unknown", "only the console says that no dump will come, and that is no proof"
    return "unknown", "nothing proves that no dump is being written"


def _verified(host: str, seen: Seen) -> Finished | None:
    # A host that still runs the boot of before the shot wrote none since: the next look at it tells.
    if seen.dump != "verified" or seen.boot == "same":
        return None
    back = "The host is back." if seen.boot == "new" else "The host was not seen to be back yet."
    return Finished(
        exit_code=0,
        sent="yes",
        text=f"A complete dump of {host} has landed: {seen.dump_path}. {_sent(host, seen)}. {back}",
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
    return Finished(
        exit_code=0 if accepted else 7,
        sent="yes" if accepted else "maybe",
        text=f"{_sent(host, seen)}; nothing else was waited for. An answer proves nothing: the dump does. Do not"
        f" power-cycle {host} before there is one.",
        safe_to_power_cycle="no" if accepted else "unknown",
        safe_reason="a dump may be being written",
        next=f"trigger wait {host}",
    )


def _reached(host: str, seen: Seen) -> Finished | None:
    """`--until crashed` and `--until landed`."""
    crashed = seen.boot in ("new", "crash-kernel") or (
        seen.dump_ours and seen.boot != "same" and seen.dump in ("writing", "landed")
    )
    if seen.until == "crashed" and crashed:
        booted = {"new": "it runs a new boot", "crash-kernel": "it runs its crash kernel"}
        text, safe = f"{host} has crashed: {booted.get(seen.boot, 'a dump appeared at its target')}.", "no"
    elif seen.until == "landed" and seen.dump == "landed" and seen.boot != "same":
        text = f"A dump of {host} has landed: {seen.dump_path}; whether it is of this crash was not asked."
        safe = "unknown"
    else:
        return None
    return Finished(
        exit_code=0,
        sent="yes",
        text=f"{text} {_sent(host, seen)}. Nothing says yet that its dump is complete: do not power-cycle {host}.",
        dump=seen.dump_path,
        safe_to_power_cycle=safe,
        safe_reason="the dump is not proved to be complete",
        next=f"trigger wait {host}",
    )


def _no_crash(host: str, seen: Seen) -> Finished | None:
    told = seen.phase in NO_EFFECT and min(seen.same_boot_s, seen.told_s) >= IGNORED_PROOF_S
    if seen.boot != "same" or (seen.same_boot_s < SAME_BOOT_PROOF_S and not told):
        return None
    return Finished(
        8,
        "maybe" if seen.outcome == "unknown" else "yes",
        f"{_sent(host, seen)}, and {seen.same_boot_s:.0f} s later the host still runs the kernel that it ran before:"
        f" the shot had no effect. {_why_no_crash(seen)}{_recorded(seen)}",
        "",
        "unknown" if _crash_seen(seen) else "yes",
        "another witness than the host says that it crashed"
        if _crash_seen(seen)
        else "no crash, so no dump is being written",
        f"trigger preflight {host}",
        True,
    )


def _crash_seen(seen: Seen) -> bool:
    return seen.phase not in ("fired", *NO_EFFECT)


def _why_no_crash(seen: Seen) -> str:
    if _crash_seen(seen):
        return (
            f"But another witness says otherwise (last: {seen.last or 'a crash'}): either that console or controller is"
            " of another machine, which has crashed, or this SSH is. Find out which before another shot."
        )
    if seen.phase == "denied":
        return "Its console says why: this SysRq operation is disabled (kernel.sysrq)."
    if seen.phase == "ignored":
        return (
            "Its console says why: the kernel ignored the NMI ('Dazed and confused'), because kernel.unknown_nmi_panic,"
            " or the setting for this NMI's reason, is 0."
        )
    if "SysRq" in seen.shot:
        return "The likeliest cause: the BREAK did not reach the kernel, or kernel.sysrq forbids c."
    return (
        "The likeliest causes: kernel.unknown_nmi_panic is 0, so that the kernel ignores NMIs (its log then says 'Dazed"
        " and confused'), or a controller that says yes and does nothing (its log then says nothing)."
    )


def _no_dump(host: str, seen: Seen) -> Finished | None:
    if seen.boot != "new":
        return None
    grace = NO_DUMP_GRACE_S
    if seen.cause:
        grace = NO_DUMP_SAID_S if seen.own_disk else NO_DUMP_SAID_ELSEWHERE_S
    if seen.dump in ("incomplete", "failed") and seen.dump_final:
        what = f"the dump at {seen.dump_path or 'its target'} is not complete ({seen.dump_text or seen.dump})"
    elif seen.dump == "waiting" and seen.searched and seen.since_back_s >= grace:
        what = f"no new dump is at its target {seen.since_back_s:.0f} s after it came back"
    else:
        return None
    return Finished(
        9,
        "yes",
        f"{_sent(host, seen)}. The host has booted anew since, and {what}. No complete dump will come."
        f" {_why_no_dump(seen)}",
        seen.dump_path,
        "yes",
        "the host runs again and writes no dump",
        f"trigger preflight {host}",
        True,
    )


def _why_no_dump(seen: Seen) -> str:
    if seen.cause:
        return f"By its console the cause is: {seen.cause}.{_controller(seen)}{_recorded(seen)}"
    if seen.record:
        return f"The last preflight expected as much: {'; '.join(seen.record)}.{_controller(seen)}"
    if seen.console == "open":
        return f"Its console did not say why.{_controller(seen)}"
    if seen.controller:
        return f"Nobody heard its console.{_controller(seen)}"
    return "Nobody heard its console, so the cause is not known; a stalled or full target and a watchdog are common."


def _controller(seen: Seen) -> str:
    return f" By its controller: {seen.controller}." if seen.controller else ""


def _recorded(seen: Seen) -> str:
    return f" The last preflight said: {'; '.join(seen.record)}." if seen.record else ""


def _unverifiable(host: str, seen: Seen) -> Finished | None:
    """A dump that has landed while its host is back will not say more about itself by waiting."""
    if seen.dump != "landed" or seen.boot != "new" or seen.since_back_s < NO_DUMP_GRACE_S:
        return None
    why = f"The dump that landed cannot be proved to be a whole one of this crash: {seen.dump_text}."
    return _pending(host, seen, why)._replace(next=f"trigger inspect {seen.dump_path}")


def _detached(host: str, seen: Seen) -> Finished | None:
    if not seen.detached:
        return None
    return _pending(host, seen, f"Watching {host} was stopped; the shot cannot be taken back.")


def _timed_out(host: str, seen: Seen) -> Finished | None:
    if not seen.timed_out:
        return None
    nothing_seen = seen.dump in ("waiting", "unreadable", "timed out") and not seen.boot and seen.phase == "fired"
    if seen.outcome == "unknown" and nothing_seen:
        return Finished(
            7,
            "maybe",
            f"{_sent(host, seen)}, and nothing was seen until the deadline: neither a dump nor a new boot"
            f"{_heard(seen)}.{_controller(seen)} A dump may still be being written. Do not power-cycle {host} before it"
            " is known.",
            "",
            "unknown",
            "a dump may be being written without anybody seeing it",
            f"trigger wait {host}",
        )
    return _pending(host, seen, f"The deadline has passed for {host}.")


def _pending(host: str, seen: Seen, why: str) -> Finished:
    safe, reason = safety(seen)
    dump = "the dump that is being written" if safe == "no" else "a dump that may be being written unseen"
    unsafe = "" if safe == "yes" else f" Do not power-cycle {host}: that would destroy {dump}."
    if seen.phase == "failed" and seen.boot != "new" and seen.dump != "writing":
        unsafe = f" If you believe the console, nothing is lost by a power cycle of {host}; nothing proves it."
    witnesses = f"{_dump_words(seen)}{_boot_words(seen)}{_console_words(seen)}{_controller(seen)}"
    return Finished(
        10,
        "yes" if seen.outcome == "accepted" else "maybe",
        f"{why} {_sent(host, seen)}. {witnesses}{unsafe}",
        seen.dump_path,
        safe,
        reason,
        f"trigger wait {host}",
    )


def _sent(host: str, seen: Seen) -> str:
    if seen.outcome == "accepted":
        return f"The {seen.shot} for {host} was accepted by its controller"
    if seen.phase == "denied":
        return f"The {seen.shot} for {host} was sent, and its console says that kernel.sysrq forbids it"
    return f"The {seen.shot} for {host} left, was not answered, and may have been delivered"


def _dump_words(seen: Seen) -> str:
    return {
        "writing": f"A dump is being written at {seen.dump_path}.",
        "landed": f"A dump has landed at {seen.dump_path} and is not verified.",
        "incomplete": f"What is at {seen.dump_path} is not complete ({seen.dump_text}).",
        "unreadable": f"The target cannot be read from here ({seen.dump_text}).",
    }.get(seen.dump, "No dump has been seen yet.")


def _boot_words(seen: Seen) -> str:
    return {
        "same": " The host still runs the boot of before.",
        "new": " The host has booted anew.",
        "crash-kernel": " Its crash kernel answers.",
    }.get(seen.boot, " The host itself has not answered since.")


def _console_words(seen: Seen) -> str:
    if seen.phase == "failed" and seen.cause:
        return f" Its console says that no dump will come: {seen.cause}.{_recorded(seen)}"
    if seen.last:
        more = seen.percent is not None and "%" not in seen.last
        percent = f" ({seen.percent:.0f} % of the dump)" if more else ""
        return f" Last seen: {seen.last}{percent}."
    return " Its console was open and said nothing that is known." if seen.console == "open" else ""


def _heard(seen: Seen) -> str:
    return ", and its open console said nothing" if seen.console == "open" else ""
