"""The few files of the simulated host that others read: who it is, which boot, whether kdump is armed, and where to."""

from __future__ import annotations

from pathlib import Path

from trigger.simulated.switches import Switches

_OS_RELEASE = {
    "rhel": 'NAME="Red Hat Enterprise Linux"\nID="rhel"\nVERSION_ID="9.5"\n',
    "suse": 'NAME="SLES"\nID="sles"\nVERSION_ID="15.6"\n',
    "suse-old": 'NAME="SLES"\nID="sles"\nVERSION_ID="15.5"\n',
    "debian": 'NAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="12"\n',
}
_KDUMP = {
    "rhel": ("etc/kdump.conf", "path /var/crash\ncore_collector makedumpfile -l --message-level 7 -d 31\n"),
    "suse": ("etc/sysconfig/kdump", 'KDUMP_SAVEDIR="/var/crash"\nKDUMP_DUMPLEVEL="31"\n'),
    "suse-old": ("etc/sysconfig/kdump", 'KDUMP_SAVEDIR="file:///var/crash"\nKDUMP_DUMPLEVEL="31"\n'),
    "debian": ("etc/default/kdump-tools", 'USE_KDUMP=1\nKDUMP_COREDIR="/var/crash"\n'),
}


def write_files(root: Path, switches: Switches, boot_id: str, release: str) -> None:
    """Write the host's files below `root` for the boot `boot_id`."""
    style = "rhel" if switches.style == "rhel-flat" else switches.style
    files = {
        "etc/hostname": switches.hostname + "\n",
        "etc/os-release": _OS_RELEASE[style],
        _KDUMP[style][0]: _KDUMP[style][1],
        "proc/cmdline": f"BOOT_IMAGE=/vmlinuz-{release} root=/dev/sda1 ro crashkernel=192M console=ttyS0,115200n8\n",
        "proc/loadavg": "0.42 0.31 0.28 1/212 1204\n",
        "proc/sys/kernel/hostname": switches.hostname + "\n",
        "proc/sys/kernel/osrelease": release + "\n",
        "proc/sys/kernel/random/boot_id": boot_id + "\n",
        "proc/sys/kernel/unknown_nmi_panic": "1\n",
        "proc/sys/kernel/panic_on_io_nmi": "1\n",
        "proc/sys/kernel/panic_on_unrecovered_nmi": "1\n",
        "proc/sys/kernel/sysrq": "1\n",
        "sys/class/dmi/id/product_uuid": switches.guid + "\n",
        "sys/kernel/kexec_crash_loaded": "1\n",
        "sys/kernel/kexec_crash_size": f"{192 << 20}\n",
    }
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
