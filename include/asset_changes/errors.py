"""Everything that can go wrong, as one tree.

    AssetChangesError
    ├── TerminalError                a person must change something; the same call fails again
    │   ├── ConfigurationError         a setting, parameter or Variable has a value out of range
    │   ├── CredentialsRefused         Getty does not accept the API key, secret or token
    │   ├── AccessDenied               the account may not do this (403 that is not about rate)
    │   ├── UnknownChannel             Getty does not know the channel (400 or 404 on PUT)
    │   ├── UnexpectedRedirect         a redirect to another host, or too many of them
    │   ├── RequestRefused             any other answer that would be the same again
    │   ├── UnreadableChangeSet        the body's structure is not understood
    │   ├── UnreadableLookup           the structure of an answer about assets is not understood
    │   ├── CanariesNotFound           Getty finds too few of the assets that it must find
    │   ├── SchemaMismatch             the warehouse's schema is not the one of this code
    │   ├── WarehouseRefused           the warehouse does not take a login or a statement
    │   ├── HoldingsRefused            a list of held assets is not what it should be
    │   ├── StoreRefused               a store of files is not what it should be, or may not be listed
    │   ├── PurgeRefused               no dry run before, or a plan that may not be carried out
    │   ├── PurgeIncomplete            files that must go are still there
    │   ├── ArchiveDamaged             an object in the archive is not what was written
    │   └── NotLoaded                  a confirmation was asked for a set that is not loaded
    └── TransientError               the same call may work later
        ├── ApiUnavailable             no answer, 408, 5xx, a cut or garbled body
        ├── RateLimited                429, or 403 that speaks of rate
        ├── WarehouseUnavailable       the warehouse does not answer, or gave up a transaction
        ├── ArchiveUnavailable         the archive cannot be read or written
        │   └── ArchiveObjectMissing     the archive has no object where one is expected
        ├── StoreUnavailable           a store of files does not answer
        └── NotificationFailed         the watchdog could not notify somebody, or not check everything

Each message is the fact: what happened, and where. None contains a secret. What to do next is said once, with the
class; the chapter "Errors" of docs/operations.md is generated from here.
"""

from typing import ClassVar


class AssetChangesError(Exception):
    """The root of the tree; never raised itself. `next_step` is what a person does about it."""

    next_step: ClassVar[str] = "Open the task's log: its last line says what happened and what to do."


class TerminalError(AssetChangesError):
    """A person must change something before the same call can work."""


class ConfigurationError(TerminalError):
    """A setting, a parameter or the Variable `asset_changes_channels` has a value that cannot be used.

    The message names it and what is allowed.
    """

    next_step = "Correct what it names, then trigger the DAG again; a changed environment needs a restart of Airflow."


class CredentialsRefused(TerminalError):
    """Getty does not accept the API key, the secret or a token that was fresh."""

    next_step = (
        "Correct the connection and press Test there, then trigger the DAG again. If it worked "
        "yesterday, ask Getty whether the key was renewed."
    )


class AccessDenied(TerminalError):
    """The account may not do this.

    The credentials are right, but Asset Changes is an agreement of its own, and lookups of metadata may be one.
    """

    next_step = "Ask Getty's sales team to give this account what the message names, then trigger the DAG again."


class UnknownChannel(TerminalError):
    """Getty does not know the channel.

    It may have been removed: see [vanished](#vanished).
    """

    next_step = "Trigger asset_changes_discovery: it asks Getty which channels there are."


class UnexpectedRedirect(TerminalError):
    """The API answered with a redirect that must not be followed.

    It leads to another host, or in circles. It is not followed: the key would go along.
    """

    next_step = "Correct host or token URL of the connection, or the proxy in between; then trigger the DAG again."


class RequestRefused(TerminalError):
    """Getty refused the request, and would refuse it again.

    The message contains the status and Getty's error code.
    """

    next_step = "Look the status and the code up in the release notes of Getty's API, or ask Getty."


class UnreadableChangeSet(TerminalError):
    """The structure of a body is not understood; it is archived, and nothing is confirmed.

    The list of assets has a name that is not known, say, or none of many messages has an id, a lifecycle or a
    time. The archive has it with the others (`...unreadable.gz`), so nothing is lost.
    Should another consumer have confirmed it meanwhile, a replay reads it once the code understands it: of its
    span, or of an open finding. What is still not understood makes a replay of its span red until a person
    dismisses the finding.
    """

    next_step = "Read it, teach `parsing.py` the new structure and deploy it: Getty hands the same set out again."


class UnreadableLookup(TerminalError):
    """The structure of an answer about assets is not understood: no asset was taken for found or not found.

    Neither the list of found assets nor that of those not found has a name that is known. The feed is not affected.
    """

    next_step = "Teach `lookup_answer.py` the new structure and deploy it; what was asked stays queued until then."


class CanariesNotFound(TerminalError):
    """Getty finds fewer than half of the assets that it must find, so its answers about others are not believed.

    No verdict is written. The reconciliation stays open. Each run asks about other assets, drawn by chance from those
    that are live or were found lately, and the reconciliation continues once Getty finds half of them.
    """

    next_step = (
        "Look one of the named assets up on gettyimages.com. If it is there, ask Getty why the API does not find it "
        "for this key; the next run tries again."
    )


class SchemaMismatch(TerminalError):
    """The warehouse's schema is older or newer than this code, or lacks a part of it.

    It is found before anything is fetched.
    """

    next_step = (
        "Trigger asset_changes_discovery, which migrates; if the warehouse is the newer one, deploy the newer code. "
        "What somebody removed must be brought back: the message names it."
    )


class WarehouseRefused(TerminalError):
    """The warehouse, or a pooler in front of it, does not take a login or a statement.

    User or password, TLS, `pg_hba.conf`, rights, a table changed by hand, a full quota. The message contains
    Postgres' own words, and the commands to run where rights are missing
    ([security.md](security.md#the-warehouses-user)).
    """

    next_step = (
        "Correct what Postgres complains of: login, rights, a changed table, a quota. Then trigger the DAG again."
    )


class HoldingsRefused(TerminalError):
    """A list of held assets is not imported: it cannot be read as one, or it would end too many of its source.

    Nothing was changed. The message names the columns that there are, or the number that `accept_shrink` would need.
    """

    next_step = (
        "Correct the list, or its `uri` and `column` in ASSET_CHANGES_HOLDINGS. If so many assets are really gone, "
        "trigger asset_changes_holdings with `source` and, as `accept_shrink`, the number in the message."
    )


class StoreRefused(TerminalError):
    """A store of files is not what ASSET_CHANGES_FILE_STORES says, or may not be listed.

    The folder is missing or empty, as where a share is not mounted; the bucket does not exist; the account may not
    list its versions. Nothing was deleted from it.
    """

    next_step = (
        "Mount the share, or correct the store's `uri`, connection or rights as [file_stores.md](file_stores.md) says; "
        "then trigger asset_changes_purge again."
    )


class PurgeRefused(TerminalError):
    """No file is deleted: the settings were not tried by a dry run, or the plan may not be carried out.

    A plan may be carried out if no limit is exceeded or a person approved it, within 72 hours, and under the settings
    under which it was made.
    """

    next_step = (
        "Without a dry run: trigger asset_changes_purge with `dry_run`, read its plan, then trigger it again. In any "
        "other case trigger it again: it makes a new plan."
    )


class PurgeIncomplete(TerminalError):
    """Some files that must go are still there; each has a receipt with its error, or its store did not answer.

    Everything else of the plan was deleted.
    """

    next_step = (
        "Look at the errors: missing rights, an object lock, a store that is down. The next run tries again, with the "
        "same plan where a store failed in the middle. What must stay gets a hold or a waiver, by asset_changes_hold."
    )


class ArchiveDamaged(TerminalError):
    """An object in the archive is not what was written: cut, emptied or overwritten.

    A set that Getty still hands out is archived anew once the object is removed; one that is loaded already is
    complete in the warehouse. A replay loads all other sets of its span before it ends with this error; its log
    names each that it could not read.
    """

    next_step = (
        "Bring the object back from a backup. Where there is none, remove it. Then find out what else writes into the "
        "archive."
    )


class NotLoaded(TerminalError):
    """A confirmation was asked for a change set whose load is not committed.

    So it is when `confirm` is cleared alone.
    """

    next_step = "Clear the task `load`, or leave it to the next run."


class TransientError(AssetChangesError):
    """The same call may work later.

    `retry_after` is what an answer's `Retry-After` asks for, in seconds, if it has one.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ApiUnavailable(TransientError):
    """Getty did not answer, or not with something whole.

    It was tried again for a minute. Where the message speaks of clocks, run `SELECT now()` in the warehouse: it is
    a day or more behind the `Date` of Getty's answers, so it is not known what is new and what is old.
    """

    next_step = (
        "Wait: the next run tries again, and nothing is lost. If it lasts, check Getty's status "
        "page, then your own proxy and DNS."
    )


class RateLimited(TransientError):
    """Getty asks for fewer calls.

    The limit belongs to the account, whoever uses its key.
    """

    next_step = (
        "Wait: the next run tries again. If it lasts, find what else uses this key, or give the channels rarer or "
        "staggered schedules."
    )


class WarehouseUnavailable(TransientError):
    """The warehouse does not answer, or rolled a transaction back that may work on another try."""

    next_step = "Look whether the database is up and has connections left; the next run tries again by itself."


class ArchiveUnavailable(TransientError):
    """The archive cannot be read or written.

    Nothing is loaded that is not archived first.
    """

    next_step = "Look for a full disk, missing rights or an unreachable store; the next run tries again by itself."


class ArchiveObjectMissing(ArchiveUnavailable):
    """The archive has no object where one is expected; a store that is shared may show it later."""

    next_step = (
        "Bring the object back from a backup of the archive. Where there is none: a set that Getty still hands out is "
        "archived anew by the next run; for any other, trigger asset_changes_watch with the address as `dismiss`."
    )


class StoreUnavailable(TransientError):
    """A store of files does not answer, or asks for fewer calls.

    What was deleted before has its receipt; nothing of the rest was taken for gone.
    """

    next_step = "Wait: the next run tries again. If it lasts, look at the share or at the status of the store."


class NotificationFailed(TransientError):
    """The watchdog could not notify somebody, or could not check everything.

    All other alerts went out.
    """

    next_step = (
        "Test the connection of the notifier, or look for an unreachable archive: the message says which. The next "
        "watch tries again by itself."
    )


NotTold = NotificationFailed
"""Its name until 1.1, for whoever catches it by that."""


def error_named(name: object) -> type[AssetChangesError]:
    """Return the class of this name, or the root of the tree where there is none."""
    found = globals().get(str(name))
    return found if isinstance(found, type) and issubclass(found, AssetChangesError) else AssetChangesError
