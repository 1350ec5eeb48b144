"""The pages about databases, followed from top to bottom: each block of shell lines is run as it stands there, on a
machine where the server is where Debian has it. Before each one stands what would have led to it.
"""

import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.end_to_end.aging import copied_to, moment_of
from tests.end_to_end.command import JOB, PICKUP, Code, Site
from tests.servers.ftpd import certificate
from tests.servers.mariadb import forget_template, mariadb
from tests.servers.postgres import PASSWORD, PostgresServer, postgres_server
from tests.servers.running import not_for_this_user
from tests.test_docs import DOCS, examples_of

_IN_ITS_OWN_SPACE = """
mkdir -p "$2"
mount --bind "$1" "$2"
mount --bind "$3" /etc/hosts
shift 3
exec "$@"
"""


class Machine:
    """A machine on which root runs what a page says, block by block, and a server's socket is at its usual place."""

    def __init__(self, site: Site, work: Path, page: str, sockets: Path, place: str, **hosts: str) -> None:
        if os.geteuid() != 0:
            not_for_this_user("only root can put a server's socket at its usual place")
        self.site, self.work = site, work
        self._blocks = (each.text for each in examples_of(DOCS / "how-to" / page) if each.language == "sh")
        (site.folder / "home").mkdir()
        lines = [f"{address} {name}.example.org" for name, address in hosts.items()]
        (site.folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        (work / "bin").mkdir()
        self._program("pickup.py", f'exec {shlex.join([sys.executable, str(PICKUP), "-c", str(site.config)])} "$@"')
        self._program("sudo", 'test "$1" = -u\nexec runuser -u "$2" -- "${@:3}"')
        site.prefix = ["unshare", "--mount", "sh", "-ec", _IN_ITS_OWN_SPACE, "sh"]
        site.prefix += [str(sockets), place, f"{site.folder}/hosts"]
        site.env = {"PATH": f"{work}/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": f"{site.folder}/home"}

    def _program(self, name: str, script: str) -> None:
        path = self.work / "bin" / name
        path.write_text(f"#!/bin/bash\nset -e\n{script}\n")
        path.chmod(0o755)

    def run(self, script: str) -> str:
        """Run some lines of shell, each of which has to go well, and give what they print."""
        command = [*self.site.prefix, "bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(
            command, env=self.site.env, cwd=self.work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout}"
        return done.stdout

    def follow(self, start: str, **replaced: str) -> str:
        """Run the page's next block, which begins with these words, and give what it prints. What is written there as
        a key of `replaced` stands for its value.
        """
        block = next(self._blocks)
        assert block.startswith(start)
        for text, real in replaced.items():
            assert text in block
            block = block.replace(text, real)
        return self.run(block)

    def see_that_all_was_followed(self) -> None:
        assert list(self._blocks) == []


@pytest.fixture
def work() -> Iterator[Path]:
    """A folder where the user postgres can read what root has written."""
    with tempfile.TemporaryDirectory(prefix="pickup-page-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def debian_postgres(port: int = 5432) -> Iterator[PostgresServer]:
    """Run a server that is set up as Debian does it, but for the user postgres having a password too. It has an address
    of its own, so that no other server has its port.
    """
    chance = random.SystemRandom()
    address = f"127.{chance.randint(1, 254)}.{chance.randint(1, 254)}.{chance.randint(1, 254)}"
    with postgres_server(options=[f"-cport={port}", f"-clisten_addresses={address}"]) as started:
        server = replace(started, host=address, port=port)
        (server.folder / "data/pg_hba.conf").write_text("local all all peer\nhost all all all scram-sha-256\n")
        server.query("SELECT pg_reload_conf()")
        yield server


def test_the_page_about_postgresql(site: Site, work: Path) -> None:
    """Debian's set-up with no option at all, another server, a password of ~/.pgpass, one database and one table."""
    with debian_postgres() as here, debian_postgres(5433) as there:
        machine = Machine(site, work, "back-up-postgresql.rst", here.folder, "/run/postgresql", db2=there.host)
        for name, orders in (("shop", "(1, 'tea')"), ("customer_1", "(7, 'jam')"), ("other", None)):
            here.create(name)
            if orders:
                here.query(
                    f"CREATE TABLE orders (id int, what text); INSERT INTO orders VALUES {orders}", database=name
                )

        def drop(*names: str) -> None:
            for name in names:
                here.drop(name)

        def ordered(database: str, server: PostgresServer = here) -> str:
            ((what,),) = server.query("SELECT what FROM orders", database=database)
            return str(what)

        site.configure([{"name": "main", "profile": "postgres"}])
        machine.follow("sudo -u postgres psql <<'EOF'\nCREATE ROLE pickup")
        machine.follow("sudo -u postgres psql <<'EOF'\nCREATE ROLE backup")
        assert here.query("SELECT rolbypassrls FROM pg_roles WHERE rolname = 'backup'") == [(True,)]
        assert "shop" in machine.follow("pickup.py check")
        site.backup()

        drop("shop", "customer_1", "other")
        there.query(f"CREATE ROLE root SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
        passwords = site.folder / "home/.pgpass"
        passwords.write_text("db2.example.org:5433:*:root:" + PASSWORD.replace("\\", "\\\\").replace(":", "\\:") + "\n")
        passwords.chmod(0o600)
        said = machine.follow("pickup.py restore --into-server --only main\npickup.py restore")
        assert "PostgreSQL at host db2.example.org, port 5433, as role 'root'" in said
        assert ordered("shop") == ordered("shop", there) == "tea"

        drop("shop", "customer_1", "other")
        machine.follow("pickup.py restore --into-server --only main\nsudo -u postgres vacuumdb")
        assert ordered("customer_1") == "jam"

        here.query("UPDATE orders SET what = 'coffee'", database="shop")
        machine.follow("pickup.py restore --into-server --only main/shop.sql --overwrite")
        assert ordered("shop") == ordered("shop_yesterday") == "tea"

        drop("shop_yesterday")
        here.query("DROP TABLE orders", database="shop")
        machine.follow("pickup.py restore --into-server --only main/shop.sql --as shop_yesterday\nsudo")
        assert ordered("shop") == "tea"

        drop("shop_yesterday")
        here.query("CREATE ROLE root SUPERUSER LOGIN")
        site.configure([{"name": "main", "profile": "postgres", "config": {"format": "custom"}}])
        site.backup()
        machine.follow("pickup.py restore --only main/shop.dump", **{"/tmp/restored": f"{work}/restored"})
        assert ordered("other") == "tea"

        machine.run(
            "pickup.py restore --to all && mv all/postgres/main/* . && pg_restore --create -f shop.sql shop.dump"
        )
        drop("shop", "customer_1")
        assert 'role "postgres" already exists' in machine.follow("psql -X postgres < globals.sql")
        assert (ordered("shop"), ordered("customer_1")) == ("tea", "jam")
        machine.see_that_all_was_followed()


@pytest.mark.parametrize("name", ["db.example.org", "db.example.com"])
def test_postgresql_from_another_machine_is_believed_by_its_certificate_alone(
    site: Site, work: Path, name: str
) -> None:
    """The entry of the page as it stands there, to a server that has the right certificate, and to one that has not."""
    with debian_postgres() as server, tempfile.TemporaryDirectory() as folder:
        page = "back-up-postgresql.rst"
        machine = Machine(site, work, page, server.folder, "/run/postgresql", db=server.host)
        made = certificate(Path(folder), name)
        for setting, text in (("ssl_cert_file", made.read_text()), ("ssl_key_file", made.read_text())):
            file = server.folder / setting
            file.write_text(text)
            file.chmod(0o600)
            shutil.chown(file, "postgres")
            server.query(f"ALTER SYSTEM SET {setting} = '{file}'")
        server.query("ALTER SYSTEM SET ssl = on")
        (server.folder / "data/pg_hba.conf").write_text("local all all peer\nhostssl all all all scram-sha-256\n")
        server.query("SELECT pg_reload_conf()")
        machine.follow("sudo -u postgres psql <<'EOF'\nCREATE ROLE pickup")
        machine.follow("sudo -u postgres psql", **{"GRANT CONNECT ON DATABASE shop TO backup;\n": ""})
        (site.folder / "home/.postgresql").mkdir()
        (site.folder / "home/.postgresql/root.crt").write_text(
            made.read_text().partition("-----END PRIVATE KEY-----")[2]
        )
        (site.folder / "backup.password").write_text("correct-horse-battery\n")
        (site.folder / "backup.password").chmod(0o600)
        site.canaries.append("correct-horse-battery")
        (entry,) = (each.text for each in examples_of(DOCS / "how-to" / page) if "verify-full" in each.text)
        site.configure(Code("GENERATORS"), head=entry)
        if name == "db.example.org":
            site.backup()
            assert list((site.backups / JOB).glob("*/postgres/main/postgres.sql*"))
        else:
            said = site.run("-q", status=2).err
            assert 'server certificate for "db.example.com" does not match host name "db.example.org"' in said
            assert not site.names()


@contextmanager
def _forgetting() -> Iterator[None]:
    """Remove what a server was made from when it has ended."""
    try:
        yield
    finally:
        forget_template()


def test_the_page_about_mariadb(site: Site, work: Path) -> None:
    """Debian's set-up with no option at all, the users for backups, one database and one table."""
    with _forgetting(), mariadb() as server:
        machine = Machine(site, work, "back-up-mysql.rst", server.folder, "/run/mysqld")
        (server.folder / "mysqld.sock").symlink_to("s.sock")
        server.run("CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY, what TEXT)",
                   "INSERT INTO shop.orders VALUES (1, 'tea')")  # fmt: skip

        def ordered(table: str = "shop.orders") -> str:
            ((what,),) = server.rows(f"SELECT what FROM {table}")
            return str(what)

        site.configure([{"name": "databases", "profile": "mysql"}])
        assert "shop" in machine.follow("pickup.py check")
        name = site.backup()
        last_week = moment_of(name) - timedelta(days=7)
        copied_to(last_week, site.backups / JOB / name)

        for words in ("unix_socket", "PASSWORD", "ON `shop`.*"):
            machine.follow("mariadb <<'SQL'\nCREATE USER pickup@localhost")
            assert words in str(server.rows("SHOW GRANTS FOR pickup@localhost"))
            server.run("DROP USER pickup@localhost")
        machine.follow("install --mode=600", **{"/etc/pickup": str(work)})
        server.run("CREATE USER pickup@localhost IDENTIFIED BY 'correct horse'")
        assert "pickup@localhost" in machine.run("mariadb --defaults-file=mysql.cnf --execute='SELECT current_user()'")

        server.run("DROP DATABASE shop")
        accident = f"{last_week + timedelta(hours=1):%Y-%m-%dT%H:%M+00:00}"
        machine.follow("pickup.py restore --only databases/shop.sql --into-server", **{"2026-11-17 18:00": accident})
        assert ordered() == "tea"

        for command in ("pickup.py restore --only databases/shop.sql --to", "sed 1d"):
            server.run("UPDATE shop.orders SET what = 'coffee'")
            machine.follow(command, **{"/tmp/restored": f"{work}/restored"})
            assert ordered() == "tea"

        machine.follow("pickup.py restore --only databases/shop.sql --into-server --as shop_yesterday")
        assert ordered("shop.orders_yesterday") == "tea"

        server.run("DROP DATABASE shop")
        machine.follow("pickup.py restore --only databases --into-server")
        assert ordered() == "tea"
        machine.see_that_all_was_followed()
