"""One new entry at the target, followed from look to look: what it is, whether it is ours, whether it is done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from trigger.errors import TriggerError
from trigger.post import looks
from trigger.post.facts import Complete, DumpFacts
from trigger.post.first_look import FirstLook
from trigger.post.landing import (
    STALLED_SECONDS,
    Baseline,
    Candidate,
    Entry,
    Landing,
    Listing,
    State,
    folder_host,
    judge,
)
from trigger.post.target import Store
from trigger.post.verify import Expectation, Identity, Verdict, verify

# A client of NFS may see an old size for up to acregmax (60 s, nfs(5)) after the writer has renamed the file.
SETTLE_SECONDS = 60.0
_LOOK_SECONDS = 60.0
_PROOF_SECONDS = 300.0  # a bitmap of 64 MB over a slow line
_IDENTITY_BYTES = 64 * 1024
_OWN_PREFIXES = ("", "127.0.0.1", "localhost", "::1")  # a local disk: no prefix, or RHEL's 127.0.0.1

T = TypeVar("T")


class Call(Protocol):
    """How a read is done: on the open store, in a thread, within so many seconds."""

    def __call__(self, function: Callable[[Store], T], seconds: float) -> T:
        """Return what `function` returns; raises what it raises, or Unreachable when it takes too long."""
        ...


@dataclass(frozen=True, slots=True)
class TargetState:
    """What is known of the target at one moment.

    `path` and `dmesg` are absolute paths in the store; `bytes` is the dump's size so far and `rate` its
    growth in bytes per second. `reason` is a clause for people, harmless to print; paths are the target's own
    and may not be. `facts` and `verdict` are there once the dump was read, `look` once the kernel log beside
    it was. `others` tells of dumps there that are not ours. `final` says that watching longer would change
    nothing, `unproved` that the proof of a landed dump comes next, and `ours` that the dump's header, or the
    name of its folder, is this host's: on a shared target only that counts. `searched` says that the target was
    listed after the host was back: what is missing then has not come.
    """

    state: State
    path: str = ""
    dmesg: str = ""
    bytes: int = 0
    rate: float = 0.0
    reason: str = ""
    distribution: str = ""
    facts: DumpFacts | None = None
    verdict: Verdict | None = None
    look: FirstLook | None = None
    others: tuple[str, ...] = ()
    final: bool = False
    unproved: bool = False
    ours: bool = False
    searched: bool = False


@dataclass
class Following:
    """What is remembered of one entry between looks. Times are monotonic seconds."""

    baseline: Baseline
    expectation: Expectation
    fire_time: float
    changed: float
    files: Listing = field(default_factory=dict)
    readme: str = ""
    bytes: int = 0
    rate: float = 0.0
    landed: bool = False
    identify_at: int = _IDENTITY_BYTES  # how large the dump must be for its headers to be read (again)
    facts: DumpFacts | None = None
    proved: Listing | None = None  # the listing that `facts` were proved on
    look: FirstLook | None = None
    looked: Entry | None = None
    another: str = ""  # why it is not ours

    def update(self, candidate: Candidate, now: float, call: Call, *, host_back: bool) -> TargetState:
        """Take one look into account and return the state; sets `another` when the dump is not ours.

        Raises what `call` raises: OSError, DriverError.
        """
        elapsed = now - self.changed
        if (candidate.files, candidate.readme) != (self.files, self.readme):
            self.files, self.readme, self.changed = candidate.files, candidate.readme, now
        unchanged = now - self.changed
        landing = judge(candidate, unchanged=unchanged, host_back=host_back)
        self._measure(landing, elapsed, unchanged)
        if landing.state is State.LANDED and unchanged < landing.stable:
            return self._state(landing, State.WRITING, "it has no temporary name, so its size must stand still")
        fresh = landing.state is State.LANDED and not self.landed
        if fresh:
            self.landed = True
            self._identify(landing, call)
        else:
            self._read(landing, call)
        verdict = self._verdict()
        if verdict and self._is_another(landing, verdict):
            self.another = f"{candidate.name}: {verdict.reason}"
        if fresh:  # shown at once: the proof, which may take a minute over a slow line, comes next
            return self._state(landing, State.LANDED, "it has its final name", unproved=True)
        if landing.state is State.LANDED:
            return self._judge_landed(landing, unchanged, settled=host_back or unchanged >= SETTLE_SECONDS)
        if landing.final and self.facts is not None and self.facts.complete is Complete.YES:
            # Whatever kept the saver from its last step: all pages are there, and that is what counts.
            return self._judge_landed(landing, unchanged, settled=True, but=f"{landing.cause}, but ")
        final = landing.final and self._surely_ours(candidate.name, verdict)
        return self._state(landing, landing.state, landing.cause, final=final)

    def _measure(self, landing: Landing, elapsed: float, unchanged: float) -> None:
        """Keep size and rate; the rate is of the last growth that was seen."""
        if landing.bytes > self.bytes and self.bytes and elapsed > 0:
            self.rate = (landing.bytes - self.bytes) / elapsed
        elif unchanged > 10:
            self.rate = 0.0
        self.bytes = landing.bytes

    def _read(self, landing: Landing, call: Call) -> None:
        """Read a growing dump's headers once, a finished dump whenever it changed, and the log beside it."""
        paths = [f"{self.baseline.path}/{core}" for core in landing.cores]
        if paths and (landing.state is State.LANDED or landing.final):
            if self.proved != self.files:
                files = self.files
                self.facts = call(lambda store: looks.facts(store, paths, prove=True), _PROOF_SECONDS)
                self.proved = files
        elif paths and landing.bytes >= self.identify_at:
            self._identify(landing, call)
        with contextlib.suppress(OSError, TriggerError):  # the dump counts, its log is a comfort
            self._read_log(landing, call)

    def _identify(self, landing: Landing, call: Call) -> None:
        """Read the headers only: whose dump is it?"""
        path = f"{self.baseline.path}/{landing.cores[0]}"
        self.facts = call(lambda store: looks.facts(store, [path], prove=False), _LOOK_SECONDS)
        self.identify_at = 2**63 if self.facts.nodename else landing.bytes * 16

    def _read_log(self, landing: Landing, call: Call) -> None:
        """Read the log beside the dump when it has changed, or, without one, out of a whole dump, once."""
        facts, log = self.facts, self.files.get(landing.dmesg.rpartition("/")[2])
        if log is not None and log != self.looked:
            path = f"{self.baseline.path}/{landing.dmesg}"
            self.look = call(lambda store: looks.dmesg(store, path), _LOOK_SECONDS)
            self.looked = log
        elif not landing.dmesg and self.looked is None and facts and facts.complete is Complete.YES:
            self.looked = Entry("")
            core = f"{self.baseline.path}/{landing.cores[0]}"
            self.look = call(lambda store: looks.dmesg_in(store, core, facts), _LOOK_SECONDS)

    def _verdict(self) -> Verdict | None:
        if self.facts is None:
            return None
        new = None if self.baseline.entries is None else True
        uptime = self.look.uptime if self.look is not None else None
        return verify(self.facts, self.expectation, self.fire_time, new=new, uptime=uptime)

    def _is_another(self, landing: Landing, verdict: Verdict) -> bool:
        """A growing dump's crash time is in its header already, but only a whole dump's is believed."""
        if verdict.identity is Identity.ANOTHER_HOST:
            return True
        return verdict.identity is Identity.OLDER_CRASH and landing.state is State.LANDED

    def _judge_landed(self, landing: Landing, unchanged: float, *, settled: bool, but: str = "") -> TargetState:
        """The dump was read: is it whole, and ours? `but` says what is odd about it."""
        facts, verdict = self.facts, self._verdict()
        if facts is None or verdict is None:
            return self._state(landing, State.LANDED, "it has its final name")
        if facts.complete is Complete.NO:
            if landing.stable and unchanged < STALLED_SECONDS:
                return self._state(landing, State.WRITING, f"{facts.reason}, so more of it may be coming")
            if landing.stable:
                return self._state(landing, State.INCOMPLETE, f"{facts.reason}, and it grows no more")
            if facts.fault == "flag" or settled:
                return self._state(
                    landing, State.INCOMPLETE, facts.reason, final=self._surely_ours(landing.name, verdict)
                )
            return self._state(landing, State.LANDED, f"{facts.reason}; it is read again in case that is old")
        if facts.complete is Complete.UNKNOWN:
            return self._state(landing, State.LANDED, f"not proved complete: {facts.reason}", final=settled)
        if verdict.identity is Identity.OURS:
            return self._state(landing, State.VERIFIED, f"{but}{facts.reason}; {verdict.reason}", final=True)
        reason = f"{but}complete, but whose it is cannot be told: {verdict.reason}"
        return self._state(landing, State.LANDED, reason, final=settled)

    def _surely_ours(self, name: str, verdict: Verdict | None) -> bool:
        """On a shared target, a failure is ours only when the dump or the folder's name says so."""
        if verdict is not None and verdict.identity is Identity.OURS:
            return True
        prefix = folder_host(name)
        return prefix in _OWN_PREFIXES or prefix.lower() in (
            self.expectation.host.lower(),
            self.expectation.nodename.lower(),
        )

    def _state(
        self, landing: Landing, state: State, reason: str, *, final: bool = False, unproved: bool = False
    ) -> TargetState:
        path = self.baseline.path
        return TargetState(
            state,
            path=f"{path}/{landing.cores[0]}" if landing.cores else "",
            dmesg=f"{path}/{landing.dmesg}" if landing.dmesg else "",
            bytes=landing.bytes,
            rate=self.rate if state is State.WRITING else 0.0,
            reason=reason,
            distribution=landing.distribution,
            facts=self.facts,
            verdict=self._verdict(),
            look=self.look,
            final=final,
            unproved=unproved,
            ours=self._surely_ours(landing.name, self._verdict()),
        )
