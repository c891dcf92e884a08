"""No core dump of a command that holds a password: killed by SIGABRT with cores allowed, and asked by prctl."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.e2e.program import Bench, until

Benches = Callable[..., Bench]
WITH_CORES = ("sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh")
DUMPABLE = "_ctypes.call_function(_ctypes.dlsym(_ctypes.dlopen(None, 0), 'prctl'), (3, 0, 0, 0, 0))"


def ended(process: subprocess.Popen[str]) -> int:
    """Wait for a process that was aborted; return its wait status."""
    _, status = os.waitpid(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == -signal.SIGABRT
    return status


def test_an_abort_while_the_answer_is_awaited_leaves_no_core(bench: Benches) -> None:
    b = bench(nmi_answer_delay=60.0)
    command = [*WITH_CORES, sys.executable, "-m", "trigger", "nmi", b.host, *b.confirmed()]
    with (b.folder / "err").open("w") as err:
        process = subprocess.Popen(command, stdout=err, stderr=err, text=True, env=b.environment(), cwd=b.folder)
    until(lambda: b.machine.delivered() == 1, "the NMI arrives", 60)
    owner = Path(f"/proc/{process.pid}/environ").stat().st_uid
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    process.send_signal(signal.SIGABRT)
    status = ended(process)
    assert not os.WCOREDUMP(status), "the kernel wrote a core dump, with the password in it"
    assert [path for path in b.folder.rglob("core*") if path.is_file()] == []
    assert owner == 0, "/proc/PID/environ, with the password in it, can be read by the same user's other processes"
    assert "unlimited" in next(line for line in limits.splitlines() if line.startswith("Max core file size"))


def test_another_program_does_leave_one_here(tmp_path: Path) -> None:
    """Without this the test above could not fail. A handler (a pattern that begins with |) may be none at all."""
    command = [*WITH_CORES, sys.executable, "-c", "import os; os.abort()"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, text=True)
    status = ended(process)
    cores = list(tmp_path.glob("core*"))
    assert os.WCOREDUMP(status) or Path("/proc/sys/kernel/core_pattern").read_text().startswith(("|", "/"))
    for core in cores:
        core.unlink()


def asked(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_is_off_when_the_command_begins() -> None:
    assert asked(
        "from trigger import entry\n"
        f"def main():\n    import _ctypes\n    print({DUMPABLE})\n    return 0\n"
        "entry.main = main\n"
        "entry.entry()"
    ) == "0"  # fmt: skip


def test_without_libffi_cores_are_empty() -> None:
    assert asked(
        "import sys\n"
        "sys.modules['_ctypes'] = None\n"
        "from trigger.private_memory import keep_memory_private\n"
        "assert keep_memory_private()\n"
        "print(open('/proc/self/coredump_filter').read())"
    ) == "00000000"  # fmt: skip


def test_children_are_as_they_would_be_without_us() -> None:
    child = f"import _ctypes; print({DUMPABLE})"
    assert asked(
        "import subprocess, sys\n"
        "from trigger.private_memory import keep_memory_private\n"
        "assert keep_memory_private()\n"
        f"subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    ) == "1"  # fmt: skip
