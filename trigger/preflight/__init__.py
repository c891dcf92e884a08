"""Preflight: would the button work? One file per subject; a check is what to read and a pure judgement."""
