"""Everything that can go wrong, as one tree.

    AssetChangesError
    ├── TerminalError                a person must change something; the same call fails again
    │   ├── ConfigurationError         a setting, parameter or Variable has a value out of range
    │   ├── CredentialsRefused         Getty does not accept the API key, secret or token
    │   ├── AccessDenied               the account may not do this (403 that is not about rate)
    │   ├── UnknownChannel             Getty does not know the channel (400 or 404 on PUT)
    │   ├── UnexpectedRedirect         a redirect to another host, or too many of them
    │   ├── RequestRefused             any other answer that another try cannot mend
    │   ├── UnreadableChangeSet        the body's structure is not understood
    │   ├── SchemaMismatch             the warehouse's schema is not the one of this code
    │   ├── WarehouseRefused           the warehouse does not take a statement
    │   ├── ArchiveDamaged             an object in the archive is not what was written
    │   └── NotLoaded                  a confirmation was asked for a set that is not loaded
    └── TransientError               the same call may work later
        ├── ApiUnavailable             no answer, 408, 5xx, a cut or garbled body
        ├── RateLimited                429, or 403 that speaks of rate
        ├── WarehouseUnavailable       the warehouse does not answer, or gave up a transaction
        ├── ArchiveUnavailable         the archive cannot be read or written
        └── NotTold                    the watchdog could not tell somebody, or not look everywhere

Each message is a sentence: what happened, where, what to do next. None holds a secret.
"""


class AssetChangesError(Exception):
    """The root of the tree; never raised itself."""


class TerminalError(AssetChangesError):
    """A person must change something before the same call can work."""


class ConfigurationError(TerminalError):
    """A setting, parameter or Variable has a value that cannot be used."""


class CredentialsRefused(TerminalError):
    """Getty does not accept the API key, the secret or a token that was fresh."""


class AccessDenied(TerminalError):
    """The account may not do this."""


class UnknownChannel(TerminalError):
    """Getty does not know the channel."""


class UnexpectedRedirect(TerminalError):
    """The API answered with a redirect that must not be followed."""


class RequestRefused(TerminalError):
    """Getty refused the request for a reason that another try cannot mend."""


class UnreadableChangeSet(TerminalError):
    """The structure of a body is not understood; it is archived, and nothing is confirmed."""


class SchemaMismatch(TerminalError):
    """The warehouse's schema is older or newer than this code."""


class WarehouseRefused(TerminalError):
    """The warehouse does not take a statement: missing rights, a changed table, a full disk quota."""


class ArchiveDamaged(TerminalError):
    """An object in the archive is not what was written: cut, emptied or overwritten."""


class NotLoaded(TerminalError):
    """A confirmation was asked for a change set whose load is not committed."""


class TransientError(AssetChangesError):
    """The same call may work later.

    `retry_after` is what an answer's `Retry-After` asks for, in seconds, if it has one.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ApiUnavailable(TransientError):
    """Getty did not answer, or not with something whole."""


class RateLimited(TransientError):
    """Getty asks for fewer calls."""


class WarehouseUnavailable(TransientError):
    """The warehouse does not answer, or rolled a transaction back that may work on another try."""


class ArchiveUnavailable(TransientError):
    """The archive cannot be read or written."""


class NotTold(TransientError):
    """The watchdog could not tell somebody of an alert, or not look for every condition."""
