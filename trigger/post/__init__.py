"""After the crash: find the dump at its target, wait for it, prove it, read it.

formats.py proves a dump by seeking; landing.py knows what each distribution writes while it dumps; verify.py
says whether a dump is of this host and of this crash; target.py opens the place where it lands; poller.py
watches it.
"""
