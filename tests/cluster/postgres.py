"""A PostgreSQL server at a port of its own, with one database and one user who needs a password."""

from pathlib import Path

import psycopg
from local_stack.postgres import EmbeddedPostgres
from psycopg import sql


class TcpPostgres:
    """The wheel's server, as a host among others would reach it."""

    def __init__(self, folder: Path, *, port: int, user: str, password: str, database: str) -> None:
        self._server = EmbeddedPostgres(folder, durable=False)
        self._port, self._user, self._password, self._database = port, user, password, database

    @property
    def programs(self) -> Path:
        """The folder of `pg_isready`."""
        return self._server.psql.parent

    def start(self) -> None:
        """Make the user and the database, then come up at the port."""
        self._server.start()
        with psycopg.connect(host=str(self._server.socket_dir), user="postgres", autocommit=True) as connection:
            user, database = sql.Identifier(self._user), sql.Identifier(self._database)
            statements = (
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(user, sql.Literal(self._password)),
                sql.SQL("CREATE DATABASE {} OWNER {}").format(database, user),
                sql.SQL("ALTER SYSTEM SET listen_addresses = '127.0.0.1'"),
                sql.SQL("ALTER SYSTEM SET port = {}").format(sql.Literal(self._port)),
            )
            for statement in statements:
                connection.execute(statement)
            [rules] = connection.execute("SHOW hba_file").fetchone() or [""]
        self._server.stop()
        Path(rules).write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        self._server.start()

    def remove(self) -> None:
        """Stop, and delete the data."""
        self._server.remove()
