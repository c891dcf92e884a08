"""The lab proves itself with ipmitool before it proves anything about trigger."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.chain import Lab

pytestmark = pytest.mark.lab
HOST = "itself42"


def test_bmc_and_guest_tell_the_same_identity(lab: Lab) -> None:
    in_the_guest = lab.ssh("cat /sys/class/dmi/id/product_uuid").strip()

    assert in_the_guest == str(lab.machine.guid)
    # In SMBIOS byte order on the wire, as most real BMCs have it.
    sent = "".join(lab.bmc.ipmitool("raw", "0x06", "0x37").stdout.split())
    assert sent == lab.machine.guid.bytes_le.hex()


@pytest.mark.parametrize("action", ["off", "cycle", "reset", "soft"])
def test_bmc_never_cuts_the_power(lab: Lab, action: str) -> None:
    boot = lab.boot_id()

    assert "Invalid data field" in lab.bmc.ipmitool("chassis", "power", action).stderr
    assert "is on" in lab.bmc.ipmitool("chassis", "power", "status").stdout
    assert lab.boot_id() == boot


def test_a_second_lab_in_the_same_folder_is_refused(lab: Lab) -> None:
    with pytest.raises(Exception, match="a lab is running in"):
        Lab.start(lab.workdir)


def test_hung_guest_dumps_on_one_nmi_and_comes_back(lab: Lab) -> None:
    boot, earlier = lab.boot_id(), lab.nmi_count()
    lab.hang()

    fired = lab.bmc.ipmitool("chassis", "power", "diag")
    assert fired.returncode == 0, fired.stderr
    lab.wait_for_reboot(boot)

    assert lab.nmi_count() == earlier + 1
    [vmcore] = lab.dumps()
    assert lab.ssh(f"head -c 8 {vmcore}") == "KDUMP   "
    panic = lab.ssh(f"grep 'Kernel panic' {Path(vmcore).parent}/vmcore-dmesg.txt")
    assert "NMI: Not continuing" in panic
    assert "elfcorehdr=" in lab.console_text()
