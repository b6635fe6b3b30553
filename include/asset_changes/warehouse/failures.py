"""What an error of the driver means: WarehouseRefused or WarehouseUnavailable, and which is tried again at once.

By SQLSTATE wherever there is one: the server's words may be in any language.
"""

import re

import psycopg
from sqlalchemy.exc import DBAPIError

from asset_changes.errors import WarehouseRefused, WarehouseUnavailable

# Serialization failure and deadlock: Postgres rolled back, and the same work may go through now.
_COLLISIONS = ("40001", "40P01")
_CHECK_VIOLATION = "23514"
# Connection exceptions, a standby that is not the primary yet, insufficient resources, operator intervention, system
# errors.
_TRANSIENT = re.compile(r"08|25006|40|53|55P03|57|58")
# A login: user or password, database, right to connect, a database that takes no connections.
_REFUSED_STATES = re.compile(r"28|3D000|42501|55000|0A000")
_NOT_SUPPORTED = "0A000"
# Where there is no code: libpq's own words, which are always in English, and a server's in that language.
_REFUSED_LOGIN = re.compile(
    r"password authentication failed|no pg_hba\.conf entry|pg_hba\.conf rejects|authentication failed for user"
    r"|permission denied for database|(role|database) .* does not exist|is not permitted to log in"
    r"|no password supplied|password retrieved from file|authentication method .* not supported"
    r"|authentication method requirement .* failed|channel binding|SSL was required|GSSAPI encryption (was )?required"
    r"|certificate|private key file|sslmode|invalid (connection option|URI|port number|integer value)|service file"
    r"|requirepeer specifies"
)
# PgBouncer's own words, which it does not translate; up to 1.22 it has one SQLSTATE, 08P01, for all of them.
_STATES_OF_POOLER = re.compile(r"08|28|3D000|53|57|25")
_POOLER_REFUSES = {
    r"unsupported startup parameter": "Set ignore_startup_parameters in its configuration to what it names.",
    r"no such database|a database is required": "Add the database to its configuration.",
    r"database \"?\S+\"? is disabled": "Somebody disabled the database there: run ENABLE in its console.",
    r"no such user|SASL authentication failed|\"trust\" authentication failed|login rejected"
    r"|PAM authentication failed|certificate authentication failed|^password authentication failed$"
    r"|FATAL:  password authentication failed$": "Correct user and password, there or in the connection.",
    r"server login failed|cannot do (SCRAM|MD5) authentication|server refused SSL": "It cannot log in to the server "
    "itself: correct the user, password or TLS that it uses there.",
    r"SSL required|TLS (connection|client certificate) required": "Add sslmode=require to the connection's extras.",
    r"statement pooling mode": "Set pool_mode to transaction or session for this database.",
    r"bouncer config error|auth_query": "Correct its configuration.",
}
_POOLER_IS_BUSY = re.compile(
    r"query_wait_timeout|client_login_timeout|client_idle_timeout|query timeout|idle transaction timeout"
    r"|idle_transaction_timeout|no more connections allowed|server login has been failing|server_login_retry"
    r"|(pgbouncer )?cannot connect( to server)?$|server conn crashed|connect timeout|server idle timeout"
    r"|terminating connection due to administrator command \(pgbouncer\)|pooler is shut|database .* is (paused|closed)"
    r"|FATAL:  database removed$|^database removed$|server DNS lookup failed"
)


def is_collision(error: BaseException) -> bool:
    """Whether Postgres gave the transaction up for another one, so that the same work may go through now.

    A partition that was attached while rows were on their way into the default one is such a case: it fails a check
    without a name, and those of our tables have names.
    """
    if not isinstance(error, DBAPIError) or not isinstance(error.orig, psycopg.Error):
        return False
    state = error.orig.sqlstate
    return state in _COLLISIONS or (state == _CHECK_VIOLATION and not error.orig.diag.constraint_name)


def is_refused_login(state: str) -> bool:
    """Whether a server that answers a login with this SQLSTATE will go on doing so."""
    return bool(_REFUSED_STATES.match(state))


def is_understood(words: str) -> bool:
    """Whether the words of an error without a SQLSTATE say enough."""
    return bool(_REFUSED_LOGIN.search(words) or _of_pooler(words.splitlines()))


def warehouse_error(error: DBAPIError) -> WarehouseRefused | WarehouseUnavailable:
    """Return ours for an error of the driver: what happened, where, and what to do next."""
    state = getattr(error.orig, "sqlstate", None) or ""
    lines = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
    if (not state or _STATES_OF_POOLER.match(state)) and (found := _of_pooler(lines)):
        return found
    is_connecting = error.statement is None
    refused = next((line for line in lines if _REFUSED_LOGIN.search(line)), None) if not state else None
    if is_connecting and (refused or is_refused_login(state)):
        reason = f"{state} {refused or lines[0]}".strip()
        return WarehouseRefused(
            f"The warehouse refuses the login ({reason}). Correct user, password and "
            "database of connection warehouse_default, or what the server allows (pg_hba.conf, TLS, CONNECT)."
        )
    if error.statement == "BEGIN" and state == _NOT_SUPPORTED:  # READ WRITE, on a standby
        return WarehouseUnavailable(
            f"The warehouse's server is a standby, which is read only ({lines[0]}). If this lasts, name the primary in "
            "connection warehouse_default, or all hosts with the extra target_session_attrs=read-write."
        )
    if error.connection_invalidated or not state or _TRANSIENT.match(state) or is_collision(error):
        return WarehouseUnavailable(
            f"The warehouse does not answer or gave up ({lines[0]}). Check "
            "the database behind connection warehouse_default if this lasts."
        )
    return WarehouseRefused(
        f"The warehouse refuses a statement ({state}: {lines[0]}). Check the rights "
        "of the warehouse's user (docs/security.md lists them) and whether its tables were changed by hand."
    )


def _of_pooler(lines: list[str]) -> WarehouseRefused | WarehouseUnavailable | None:
    for line in lines:
        for words, next_step in _POOLER_REFUSES.items():
            if re.search(words, line):
                return WarehouseRefused(
                    f"The connection pooler (PgBouncer) in front of the warehouse refuses ({line}). {next_step}"
                )
    for line in lines:
        if _POOLER_IS_BUSY.search(line):
            return WarehouseUnavailable(
                f"The connection pooler (PgBouncer) in front of the warehouse gave up ({line}). "
                "Check its pool sizes and timeouts, and the database behind it, if this lasts."
            )
    return None
