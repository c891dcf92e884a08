"""What policies want done around a fire: count it over the fleet before, keep auto-repair away until its end."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator, Sequence

from trigger.errors import GuardRefused
from trigger.policy.rules import Inhibit, Limit, Policy
from trigger.state import StateFolder
from trigger.text import harmless

FIRES = "fires.jsonl"
HOUR_S = 3600.0
_TAIL_BYTES = 1 << 20
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Hold:
    """What the policies hold during one run. `begin` and `end` may be called more than once; each acts once."""

    def __init__(self, policies: Sequence[Policy], state: StateFolder, host: str, run: str, seconds: float) -> None:
        """`seconds` is how long the fire may stay open: what is paused should resume by itself after it."""
        self._policies, self._state = policies, state
        self._host, self._run, self._seconds = host, run, seconds
        self._begun: list[Inhibit] | None = None
        self.over = False  # the fire has come to an end

    def begin(self, now: float) -> tuple[str, ...]:
        """Count the fire and pause what is to be paused; return warnings.

        Raises GuardRefused (rule `policy-rate`) when there were too many fires; then nothing was paused.
        """
        if self._begun is not None:
            return ()
        warnings = self._reserve(now)
        self._begun = []
        for rule in (policy.inhibit for policy in self._policies):
            if rule is not None:
                problem = self._say(rule, "begin", str(round(self._seconds)))
                warnings += [f"inhibit ({rule.where}): {problem}. Nothing keeps others away."] if problem else []
                self._begun.append(rule)
        return tuple(warnings)

    def end(self) -> tuple[str, ...]:
        """Resume what `begin` paused; return warnings."""
        begun, self._begun = self._begun or [], []
        found = ((rule, self._say(rule, "end")) for rule in begun)
        return tuple(
            f"inhibit ({rule.where}): {problem}. It may still be paused." for rule, problem in found if problem
        )

    def still_paused(self) -> tuple[str, ...]:
        """Return a sentence where something stays paused: a silent host that is power-cycled loses its dump."""
        wheres = ", ".join(rule.where for rule in self._begun or ())
        if not wheres:
            return ()
        return (f"what the policy pauses ({wheres}) stays paused until `trigger wait {self._host}` sees the end",)

    def take_over(self) -> None:
        """Hold what an earlier process of the same run has begun (`trigger wait`)."""
        self._begun = [policy.inhibit for policy in self._policies if policy.inhibit is not None]

    def _reserve(self, now: float) -> list[str]:
        limits = [policy.per_hour for policy in self._policies if policy.per_hour is not None]
        if not limits:
            return []
        reserve(self._state, limits, self._host, self._run, now)
        if self._state.private:
            return [f"fires_per_hour ({limits[0].where}) counts only your own fires: {self._state.path} is yours alone"]
        return []

    def _say(self, rule: Inhibit, word: str, *more: str) -> str:
        """Run the command with `word`, host and run; return what went wrong as a clause, "" for nothing."""
        try:
            done = subprocess.run(
                [*rule.command, word, self._host, self._run, *more],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                env={"PATH": _PATH, "LANG": "C.UTF-8"}, cwd="/", timeout=rule.seconds, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"{harmless(rule.command[0])} {word} did not end within {rule.seconds:.0f} s"
        except (OSError, ValueError) as error:
            return f"{harmless(rule.command[0])} cannot be run: {getattr(error, 'strerror', None) or error}"
        if not done.returncode:
            return ""
        first = harmless(done.stderr.decode(errors="replace").strip().split("\n")[0], limit=200)
        return f"{harmless(rule.command[0])} {word} ended with {done.returncode}" + (f": {first}" if first else "")


def reserve(state: StateFolder, limits: Sequence[Limit], host: str, run: str, now: float) -> None:
    """Count a fire of `run` at `host` as one of this hour, on disk, under one lock for the whole fleet.

    `now` is in seconds since the epoch; a fire counts whatever came of it. Raises GuardRefused: rule `policy-rate`
    when there were too many, rule `state` when it cannot be counted.
    """
    try:
        with state.root() as folder:
            file = state.open_file(folder, FIRES, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)  # held for microseconds: no fire waits here
            recent = [fire for fire in _fires(file) if fire[0] > now - HOUR_S]
            for limit in limits:
                if len(recent) >= limit.fires:
                    raise _too_many(limit, recent, now, str(state.path / FIRES))
            line = json.dumps({"time": round(now, 3), "host": host, "run": run}).encode()
            os.write(file, line + b"\n")
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        raise GuardRefused(
            f"{state.path / FIRES} cannot be written ({error.strerror}), so this fire cannot be counted"
            f" ({limits[0].where}). Nothing was sent.",
            rule="state",
            next_step=f"Free or mend the disk below {state.path}, then run the same command again.",
        ) from None


def _fires(file: int) -> Iterator[tuple[float, str]]:
    """Yield time and host of the fires counted so far; a line that is cut or damaged counts as one of now."""
    size = os.fstat(file).st_size
    data = os.pread(file, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
    for text in data.split(b"\n")[1 if size > _TAIL_BYTES else 0 :]:
        if not text:
            continue
        try:
            plain = json.loads(text)
            yield float(plain["time"]), str(plain["host"])
        except (ValueError, KeyError, TypeError, RecursionError):
            yield float("inf"), "?"


def _too_many(limit: Limit, recent: Sequence[tuple[float, str]], now: float, file: str) -> GuardRefused:
    import time

    hosts = ", ".join(harmless(host) for _, host in recent[-5:])
    free = sorted(moment for moment, _ in recent)[-limit.fires] + HOUR_S
    when = (
        time.strftime("%H:%M:%S", time.localtime(free))
        if free < now + 2 * HOUR_S
        else f"{file} was mended: a line of it is damaged"
    )
    return GuardRefused(
        f"The policy allows {limit.fires} fires an hour over all hosts ({limit.where}), and there were"
        f" {len(recent)}: {hosts}. Nothing was sent.",
        rule="policy-rate",
        next_step=f"Fire again after {when}, or have whoever keeps the policy raise the limit.",
    )
