"""Serial-over-LAN over a network that loses 15 % of the datagrams: most keys are answered, none is sent twice."""

from __future__ import annotations

import os
from pathlib import Path

from drivers.ipmi_sol import open_sol
from tests.drivers.ipmi_bmcs import Secret, controller
from tests.drivers.serial_port import SerialPort, sol_bmc
from tests.drivers.udp_proxy import UdpProxy, lossy, straight
from trigger.clock import Deadline
from trigger.console.line import Line
from trigger.console.sysrq import Dialogue, Heard
from trigger.driver import Console
from trigger.errors import DriverError

ROUNDS = 100 if os.environ.get("TRIGGER_SOAK") == "1" else 6


def test_help_is_answered_or_honestly_not(tmp_path: Path) -> None:
    """BREAK and h, seeded: 90 of 100 answered in a soak, most of a few in everyday tests; never two BREAKs in a row."""
    answered, silent, lost = 0, 0, 0
    console: Console | None = None
    # pyghmi wants SOL on the port that it dialled: the proxy has the same number at another loopback address.
    with SerialPort() as port, UdpProxy(("127.0.0.1", 0), host="127.0.0.2") as proxy:
        proxy._bmc = ("127.0.0.1", proxy.port)
        with sol_bmc(tmp_path, port, proxy.port):
            for number in range(ROUNDS):
                proxy.fate = straight
                console = console or open_sol(controller(proxy.port, "127.0.0.2"), Secret(), Deadline(10))
                proxy.fate = lossy(number, 0.15)
                try:
                    heard = Line(console).press(Dialogue("h", tries=2)).heard
                    answered, silent = answered + (heard is Heard.HELP), silent + (heard is not Heard.HELP)
                except DriverError:  # it says that it does not know; the next round begins with a new login
                    lost += 1
                    proxy.fate = straight
                    console.close()
                    console = None
            proxy.fate = straight
            if console is not None:
                console.close()
    print(f"{answered} of {ROUNDS} answered, {silent} not heard, {lost} lost; {port.breaks} BREAKs arrived")
    assert "BB" not in port.got
    assert port.breaks <= 2 * ROUNDS  # h may be tried twice: never two BREAKs for one try
    assert answered >= ROUNDS * (0.9 if ROUNDS == 100 else 0.5)
