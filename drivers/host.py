"""The host itself over SSH as root: keys go to /proc/sysrq-trigger, answers come from its kernel log.

For a host that still answers. No mask of kernel.sysrq is asked there (drivers/tty/sysrq.c, write_sysrq_trigger). One
SSH session is opened, checked and kept, so that a key is one line on a session that is known to work; the host key is
always verified. Who the host is comes from its own DMI, which makes this the one route that cannot hit another machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

from trigger.clock import Deadline
from trigger.driver import Accepted, Console, Driver, DriverOptions, Identity, Power, Probe
from trigger.errors import ConfigError, DriverError, OutcomeUnknown, Refused, Unreachable
from trigger.host import Controller, Ssh
from trigger.text import harmless

if TYPE_CHECKING:
    from collections.abc import Callable

    Opened = Callable[[Ssh, str, Deadline], "Session"]

# Of each key the log's new lines are printed; of c, which nothing outlives, that it is about to be written, with time
# for that word to leave the host. A line that cannot be written says so.
_SCRIPT = r"""
for file in product_uuid product_serial sys_vendor product_name; do
    echo "trigger: $file $(cat /sys/class/dmi/id/$file 2>/dev/null)"
done
echo "trigger: hostname $(cat /proc/sys/kernel/hostname)"
if [ -w /proc/sysrq-trigger ]; then echo "trigger: ready"; else echo "trigger: not-root $(id -un)"; exit 1; fi
while read -r key; do
    if [ "$key" = c ]; then echo "trigger: pressing c"; sleep 1; fi
    [ "$key" = c ] || last=$(dmesg | tail -n 1)
    if ! echo "$key" >/proc/sysrq-trigger; then echo "trigger: not written"; continue; fi
    [ "$key" = c ] && echo "trigger: written" && continue
    sleep 0.3 2>/dev/null || sleep 1
    dmesg | last=$last awk 'found { print } $0 == ENVIRON["last"] { found = 1 }'
done
"""
_FACT = re.compile(r"^trigger: (\S+) ?(.*?)\r?$", re.MULTILINE)
_READY = re.compile(r"^trigger: (?:ready|not-root)\b", re.MULTILINE)
_MOST = 64 * 1024
_PRESSED_S = 5.0  # for the host to say that it is about to write c


class Session(Protocol):
    """A command on the host with its input kept open: trigger.ssh.shell.Shell, or the system's own ssh."""

    def read(self, deadline: Deadline) -> bytes:
        """Return what has come; b"" when `deadline` passes; EOFError when it has ended."""
        ...

    def write(self, data: bytes) -> None:
        """Send `data`; raises EOFError when it has ended."""
        ...

    def close(self) -> None:
        """End it; raises nothing."""
        ...


class HostDriver(Driver):
    """The host's own kernel. `--via host` makes one of the host's `ssh:`; options: `key`, `known_hosts`, `engine`."""

    OPTIONS: ClassVar[Mapping[str, type]] = {"key": str, "known_hosts": str, "engine": str}

    def __init__(self, controller: Controller, options: DriverOptions) -> None:
        super().__init__(controller, options)
        given = controller.options
        engine = str(given.get("engine", "asyncssh"))
        if engine not in ("asyncssh", "openssh"):
            raise ConfigError(
                f"{controller.name}: engine is {engine!r}; it can be asyncssh or openssh. Nothing was sent."
            )
        self._ssh = Ssh(
            controller.address,
            controller.port or 22,
            controller.user,
            str(given.get("key", "")),
            str(given.get("known_hosts", "")),
            engine,
        )
        self._session: Session | None = None
        self._fired = False

    def probe(self, deadline: Deadline) -> Probe:
        """Log in, see that keys can be written, and read who the host is. See Driver.probe."""
        found = self._open(deadline)
        identity = Identity(
            uuid=found.get("product_uuid", ""),
            serial=found.get("product_serial", ""),
            hostname=found.get("hostname", ""),
            vendor=found.get("sys_vendor", ""),
            model=found.get("product_name", ""),
        )
        return Probe(identity, Power.ON)

    def open_console(self, deadline: Deadline, *, steal: bool = False) -> Console:
        """Return what takes BREAK and a key as a console would; nobody else can have it."""
        if self._session is None:
            self._open(deadline)
        session, self._session = self._session, None
        assert session is not None
        return HostConsole(session, self._where)

    def send_sysrq_crash(self, deadline: Deadline) -> Accepted:
        """Write one c on the session that `probe` opened.

        Refused only when the host itself says that it was not written. A session that is lost afterwards is what a
        crash looks like, and what a lost network looks like: OutcomeUnknown, unless the host had said that it writes.
        """
        if self._session is None or self._fired:
            raise RuntimeError("this session has sent its one crash, or was not opened; nothing was sent now")
        self._fired = True
        try:
            self._session.write(b"c\n")
        except EOFError:
            raise OutcomeUnknown(f"{self._where}: the SSH connection was lost while c was sent") from None
        said = self._listen(deadline.at_most(_PRESSED_S))
        if "trigger: not written" in said:
            raise Refused(f"{self._where}: c could not be written to /proc/sysrq-trigger: {harmless(said.strip())}")
        if "trigger: written" in said:
            raise OutcomeUnknown(f"{self._where}: c was written to /proc/sysrq-trigger, and the host goes on")
        if "trigger: pressing c" in said:
            return Accepted("the host was about to write c to /proc/sysrq-trigger, and says no more")
        raise OutcomeUnknown(f"{self._where}: c was sent over SSH, and the host did not answer")

    def describe_nmi(self) -> str:
        """See Driver.describe_nmi."""
        return f"SysRq: one c written to /proc/sysrq-trigger of {self._ssh.host} over SSH"

    def close(self) -> None:
        """See Driver.close."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    @property
    def _where(self) -> str:
        return f"{self.controller.name}: ssh://{self._ssh.host}:{self._ssh.port}"

    def _open(self, deadline: Deadline) -> dict[str, str]:
        """Start the session and return what it says of the host; raises what SSH raises, or DriverError."""
        self.close()
        self._session = _start(self._ssh)(self._ssh, _SCRIPT, deadline)
        try:
            return self._greeting(self._session, deadline)
        except BaseException:
            self.close()
            raise

    def _greeting(self, session: Session, deadline: Deadline) -> dict[str, str]:
        said = b""
        while not _READY.search(said.decode("utf-8", "replace")):
            try:
                more = session.read(deadline)
            except EOFError:
                raise self._not_opened(said) from None
            said += more
            if not more or len(said) > _MOST:
                raise Unreachable(f"{self._where}: the host logged us in and did not answer in time. Nothing was sent.")
        found = dict(_FACT.findall(said.decode("utf-8", "replace")))
        if "not-root" in found:
            raise DriverError(
                f"{self._where}: {harmless(found['not-root'])} may not write /proc/sysrq-trigger. Nothing was sent.",
                next_step="Log in as root: `ssh: {user: root}`.",
            )
        return found

    def _not_opened(self, said: bytes) -> DriverError:
        text = harmless(" ".join(said.decode("utf-8", "replace").split()), limit=200)
        return Unreachable(
            f"{self._where}: the SSH session ended{f', saying: {text}' if text else ''}. Nothing was sent."
        )

    def _listen(self, deadline: Deadline) -> str:
        assert self._session is not None
        said = b""
        while not deadline.passed() and len(said) < _MOST and b"written" not in said:
            try:
                said += self._session.read(deadline)
            except EOFError:
                break
        return said.decode("utf-8", "replace")


class HostConsole:
    """The kernel behind /proc/sysrq-trigger as a console: the character after a BREAK is a key, others are nothing."""

    def __init__(self, session: Session, where: str) -> None:
        self._session, self._where = session, where
        self._armed = False

    def read(self, deadline: Deadline) -> bytes:
        """See Console.read: the kernel log's new lines after a key."""
        try:
            return self._session.read(deadline)
        except EOFError:
            raise EOFError(f"{self._where}: the SSH session has ended") from None

    def write(self, data: bytes) -> None:
        """Press the key that follows a BREAK; c is left to `send_sysrq_crash`."""
        for character in data.decode("latin-1"):
            armed, self._armed = self._armed, False
            if not armed or not (character.isascii() and character.isprintable()) or character == "c":
                continue
            try:
                self._session.write(character.encode() + b"\n")
            except EOFError:
                raise DriverError(f"{self._where}: the SSH session was lost") from None

    def send_break(self) -> None:
        """Arm the next character; nothing is sent."""
        self._armed = not self._armed

    def close(self) -> None:
        """End the session."""
        self._session.close()


def _start(ssh: Ssh) -> Opened:
    if ssh.engine == "openssh":
        from trigger.ssh.openssh import open_process

        return open_process
    from trigger.ssh.shell import open_process as open_with_asyncssh

    return open_with_asyncssh
