"""The serial console: a line to the host, its recording, SysRq by BREAK, and a person at it."""
