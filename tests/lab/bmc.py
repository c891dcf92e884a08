"""The hung server's BMC: Debian's ipmi_sim with a module that delivers the diagnostic interrupt."""

from __future__ import annotations

import os
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

from tests.lab import processes
from tests.lab.errors import LabError

USER = "admin"

_MODULE_SOURCE = Path(__file__).parent / "ipmi_nmi_mod.c"

# About the GUID, as measured with ipmi_sim 2.0.33 and QEMU 7.2: the 32 digits go onto the wire in this
# order, in Get System GUID as well as in RAKP message 2. QEMU's -uuid U gives U in the guest's
# /sys/class/dmi/id/product_uuid. So the digits are U in SMBIOS order (first three fields little-endian),
# which is what most real BMCs send although the IPMI specification asks for the reverse; "ipmitool mc guid"
# shows U and warns "GUID Encoding: SMBIOS".
_CONFIG = """\
name "lab"
loadlib "{module}" "{count_file}"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {lan_port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid {guid}
  endlan
  serial kcs 127.0.0.1 {system_port} codec VM
{sol}  startnow false
  user 1 true "" "{password}" user 10 none md2 md5 straight
  user 2 true "{user}" "{password}" admin 10 none md2 md5 straight
"""

_EMULATION = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
"""


@dataclass(frozen=True)
class Bmc:
    """One ipmi_sim: its ports on 127.0.0.1 and its files."""

    workdir: Path
    lan_port: int
    system_port: int
    console_port: int | None
    guid: uuid.UUID
    password: str

    @property
    def count_file(self) -> Path:
        """Return the file with one line for each NMI that was handed to QEMU."""
        return self.workdir / "nmi.count"

    def prepare(self) -> list[str]:
        """Write ipmi_sim's files and return the command that starts it."""
        state = self.workdir / "ipmi_sim"
        state.mkdir(exist_ok=True)
        config, emulation = self.workdir / "bmc.conf", self.workdir / "bmc.emu"
        _write_private(config, self._config(_compiled_module(self.workdir)))
        emulation.write_text(_EMULATION)
        return ["ipmi_sim", "-c", str(config), "-f", str(emulation), "-s", str(state), "-n"]

    def _config(self, module: Path) -> str:
        sol = f'  sol "telnet:127.0.0.1:{self.console_port}" 115200\n' if self.console_port else ""
        return _CONFIG.format(
            module=module,
            count_file=self.count_file,
            lan_port=self.lan_port,
            guid=self.guid.bytes_le.hex(),
            system_port=self.system_port,
            sol=sol,
            user=USER,
            password=self.password,
        )

    def ipmitool(self, *command: str, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run ipmitool once; -R 1 -N 5 keeps it from sending a request twice within five seconds."""
        argv = ["ipmitool", "-I", "lanplus", "-H", "127.0.0.1", "-p", str(self.lan_port), "-U", USER, "-E"]
        return subprocess.run(
            [*argv, "-C", "3", "-R", "1", "-N", "5", *command],
            env={**os.environ, "IPMITOOL_PASSWORD": self.password},
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def sees_the_machine(self) -> bool:
        """Say whether the BMC answers and reports power on: QEMU is connected to it."""
        return "System Power         : on" in self.ipmitool("chassis", "status").stdout

    def holds_the_console(self) -> bool:
        """Say whether ipmi_sim is connected to the machine's serial port: before that it drops what SOL brings."""
        return self.console_port is not None and processes.is_connected_to(self.console_port)


def _compiled_module(workdir: Path) -> Path:
    module = workdir / "ipmi_nmi_mod.so"
    command = ["gcc", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", str(module), str(_MODULE_SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"gcc cannot build {_MODULE_SOURCE.name}: {done.stderr.strip()}")
    return module


def _write_private(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text)
