"""`make bench`, Redfish: the time from Enter to the POST beside sushy, and whose requests leave more than once.

The POST's arrival is the controller's own clock reading, so that logging out and watching count for nobody.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the simulators are the tests'

from drivers.redfish import RedfishDriver  # noqa: E402
from tests.drivers.redfish_service import Answers, redfish_controller  # noqa: E402
from tests.drivers.scripted_bmc import Script, ScriptedBmc  # noqa: E402
from tests.drivers.simulators.certificates import certificate  # noqa: E402
from tests.drivers.simulators.delay_proxy import DelayProxy  # noqa: E402
from tests.drivers.simulators.redfish_server import PASSWORD, USER, RedfishServer  # noqa: E402
from tests.drivers.simulators.redfish_trees import machine  # noqa: E402
from trigger.clock import Deadline, SystemClock  # noqa: E402
from trigger.driver import DriverOptions, Identity  # noqa: E402
from trigger.record import Record, write_record  # noqa: E402
from trigger.state import StateFolder  # noqa: E402

ROUND_TRIP_S = 0.020
PAIRS = int(os.environ.get("BENCH_PAIRS", "15"))
TRIGGER = str(Path(sys.executable).with_name("trigger"))
SUSHY = """
import sys, sushy
from sushy import auth
url, user, password = sys.argv[1:]
login = auth.BasicAuth(user, password) if {basic} else auth.SessionAuth(user, password)
controller = sushy.Sushy(url + "/redfish/v1/", auth=login, verify=False)
controller.get_system("/redfish/v1/Systems/1").reset_system(sushy.ResetType.NMI)
"""
REDFISH = """
import sys, redfish
url, user, password = sys.argv[1:]
client = redfish.redfish_client(url, user, password, timeout=1)
client.login(auth="session")
client.post("/redfish/v1/Systems/1/Actions/ComputerSystem.Reset", body={"ResetType": "Nmi"})
"""
PYGHMI = """
import sys
from pyghmi.ipmi import command
url, user, password = sys.argv[1:]
bmc = command.Command("127.0.0.1", user, password, port=int(url.rpartition(":")[2]), onlogon=None)
bmc.raw_command(netfn=0, command=2, data=[4])
"""


class Arrivals:
    """A controller behind 20 ms of round trip; says when its last POST came, and how many requests before it."""

    def __init__(self, login: str) -> None:
        self.server = RedfishServer(machine(), login=login)
        self.proxy = DelayProxy(self.server.port, ROUND_TRIP_S)
        self.url = f"https://127.0.0.1:{self.proxy.port}"

    def after(self, command: list[str], environment: dict[str, str]) -> tuple[float, int]:
        """Run `command`; return the seconds until its POST arrived, and its requests, logins apart."""
        before, begun = self.server.count(), time.monotonic()
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode or not self.server.arrivals or self.server.arrivals[-1] < begun:
            raise SystemExit(f"{command[:3]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return self.server.arrivals[-1] - begun, self.server.count() - before

    def close(self) -> None:
        """End proxy and server."""
        self.proxy.close()
        self.server.close()


def write_config(folder: Path, port: int) -> Path:
    """Write a configuration of server42 with this one controller, its certificate pinned."""
    secret, config = folder / "password", folder / "config.yaml"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    config.write_text(
        "hosts:\n  server42:\n    controllers:\n"
        f"      - {{driver: redfish, address: 127.0.0.1, port: {port}, user: {USER},\n"
        f"         password: {{file: {secret}}}, tls: {{fingerprint: {certificate().fingerprint}}}}}\n"
        f"    dump: {{target: {folder}/dumps}}\n"
    )
    (folder / "dumps").mkdir(exist_ok=True)
    return config


def environment(folder: Path, config: Path, learned: dict[str, object] | None) -> dict[str, str]:
    """Return a clean environment with a new state folder, holding the record of a preflight where `learned` is."""
    home = Path(tempfile.mkdtemp(dir=folder))
    if learned:
        folder = home / "trigger"
        folder.mkdir(mode=0o700)
        state = StateFolder(folder, private=True)
        who = Identity(uuid=str(learned["uuid"]), serial=str(learned["serial"]))
        routes, now = {"redfish": learned}, SystemClock().time()
        record = Record("server42", now, ready=True, routes=routes, controllers={"redfish": who}, identity=who)
        write_record(state, record)
    return {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_STATE_HOME": str(home), "TRIGGER_CONFIG": str(config)}


def bench_time(folder: Path, peer: Path, login: str) -> None:
    """Print the medians of Enter to POST: ours with a unique pin, with a record, without one, and sushy's."""
    there = Arrivals(login)
    config = write_config(folder, there.proxy.port)
    with RedfishDriver(redfish_controller(there.server), DriverOptions(secrets=Answers())) as driver:
        learned = dict(driver.probe(Deadline(10)).learned)
    fire = [TRIGGER, "nmi", "server42", "--confirm", "server42", "--no-wait", "--reason", "bench"]
    theirs = [str(peer), "-c", SUSHY.format(basic=login != "session"), there.url, USER, PASSWORD]
    ways: dict[str, tuple[list[str], dict[str, object] | None]] = {
        "unique pin in the record": (fire, learned | {"fingerprint_unique": True}),
        "record": (fire, learned),
        "no record": ([*fire, "--override", "no-record", "--override", "identity-unproved"], None),
    }
    for name, (command, known) in ways.items():
        pairs = []
        for _ in range(PAIRS + 1):
            ours = there.after(command, environment(folder, config, known))
            pairs.append((ours, there.after(theirs, {"PATH": os.environ["PATH"]})))
        mine, other = (statistics.median(seconds for seconds, _ in column) for column in zip(*pairs[1:], strict=True))
        counts = f"{pairs[-1][0][1]} against {pairs[-1][1][1]} requests"
        label = f"redfish, {'session' if login == 'session' else 'Basic'}, {name}"
        print(
            f"{label:<46}{mine * 1000:8.0f} ms{other * 1000:8.0f} ms   ratio {mine / other:5.2f}   ({counts})",
            flush=True,
        )
    there.close()


def bench_resend(python: Path) -> None:
    """Print how many NMIs one call delivers when the controller acts and its reply is lost: libraries as they come."""
    print("NMIs delivered by one call, the reply lost / never sent (each as it comes, at most 60 s):")
    for name, code in {"redfish": REDFISH, "sushy": SUSHY.format(basic=False)}.items():
        counts = []
        for fault in ("lost-reply", "silent"):
            server = RedfishServer(machine(), fault)
            _one_call([str(python), "-c", code, f"https://127.0.0.1:{server.port}", USER, PASSWORD])
            server.close()
            counts.append(str(server.deliveries()))
        print(f"  {name:<18}{' / '.join(counts)}", flush=True)
    ipmitool = ["ipmitool", "-I", "lanplus", "-C", "3", "-H", "127.0.0.1", "-U", Script().user, "-P", Script().password]
    for name in ("pyghmi", "ipmitool"):
        counts = []
        for play in ({"loses": {"chassis control": 1}}, {"silent": frozenset({"chassis control"})}):
            with ScriptedBmc(Script(suites=(3,), **play)) as bmc:
                pyghmi = [str(python), "-c", PYGHMI, f":{bmc.port}", Script().user, Script().password]
                _one_call(pyghmi if name == "pyghmi" else [*ipmitool, "-p", str(bmc.port), "chassis", "power", "diag"])
            counts.append(str(bmc.received["chassis control"]))
        print(f"  {name:<18}{' / '.join(counts)}", flush=True)


def bench_ours(folder: Path) -> None:
    """Print the same for `trigger nmi`, over Redfish and over IPMI."""
    words = ["--confirm", "server42", "--no-wait", "--reason", "bench", "--override", "no-record"]
    fire = [TRIGGER, "nmi", "server42", *words, "--override", "identity-unproved"]
    counts = []
    for fault in ("lost-reply", "silent"):
        server = RedfishServer(machine(), fault)
        config = write_config(folder, server.port)
        _one_call(fire, environment(folder, config, None))
        server.close()
        counts.append(str(server.deliveries()))
    print(f"  {'trigger, redfish':<18}{' / '.join(counts)}", flush=True)
    counts = []
    for play in ({"loses": {"chassis control": 1}}, {"silent": frozenset({"chassis control"})}):
        with ScriptedBmc(Script(suites=(3,), **play)) as bmc:
            config = write_ipmi_config(folder, bmc.port)
            _one_call(fire, environment(folder, config, None))
        counts.append(str(bmc.received["chassis control"]))
    print(f"  {'trigger, ipmi':<18}{' / '.join(counts)}", flush=True)


def write_ipmi_config(folder: Path, port: int) -> Path:
    """Write a configuration of server42 with the scripted BMC as its controller."""
    secret, config = folder / "password", folder / "config.yaml"
    secret.write_text(Script().password + "\n")
    config.write_text(
        "hosts:\n  server42:\n    controllers:\n"
        f"      - {{driver: ipmi, address: 127.0.0.1, port: {port}, user: {Script().user},\n"
        f"         password: {{file: {secret}}}}}\n"
    )
    return config


def _one_call(command: list[str], environment: dict[str, str] | None = None) -> None:
    try:
        subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        print(f"  (ended after 60 s: {Path(command[0]).name} {command[1][:2]})")


def main() -> None:
    """Install the peers if need be, and run every comparison."""
    install = ROOT / "tests" / "drivers" / "install_real_parts"
    found = subprocess.run([str(install)], capture_output=True, text=True, check=True).stdout.strip()
    python = Path(found) / "bin" / "python"
    print(f"{'Enter to POST, medians of ' + str(PAIRS) + ' pairs, 20 ms':<46}{'trigger':>11}{'sushy':>11}")
    with tempfile.TemporaryDirectory(prefix="trigger-bench-") as name:
        for login in ("session", "no-token"):
            bench_time(Path(name), python, login)
    bench_resend(python)
    with tempfile.TemporaryDirectory(prefix="trigger-bench-") as name:
        bench_ours(Path(name))


if __name__ == "__main__":
    main()
