"""One file per command; each defines `command`. No decisions are made here: they are below `trigger/`."""
