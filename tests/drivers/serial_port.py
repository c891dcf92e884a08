"""The far end of a console: a telnet port with the part of a Linux kernel that takes BREAK and a key, and counts.

Source: include/linux/serial_core.h (uart_handle_break, uart_handle_sysrq_char), drivers/tty/sysrq.c.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Self

from tests.drivers import ipmi_bmcs
from tests.drivers.ipmi_bmcs import RealBmc
from trigger.console.sysrq import allowed

IAC, BREAK = 255, 243
HELP = b"\r\n[  12.345678] sysrq: HELP : loglevel(0-9) reboot(b) crash(c)\r\n"
DISABLED = b"\r\n[  12.345678] sysrq: This sysrq operation is disabled.\r\n"
ANSWERS = {
    "w": b"\r\n[  12.4] sysrq: Show Blocked State\r\n",
    "m": b"\r\n[  12.4] sysrq: Show Memory\r\nMem-Info:\r\n",
    "c": b"\r\n[  12.4] sysrq: Trigger a crash\r\nKernel panic - not syncing: sysrq triggered crash\r\n",
}


class SerialPort:
    """One port, several connections one after the other. `got` is what arrived: B for a BREAK, else characters.

    `connected`: False hangs up on everybody with `greeting`, as a console server does. `hears_break`: False is a port
    that is no console. `garbage` is said after a BREAK that nobody took.
    """

    def __init__(
        self, *, mask: int = 1, greeting: bytes = b"", connected: bool = True, hears_break: bool = True,
        garbage: bytes = b"",
    ) -> None:  # fmt: skip
        self.mask, self.garbage = mask, garbage
        self.answers = dict(ANSWERS)
        self.hangs_up_after = ""  # a key: the line is cut once it was answered
        self.armed = False
        self.pressed: list[str] = []
        self.got = ""
        self._greeting, self._connected, self._hears = greeting, connected, hears_break
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._lines: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # refused already
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._threads[0].join(5)  # it may just now have accepted a line, which must be closed as well
        for line in self._lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()
        for thread in self._threads:
            thread.join(5)

    @property
    def breaks(self) -> int:
        """How many BREAKs arrived."""
        return self.got.count("B")

    def await_got(self, text: str, seconds: float = 5.0) -> None:
        """Wait until exactly `text` has arrived."""
        end = monotonic() + seconds
        while self.got != text and monotonic() < end:
            sleep(0.005)
        assert self.got == text

    def say(self, data: bytes) -> None:
        """Let the host write to its console."""
        for line in self._lines:
            with contextlib.suppress(OSError):
                line.sendall(data.replace(b"\xff", b"\xff\xff"))

    @property
    def connections(self) -> int:
        """How many were accepted."""
        return len(self._lines)

    def refuse(self) -> None:
        """Cut every connection and accept no more."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self.hang_up()

    def hang_up(self) -> None:
        """Cut every connection."""
        for line in self._lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listening.accept()
            except OSError:
                return
            self._lines.append(line)  # at once: a client that hears the greeting may end the test
            with contextlib.suppress(OSError):  # it has gone again
                line.sendall(b"\xff\xfb\x01\xff\xfb\x03\xff\xfd\x18" + self._greeting)
                if not self._connected:
                    line.shutdown(socket.SHUT_WR)
            self._threads.append(threading.Thread(target=self._serve, args=(line,), daemon=True))
            self._threads[-1].start()

    def _serve(self, line: socket.socket) -> None:
        rest = b""
        while True:
            try:
                more = line.recv(4096)
            except OSError:
                return
            if not more:
                return
            rest = self._take(rest + more)

    def _take(self, raw: bytes) -> bytes:
        at = 0
        while at < len(raw):
            if raw[at] != IAC:
                self._character(chr(raw[at]))
                at += 1
            elif at + 1 == len(raw) or (251 <= raw[at + 1] <= 254 and at + 2 == len(raw)):
                break
            elif raw[at + 1] == BREAK:
                self.got += "B"
                # uart_handle_break: a second BREAK in a row is an ordinary one
                self.armed = self._hears and not self.armed
                if not self._hears and self.garbage:
                    self.say(self.garbage)
                at += 2
            elif raw[at + 1] == IAC:
                self._character("\xff")
                at += 2
            else:
                at += 3 if 251 <= raw[at + 1] <= 254 else 2
        return raw[at:]

    def _character(self, char: str) -> None:
        self.got += char
        if not self.armed or self.mask == 0:
            self.armed = False
            if char.isprintable():
                self.say(char.encode())  # getty's echo
            return
        self.armed = False
        if char not in self.answers:
            self.say(HELP)
        elif allowed(self.mask, char):
            self.pressed.append(char)
            self.say(self.answers[char])
            if char == self.hangs_up_after:
                self.hang_up()
        else:
            self.say(DISABLED)


@contextlib.contextmanager
def sol_bmc(folder: Path, console: SerialPort, port: int = 0) -> Iterator[RealBmc]:
    """Run Debian's ipmi_sim with serial-over-LAN to `console`; it connects there by telnet."""
    port = port or ipmi_bmcs.free_port()
    (folder / "state").mkdir()
    config, emulation = folder / "bmc.conf", folder / "bmc.emu"
    said = ipmi_bmcs._CONFIG.format(
        module="", folder=folder, port=port, guid=ipmi_bmcs.GUID, user=ipmi_bmcs.USER, password=ipmi_bmcs.PASSWORD
    )
    lines = [line for line in said.splitlines() if not line.startswith("loadlib")]
    lines.insert(lines.index("  startnow false"), f'  sol "telnet:127.0.0.1:{console.port}" 115200')
    config.write_text("\n".join(lines) + "\n")
    emulation.write_text(ipmi_bmcs._EMULATION)
    command = ["ipmi_sim", "-c", str(config), "-f", str(emulation), "-s", str(folder / "state"), "-n"]
    with ipmi_bmcs._running(command, folder):
        ipmi_bmcs._await_answer(port, "127.0.0.1")
        yield RealBmc(port, folder, ipmi_bmcs.GUID)
