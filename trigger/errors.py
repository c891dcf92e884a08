"""Every error that ends a command, with its exit code.

TriggerError
├── ConfigError (3)        configuration, host, driver or ability is wrong
├── NotReady (4)           preflight says that no dump would result, or the power is off
├── GuardRefused (5)       a rule, a lock, an open fire, identity, or the operator said no
├── DriverError (6)        unreachable, login failed, or refused by every route
│   ├── LoginFailed        the controller did not let us in; nothing was sent
│   ├── Unreachable        no answer before a login; nothing was sent
│   ├── ConsoleBusy        somebody else has the console; they were not disturbed
│   ├── Untrusted          unknown or changed certificate or host key; nobody logged in
│   └── Refused            the controller proved that it did nothing
├── OutcomeUnknown (7)     the request left, no answer, nothing was seen until the deadline
├── NoCrash (8)            positive proof that it had no effect
├── NoDump (9)             it crashed, and it is proved that no complete dump will come
└── Pending (10)           sent; the dump is being written, or cannot be read from here

1 to 6 mean that nothing was delivered. 7 to 10 exist only once `Firing` is durable.
"""

from __future__ import annotations


class TriggerError(Exception):
    """The root. `message` is a whole sentence; `next_step` is what a tired person should do or type now."""

    exit_code = 1

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step


class ConfigError(TriggerError):
    """The configuration, the host's name, a driver or an ability is wrong. Nothing was sent."""

    exit_code = 3


class NotReady(TriggerError):
    """No dump would result: preflight says so, or the power is off. Nothing was sent."""

    exit_code = 4


class GuardRefused(TriggerError):
    """A rule refused. `rule` is its name; `next_step` is the exact command that would go on, if any may."""

    exit_code = 5

    def __init__(self, message: str, *, rule: str, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.rule = rule


class DriverError(TriggerError):
    """The controller could not be used. Nothing was delivered."""

    exit_code = 6


class Unreachable(DriverError):
    """No answer before a login was complete. Nothing was sent."""


class Untrusted(DriverError):
    """The controller's certificate or host key is unknown or has changed. Nobody logged in, nothing was sent.

    `fingerprint` is the SHA-256 that was shown, in hex (SSH: as OpenSSH prints it); `rule` is what --override takes.
    """

    rule = "tls-changed"

    def __init__(self, message: str, *, fingerprint: str, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.fingerprint = fingerprint


class LoginFailed(DriverError):
    """The controller did not let us in. Nothing was sent.

    `rejected` is true when the account itself was rejected (wrong name or password): such a login is never
    tried again in the same run, because it could lock a shared account.
    """

    def __init__(self, message: str, *, rejected: bool = False, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.rejected = rejected


class ConsoleBusy(DriverError):
    """Somebody else has the console, and was not disturbed. The message names them where the controller tells."""


class Refused(DriverError):
    """The controller answered that it did nothing, with an answer from the allow-list of docs/drivers.md.

    The only error that a method which sends may raise to say "not delivered"; every other exception that
    leaves such a method means that the outcome is unknown.
    """


class OutcomeUnknown(TriggerError):
    """The request left and nothing is known of what became of it."""

    exit_code = 7


class NoCrash(TriggerError):
    """Positive proof that the shot had no effect."""

    exit_code = 8


class NoDump(TriggerError):
    """The host crashed, and it is proved that no complete dump will come."""

    exit_code = 9


class Pending(TriggerError):
    """Sent; the dump is being written, cannot be read from here, or watching was stopped."""

    exit_code = 10
