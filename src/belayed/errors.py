"""Every error of Belayed.

    BelayedError
    ├── ConfigError (ValueError)            a setting is missing or wrong
    ├── EnqueueError                        the job was not saved
    │   ├── OptionError (TypeError)           unknown option, or a value that an option does not take
    │   ├── NotSerializable (TypeError)       an argument has no text form; names the argument and the fix
    │   ├── NotSaved (ValueError)             an argument is a row that is not in its database yet
    │   ├── NotImportable (TypeError)         a worker could not import this function or class
    │   ├── NotTrusted (PermissionError)      this code is outside what workers may run
    │   └── PayloadTooLarge (ValueError)      the arguments are larger than the limit
    ├── PayloadError                        a saved payload cannot be run
    │   ├── BrokenPayload                     it is not what Belayed writes: fails at once
    │   ├── UntrustedPayload                  it names code that workers may not run: fails at once
    │   ├── ObjectNotFound                    a row that it refers to is gone
    │   └── UnknownPayload                    this worker's code does not know it: another worker may
    │       ├── UnknownVersion                  written by a newer Belayed
    │       ├── UnknownTask                     no such task, function or class here
    │       └── SignatureChanged                the arguments do not fit the function any more
    ├── JobNotFound (LookupError)           no such job: never committed, deleted, pruned or not kept
    ├── ResultUnavailable (LookupError)     the job has no result to read (yet)
    │   ├── JobFailed                         it failed; carries the error
    │   └── JobCancelled                      it was cancelled
    ├── WaitTimeout (TimeoutError)          the job did not end in the time given to wait()
    ├── ClaimLost                           the attempt's claim has lapsed; its transaction was rolled back
    ├── NoTerminal (RuntimeError)           breakpoint() in a child process of a worker
    ├── AttemptCrashed                      the process that ran the attempt died; what plugins are told
    └── StoreError                          the database said no; its own error is the cause
        ├── StoreUnavailable                  it cannot be reached: worth trying again
        ├── IdsExhausted                      no id is left for a new job
        ├── SchemaMissing                     its tables are not there: run `belayed migrate`
        └── SchemaNewer                       its tables were made by a newer Belayed

`Retry`, `Fail` and `Cancel` are not errors but answers; they live in belayed.retry. `AttemptStopped`, which ends
an attempt from outside, is a BaseException, so that no `except Exception` in a job swallows it.
"""

from __future__ import annotations

from typing import Literal

Why = Literal["away", "late", "locked", "refused"]


class BelayedError(Exception):
    """Base of all errors of Belayed."""


class ConfigError(BelayedError, ValueError):
    """A setting is missing or wrong. The message names it and says what it takes."""


class EnqueueError(BelayedError):
    """The job was not saved."""


class OptionError(EnqueueError, TypeError):
    """An option is unknown, or its value is none that it takes."""


class NotSerializable(EnqueueError, TypeError):
    """A value has no text form that comes back equal; the message names its path and the fix."""

    def __init__(self, path: str, problem: str, fix: str) -> None:
        super().__init__(f"{path}: {problem}; {fix}")
        self.path = path


class NotSaved(EnqueueError, ValueError):
    """A row that is not in its database yet cannot travel as a reference: save it first."""


class NotImportable(EnqueueError, TypeError):
    """A worker could not import this function or class by its name."""


class NotTrusted(EnqueueError, PermissionError):
    """The code is outside what `configure(trust=…)` lets workers run."""


class PayloadTooLarge(EnqueueError, ValueError):
    """The payload is larger than `payload_limit`: pass a reference (an id, a path) instead."""


class PayloadError(BelayedError):
    """A saved payload cannot be run by this worker."""


class BrokenPayload(PayloadError):
    """The payload is not what Belayed writes. The job fails at once and is kept."""


class UntrustedPayload(PayloadError):
    """The payload names code that workers may not run. The job fails at once and is kept."""


class ObjectNotFound(PayloadError):
    """A row that the payload refers to is not in its database any more."""


class UnknownPayload(PayloadError):
    """This worker's code does not know the payload; the job goes back, uncharged, for another worker."""


class UnknownVersion(UnknownPayload):
    """The payload was written by a newer version of Belayed."""


class UnknownTask(UnknownPayload):
    """The task, function or class does not exist in this worker's code."""


class SignatureChanged(UnknownPayload):
    """The saved arguments do not fit the function's signature (any more, or yet)."""


class JobNotFound(BelayedError, LookupError):
    """No such job: its transaction never committed, or it was deleted, pruned or not kept."""


class ResultUnavailable(BelayedError, LookupError):
    """The job has no result to read: it has not ended, or its result could not be stored."""


class JobFailed(ResultUnavailable):
    """The job failed. `error_type` and `message` are those of its last attempt."""

    def __init__(self, text: str, error_type: str | None = None, message: str | None = None) -> None:
        super().__init__(text)
        self.error_type = error_type
        self.message = message


class JobCancelled(ResultUnavailable):
    """The job was cancelled, so there is no result."""


class WaitTimeout(BelayedError, TimeoutError):
    """The job did not end within the time given to wait()."""


class ClaimLost(BelayedError):
    """The attempt's claim on the job has lapsed: what current_job().transaction() wrote was rolled back."""


class AttemptCrashed(BelayedError):
    """The process that ran the attempt died. Plugins get it as the error: there is no other."""


class NoTerminal(BelayedError, RuntimeError):
    """A job has called breakpoint() in a child process, which has no terminal: `belayed work --processes 0` has one."""


class StoreError(BelayedError):
    """The database refused a statement. Its own error is the `__cause__`."""

    of_hint = False
    """Whether it only refused to wake workers (NOTIFY)."""
    denied = False
    """Whether the role has not the right to do that."""
    again = False
    """If so, whether all of the transaction is undone, so that it may be asked for again without the hint."""


class StoreUnavailable(StoreError):
    """The database cannot be reached. `uncertain` says that a COMMIT may or may not have been carried out."""

    def __init__(self, message: str, *, uncertain: bool = False, why: Why = "away") -> None:
        super().__init__(message)
        self.uncertain = uncertain
        self.why: Why = why
        """`away`: nothing can be written; `late`: no answer came in time; `locked`, `refused`: the database is there,
        and may take something else."""


class IdsExhausted(StoreError):
    """No id is left for a new job: a row has the last one, or was given it once."""

    def __init__(self) -> None:
        super().__init__(
            "no id is left for a new job: the counter of the ids is at its end, most likely because somebody wrote "
            "a row with a very large id; `belayed doctor` says how to set it back"
        )


class SchemaMissing(StoreError):
    """Belayed's tables are not there, or older than this version needs: run `belayed migrate`."""


class SchemaNewer(StoreError):
    """Belayed's tables were made by a newer version. Upgrade this one; it will not touch them."""


class AttemptStopped(BaseException):
    """Raised inside an attempt that is stopped from outside; `outcome` is `timed out`, `cancelled` or `interrupted`."""

    def __init__(self, outcome: str = "interrupted", reason: str = "") -> None:
        super().__init__(reason or outcome)
        self.outcome = outcome
