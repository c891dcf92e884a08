"""The real program, but that a host which runs the same boot need not do so for 20 s to be proved unharmed."""

import sys

import trigger.verdict

if __name__ == "__main__":
    trigger.verdict.SAME_BOOT_PROOF_S = 1.0
    from trigger.cli import main

    sys.exit(main())
