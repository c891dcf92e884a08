"""Incidents as a run leaves them: a journal, a recording, and the files beside it, in a state folder of the test."""

from __future__ import annotations

from pathlib import Path

from trigger.clock import FastClock
from trigger.console.recording import Recording
from trigger.events import DumpFound, Event, Finished, Fired, Firing, Guarded, Observed, Planned, Probed
from trigger.journal import Journal
from trigger.run_files import FIRST_LOOK, LOG_AFTER, LOG_BEFORE, PREFLIGHT, RunFiles
from trigger.state import StateFolder
from trigger.watch.console_text import Reader

HOST, RUN = "server42", "20261123T080001-1f2e3d"
START = 1_795_420_801.0
DUMP = "sftp://dumps.example.com/srv/crash/192.0.2.42-2026-11-23-08:00:31/vmcore"
HOSTILE = (
    "</pre></script><img src=https://192.0.2.1/x onerror=alert(1)><b onmouseover=alert(2)>\x1b[2J\u202eevil {{7*7}}"
)
# (seconds after the one before, what the console says)
CONSOLE = (
    (0.4, f"server42 login: {HOSTILE}\r\n"),
    (0.2, "[ 8123.441201] Uhhuh. NMI received for unknown reason 21 on CPU 0.\r\n"),
    (0.1, "[ 8123.441420] Kernel panic - not syncing: NMI: Not continuing\r\n"),
    (0.0, "[ 8123.441500] CPU: 0 PID: 4711 Comm: kworker/u8:3 Kdump: loaded Tainted: P           OE\r\n"),
    (0.0, "[ 8123.441700] Call Trace:\r\n[ 8123.441800]  panic+0x118/0x2ed\r\n"),
    (2.9, "[    0.000000] Linux version 5.14.0-503.11.1.el9_5.x86_64\r\n"),
    (0.1, "[    0.000000] Command line: root=/dev/mapper/rhel-root elfcorehdr=0x9e000000 reset_devices\r\n"),
    (6.0, "[    9.120000] kdump[561]: saving to sftp://root:s3cret@dumps.example.com/srv/crash\r\n"),
    (0.5, "[    9.620000] kdump[563]: saving vmcore\r\n"),
    (0.5, "\rCopying data                                      : [  1.0 %] /          eta: 62s"),
    (30.0, "\rCopying data                                      : [ 48.2 %] /          eta: 31s"),
    (31.0, "\rCopying data                                      : [100.0 %] |          eta: 0s\r\n"),
    (1.0, "[   72.120000] kdump[570]: saving vmcore complete\r\n"),
    (1.0, "[   73.100000] systemd-shutdown[1]: Rebooting.\r\n"),
)
_PHASE = {
    "panic": ("panicked", "strong"),
    "crash-kernel": ("crash-kernel", "strong"),
    "saving": ("saving", "strong"),
    "progress": ("saving", "weak"),
    "saved": ("saved", "strong"),
    "restart": ("rebooting", "weak"),
}
GOOD = Finished(
    0, "yes", f"A complete dump of {HOST} has landed: {DUMP}.", DUMP, "yes", "the dump is complete at its target",
    f"trigger inspect {DUMP}", True,
)  # fmt: skip
PENDING = Finished(
    10, "yes", f"{HOST}: the deadline has passed. No dump has been seen yet. Do not power-cycle {HOST}.", "", "unknown",
    "nothing proves that no dump is being written", f"trigger wait {HOST}",
)  # fmt: skip


class Incident:
    """One run in the making; time goes on only when it is told to."""

    def __init__(self, folder: Path, run: str = RUN) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self.state = StateFolder.choose(str(folder))
        self.run, self.clock = run, FastClock(START)
        self.files = RunFiles(self.state, HOST, run)
        self.journal = Journal(self.state, HOST, run, self.clock)

    def say(self, *events: Event, after_s: float = 0.0) -> None:
        self.clock.sleep(after_s)
        for event in events:
            self.journal.append(event)

    def fire(self) -> None:
        routes = ({"controller": "redfish", "driver": "redfish", "address": "server42-bmc.example.com"},)
        self.say(Planned("nmi", routes, 5400.0, "sftp://dumps.example.com/srv/crash", "ops (login anna)", "INC-1234"))
        self.say(Probed("redfish", "4c4c4544-0042-3510-8052-b4c04f4d3132", "CN77", "on"), after_s=1.2)
        self.say(Guarded(True, overridden=("alive",), reason="INC-1234"), after_s=0.1)
        request = "POST /redfish/v1/Systems/1/Actions/ComputerSystem.Reset {ResetType: Nmi}"
        self.say(Firing("redfish", "redfish", "server42-bmc.example.com", request, ("k",), START + 5400))
        self.say(Fired("redfish", "accepted", "204 No Content"), after_s=0.3)

    def console(self, texts: tuple[tuple[float, str], ...] = CONSOLE) -> None:
        """Record what the console says, and observe what is known in it."""
        reader, told = Reader(), set[str]()
        with Recording(self.state, HOST, self.run, self.clock) as recording:
            for after_s, text in texts:
                self.clock.sleep(after_s)
                recording.output(text.encode())
                for seen in reader.feed(text.encode()):
                    phase, grade = _PHASE.get(seen.pattern, ("", ""))
                    if phase and (seen.pattern not in told or seen.pattern == "progress"):
                        told.add(seen.pattern)
                        self.say(Observed(phase, "console", grade, seen.line, seen.pattern, seen.offset))

    def dump(self, finished: Finished = GOOD) -> None:
        writing = DumpFound("writing", DUMP + "-incomplete", 400_000_000)
        verified = DumpFound(
            "verified", DUMP, 812_000_123, "kdump, lzo", "yes", "5.14.0-503.11.1.el9_5.x86_64", START + 30,
            "NMI: Not continuing",
        )  # fmt: skip
        self.say(writing, DumpFound("landed", DUMP, 812_000_123, text="it has its final name"))
        self.say(Observed("back", "host", "proof", "it is back: a new boot, up for 12 s"), after_s=44.0)
        self.say(verified, finished, after_s=2.0)

    def beside(self) -> None:
        """Write what a whole incident folder has."""
        old = {"time": START - 9000, "severity": "OK", "text": "Power Unit: AC lost", "key": "1"}
        new = {"time": START + 3, "severity": "Critical", "text": f"Diagnostic interrupt {HOSTILE}", "key": "2"}
        self.files.write_json(LOG_BEFORE, {"v": 1, "entries": [old]})
        self.files.write_json(LOG_AFTER, {"v": 1, "entries": [old, new]})
        record = {
            "written_at": START - 90000,
            "ready": True,
            "verdicts": {"kdump-loaded": "pass", "target-tried": "warn"},
        }
        self.files.write_json(PREFLIGHT, record)
        look = {
            "panic": "NMI: Not continuing",
            "trigger": ["Uhhuh. NMI received for unknown reason 21 on CPU 0."],
            "before": [f"hung task: INFO: task jbd2/dm-0:812 blocked for more than 120 seconds. {HOSTILE}"],
            "crash": {
                "cpu": 0, "pid": 4711, "command": "kworker/u8:3", "taint": "P OE", "rip": "native_safe_halt+0xb/0x10",
                "trace": ["panic+0x118/0x2ed", "nmi_panic+0x37/0x40"], "foreign_modules": ["nvidia(POE)"],
            },
        }  # fmt: skip
        self.files.write_json(FIRST_LOOK, {"v": 1, "facts": {"nodename": HOST}, "look": look})

    def close(self) -> None:
        self.journal.close()


def whole(folder: Path) -> Incident:
    """Return an incident with everything that a report may show."""
    made = Incident(folder)
    made.fire()
    made.console()
    made.dump()
    made.beside()
    made.close()
    return made


def silent(folder: Path) -> Incident:
    """Return an incident that shows nothing until its deadline."""
    made = Incident(folder, "20261123T090001-abcdef")
    made.fire()
    made.say(Observed("closed", "host", "weak", "does not answer on its SSH port"), after_s=2.0)
    made.say(DumpFound("waiting", text="nothing new is there"), after_s=0.5)
    made.say(PENDING, after_s=5400.0)
    made.close()
    return made
