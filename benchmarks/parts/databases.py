"""Dumps of databases through Pickup, beside the bare pipeline of the dump program and zstd."""

from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.measuring import PICKUP, Contest, Contestant, Goal, private, shell, size_of
from benchmarks.parts.targets import gone
from tests.servers.mariadb import forget_template, mariadb
from tests.servers.postgres import postgres_server

_ROWS = 4_000_000
_TABLE = "SELECT {n} AS id, md5({text}) AS name, repeat(md5({text}), 2) AS words FROM {series}"
_CONFIG = """
CONFIG_VERSION = (1, 0)
JOB = "bench"
GENERATORS = [dict(name="it", profile={profile!r}, config={config!r})]
TARGETS = [dict(name="disk", profile="folder", config=dict(path="pickup"))]
STAGING_AREA, LOG_FOLDER, STATE_FOLDER, MIN_FREE = "staging", "state", "state", 0
"""


def databases(folder: Path, scale: float) -> Generator[Contest, None, None]:
    """Give a contest for PostgreSQL and one for MariaDB, each with about 435 MB of SQL."""
    rows = int(_ROWS * scale)
    with postgres_server() as server:
        server.create("shop")
        table = _TABLE.format(n="n", text="n::text", series=f"generate_series(1, {rows}) n")
        server.query(f"CREATE TABLE goods AS {table}", database="shop")
        pg_dump = server.programs / "pg_dump"
        login = {"PGHOST": server.host, "PGPORT": str(server.port), "PGUSER": "postgres", "PGPASSWORD": server.password}
        config = server.config(database="shop")
        yield _contest(folder, "pg_dump", f"{pg_dump} shop", "postgres", config, login)
    with ExitStack() as stack:
        stack.callback(forget_template)
        other = stack.enter_context(mariadb())
        other.run("CREATE DATABASE shop")
        table = _TABLE.format(n="seq", text="seq", series=f"seq_1_to_{rows}")
        other.run(f"CREATE TABLE goods AS {table}", database="shop")
        dump = f"mariadb-dump --no-defaults --single-transaction --quick -u root -S {other.socket} shop"
        yield _contest(folder, "mariadb-dump", dump, "mysql", other.config(database="shop"), {})


def _contest(folder: Path, name: str, dump: str, profile: str, config: dict[str, Any], env: dict[str, str]) -> Contest:
    target = folder / "pickup"
    plain = {key: value if isinstance(value, bool | int) else str(value) for key, value in config.items()}
    path = private(folder / f"{profile}.py", _CONFIG.format(profile=profile, config=plain))
    limit = folder / "limit"
    return Contest(
        f"a database, {name}",
        {f"{name} | zstd": Contestant(shell(f"{dump} | zstd -q -3 -T0 > {limit}"), env=env, stored=lambda: size_of(limit)),
         "Pickup": Contestant([*PICKUP, "-c", path, "-q"], stored=lambda: size_of(target),
                              after=gone(target / "bench", folder / "state"))},
        [Goal("Pickup", 1.1, f"{name} | zstd")],
    )  # fmt: skip
