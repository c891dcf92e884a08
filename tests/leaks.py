"""A grep for every secret of the tests, in all its encodings, over everything that the suite starts, prints and writes.

Secrets are made up; which there are is known from constants of the test files, from the simulated machines, and from
what the program resolves in this process. They are looked for in the argument list and environment of every process
below pytest (an audit hook sees those that pytest starts, a look at /proc every 50 ms the ones below them), in what
`trigger` printed to pytest, in pytest's own reports, and in the files below the temporary folder.

What is allowed, since it is there to hold a secret: a file that holds nothing else; the folder of a simulated machine
and the other files named here, which belong to the far end; the variables that a test hands to the program it starts.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

# The far ends: programs that play a controller and must know its password, and their configuration files.
FAR_ENDS = ("pyghmi_bmc.py", "ipmi_sim", "ipmitool")
FAR_FILES = ("lan.conf", "ipmi.conf", "bmc.conf", "bmc-password")
# What an operator keeps a password in, as the documentation says.
OPERATORS_FILES = (".netrc",)
# What a test gives to `trigger` (as {env: ...} says) or to a peer of `make bench`.
GIVEN = ("BMC_PASSWORD", "TRIGGER_PASSWORD", "IPMITOOL_PASSWORD", "IPMI_PASSWORD", "SSH_PASSWORD")
LARGEST = 8 << 20  # bytes of a file that is read; larger ones are memory images and dumps
SHORTEST = 6
POLL_SECONDS = 0.05


def forms(value: str, user: str = "") -> set[bytes]:
    """Return a secret as it is and as protocols, logs and files write it; made apart from trigger/redaction.py."""
    raw = value.encode()
    spaced = raw.hex(" ")
    found = {
        raw, base64.b64encode(raw).rstrip(b"="), base64.urlsafe_b64encode(raw).rstrip(b"="),
        quote(value, safe="").encode(), quote(value).encode(), quote_plus(value).encode(),
        json.dumps(value)[1:-1].encode(), repr(value)[1:-1].encode(),
        raw.hex().encode(), raw.hex().upper().encode(), spaced.encode(), spaced.upper().encode(),
    }  # fmt: skip
    if user:
        found.add(base64.b64encode(f"{user}:{value}".encode()).rstrip(b"="))
    return {form for form in found if len(form) >= SHORTEST}


class Leaks:
    """What is looked for, what was looked at, and what was found."""

    def __init__(self) -> None:
        self.forms: dict[str, set[bytes]] = {}
        self.hits: list[str] = []
        self.looked_at = dict.fromkeys(("argument lists", "environments", "outputs", "reports", "files"), 0)
        self._lock = threading.Lock()

    def add(self, value: str, user: str = "") -> None:
        """Look for this secret from now on; one that is too short to be told from other text is not looked for."""
        if len(value) >= SHORTEST:
            with self._lock:
                self.forms.setdefault(value, set()).update(forms(value, user))

    def search(self, kind: str, data: bytes, where: str) -> bool:
        """Look through `data`, and note a hit with `where` it was; return whether there was one."""
        with self._lock:
            self.looked_at[kind] += 1
            found = [value for value, spellings in self.forms.items() if any(form in data for form in spellings)]
            for value in found:
                self.hits.append(f"{kind}: {where}: a spelling of the secret that ends in {value[-2:]!r}")
        return bool(found)

    def arguments(self, words: Iterable[object], where: str) -> None:
        """Look through an argument list, unless it is a far end's."""
        text = "\0".join(map(_text, words))
        if not any(far in text for far in FAR_ENDS):
            self.search("argument lists", text.encode(errors="surrogateescape"), f"{where} {text[:200]!r}")

    def environment(self, variables: Mapping[str, str], where: str, *, given: bool) -> None:
        """Look through an environment; `given` says that a test handed it over, with what is in GIVEN."""
        kept = {name: value for name, value in variables.items() if not (given and name in GIVEN)}
        self.search("environments", json.dumps(kept, ensure_ascii=False).encode(errors="replace"), where)
        self.search("environments", "\0".join(kept.values()).encode(errors="surrogateescape"), where)

    def files(self, top: Path) -> None:
        """Look through every file below `top`."""
        for folder, folders, names in os.walk(top):
            if "bmc-password" in names:  # a simulated machine's own
                folders.clear()
                continue
            for name in names:
                if name not in (*FAR_FILES, *OPERATORS_FILES):
                    self._file(Path(folder, name))

    def _file(self, path: Path) -> None:
        try:
            if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
                return
            data = path.read_bytes()
        except OSError:
            return
        alone = data.strip().decode(errors="replace")
        if alone not in self.forms:
            self.search("files", data, str(path))


def _text(word: object) -> str:
    return os.fsdecode(word) if isinstance(word, bytes | os.PathLike) else str(word)


class ProcessWatch(threading.Thread):
    """Looks at every process below this one, a few times each, since exec changes what they show."""

    def __init__(self, leaks: Leaks) -> None:
        super().__init__(name="leaks", daemon=True)
        self._leaks, self._end = leaks, threading.Event()
        self._below = {os.getpid(): 0}  # process -> how often it may still be looked at
        self._others: set[int] = set()
        self._programs: set[int] = set()  # `trigger`, and whatever is below one: nobody gave a secret to those below

    def run(self) -> None:
        """Look until the end."""
        while not self._end.wait(POLL_SECONDS):
            alive = {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208
            self._others &= alive
            for process in sorted(alive - self._others):
                with contextlib.suppress(OSError, ValueError, IndexError):
                    self._look(process)
            for gone in self._below.keys() - alive:
                del self._below[gone]

    def stop(self) -> None:
        """End the thread."""
        self._end.set()
        self.join(10)

    def _look(self, process: int) -> None:
        if process not in self._below:
            parent = int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent not in self._below:
                self._others.add(process)
                return
            self._below[process] = 4
        if self._below[process] <= 0:
            return
        self._below[process] -= 1
        words = Path(f"/proc/{process}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        self._leaks.arguments(words, f"process {process}")
        if not any(far.encode() in word for far in FAR_ENDS for word in words):
            pairs = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            parent = int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])
            variables = dict(os.fsdecode(pair).partition("=")[::2] for pair in pairs if pair)
            given = parent not in self._programs
            if not given or b"trigger" in words or words[0].endswith(b"/trigger"):
                self._programs.add(process)
            self._leaks.environment(variables, f"process {process} {words[:4]!r}", given=given)


def watch_subprocesses(leaks: Leaks) -> None:
    """See every argument list and environment that this process hands over, and what `trigger` answers."""

    def hook(event: str, details: tuple[object, ...]) -> None:
        if event == "subprocess.Popen":
            _, words, _, env = details
            leaks.arguments([words] if isinstance(words, str) else list(words), "started")  # type: ignore[call-overload]
            if env is not None:
                pairs = {_text(name): _text(value) for name, value in dict(env).items()}  # type: ignore[call-overload]
                leaks.environment(pairs, f"given to {words!r:.200}", given=True)

    sys.addaudithook(hook)
    real = subprocess.Popen.communicate

    def communicate(process: subprocess.Popen[str], *arguments: object, **options: object) -> tuple[object, object]:
        answer = real(process, *arguments, **options)  # type: ignore[arg-type, misc]
        if "trigger" in str(process.args):
            for stream in answer:
                data = stream.encode(errors="surrogateescape") if isinstance(stream, str) else stream or b""
                leaks.search("outputs", data, f"of {process.args!r:.300}")
        return answer

    subprocess.Popen.communicate = communicate  # type: ignore[method-assign, assignment]
