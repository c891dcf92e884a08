"""How long a verdict on a 1 TB dump takes, over SFTP and locally, beside makedumpfile opening the same file.

The dump is sparse; its bitmap of 32 MB is real. makedumpfile is asked for the kernel log, for which it first loads
both bitmaps; the file holds no log, so it then fails, and the time until then is what is printed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.unit.post.sshd import serve
from tests.unit.post.test_target import CLIENT, huge_kdump
from trigger.post.formats import inspect
from trigger.post.target import LocalFile


def main() -> None:
    """Print one line for each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dump = folder / "root" / "var" / "crash" / "vmcore"
        dump.parent.mkdir(parents=True)
        huge_kdump(dump)
        with serve(folder, folder / "root") as sshd:
            command = [sys.executable, "-c", CLIENT, str(sshd.port), str(sshd.key), str(sshd.known_hosts)]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
        verdict, _, read, seconds, peak, _ = json.loads(said)
        print(f"1 TB over SFTP: complete {verdict}, {seconds:.2f} s, {read / 1e6:.0f} MB read, {peak} MB of memory")
        begun = time.perf_counter()
        facts = inspect(LocalFile(str(dump)), "vmcore", local=True)
        print(f"1 TB locally:   complete {facts.complete.value}, {time.perf_counter() - begun:.2f} s")
        begun = time.perf_counter()
        opened = ["makedumpfile", "--dump-dmesg", str(dump), str(folder / "log")]
        subprocess.run(opened, check=False, capture_output=True, timeout=600)
        print(f"makedumpfile:   {time.perf_counter() - begun:.2f} s to open the same file")


if __name__ == "__main__":
    main()
