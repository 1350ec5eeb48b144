"""Users, roles and grants, for the profile `mysql`: what our own user may do, and statements that make them elsewhere.

A dump of the database `mysql` would fit only a server of the same version. So the server is asked for each account.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from generator_profiles._mysql_server import Server, quoted, reason

log = logging.getLogger("pickup.mysql")

_ROOTS = tuple(("root", host) for host in ("localhost", "127.0.0.1", "::1"))  # which every server has, as it wants
_NO_ACCOUNT = (1133, 1141, 1396)
_NAME = r"`(?:[^`]|``)*`"
_GRANT = re.compile(rf"GRANT (.+) ON (?:TABLE )?(\*|{_NAME})\.(\*|{_NAME}) TO ", re.DOTALL)
_DEFAULT_ROLE = re.compile(rf" DEFAULT ROLE ({_NAME}@{_NAME}(?:,{_NAME}@{_NAME})*)")
_NEEDED = ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT")


@dataclass(frozen=True)
class _Grant:
    """Rights on the databases that match a pattern, and there on one table; None means all."""

    rights: Sequence[str]
    databases: re.Pattern[str] | None
    table: str | None

    def gives(self, right: str, database: str | None, table: str | None) -> bool:
        return (
            (right in self.rights or "ALL PRIVILEGES" in self.rights)
            and (self.databases is None or (database is not None and self.databases.fullmatch(database) is not None))
            and self.table in (None, table)
        )


@dataclass(frozen=True)
class Rights:
    """What a user may do. `has_proc` is the server's."""

    user: str
    grants: Sequence[_Grant]
    has_proc: bool

    @property
    def show_all(self) -> bool:
        """True where no database is hidden from the user."""
        return self._may("SHOW DATABASES") or self._may("SELECT")

    def missing(self, database: str) -> list[str]:
        """Say which rights on a database are missing, without which something may be left out silently."""
        rights = [right for right in _NEEDED if not self._may(right, database)]
        grants = [f"{', '.join(rights)} ON {quoted(database)}.*"] if rights else []
        if self.has_proc and not (self._may("SELECT", "mysql", "proc") or self._may("SHOW CREATE ROUTINE", database)):
            grants.append("SELECT ON mysql.proc")
        if not self.has_proc and not (self._may("SHOW_ROUTINE") or self._may("SELECT")):
            grants.append("SHOW_ROUTINE ON *.*")
        if not grants:
            return []
        return [f"what user {self.user} may not see is not in the dump; it lacks {' and '.join(grants)}"]

    def _may(self, right: str, database: str | None = None, table: str | None = None) -> bool:
        return any(grant.gives(right, database, table) for grant in self.grants)


def own_rights(server: Server) -> Rights:
    """Give what our own user may do, as the server tells it (SHOW GRANTS)."""
    [(user,)] = server.rows("SELECT current_user()")
    statement = "SHOW GRANTS"
    if not server.has_proc and (roles := str(server.rows("SELECT current_role()")[0][0])) != "NONE":
        statement += f" FOR CURRENT_USER() USING {roles}"  # MariaDB shows what comes by a role without being asked
    found = [_GRANT.match(line) for (line,) in server.rows(statement)]
    return Rights(str(user), [_grant(*each.groups()) for each in found if each], server.has_proc)


def _grant(rights: str, databases: str, table: str) -> _Grant:
    return _Grant(
        rights.split(", "),
        None if databases == "*" else _like(_name_in(databases)),
        None if table == "*" else _name_in(table),
    )


def _name_in(quoted_name: str) -> str:
    return quoted_name[1:-1].replace("``", "`")


def _like(pattern: str) -> re.Pattern[str]:
    """Give the expression for a pattern of databases as grants have it: `%`, `_`, and a backslash before either."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    words = {"%": ".*", "_": "."}
    return re.compile("".join(words.get(part, re.escape(part.removeprefix("\\") or part)) for part in parts), re.DOTALL)


def account_statements(server: Server) -> str:
    """Give the statements that make the users, roles and grants of this server on another one."""
    accounts, roles = _accounts(server)
    first = ["SET NAMES utf8mb4", "SET SESSION sql_mode = ''"]
    first += [f"CREATE ROLE IF NOT EXISTS {role}" for role in roles if role != "PUBLIC"]
    grants: list[str] = []
    last: list[str] = []
    for account in accounts:
        for line in _about(server, "SHOW CREATE USER", account):
            if found := _DEFAULT_ROLE.search(line):  # MySQL's, which holds only once the role was granted
                last.append(f"SET DEFAULT ROLE {found[1]} TO {account}")
            plain = line.replace(found[0], "", 1) if found else line
            first.append(plain.replace("CREATE USER ", "CREATE USER IF NOT EXISTS ", 1))
    for grantee in (*roles, *accounts):
        grants += filter(None, (_given(line, grantee) for line in _about(server, "SHOW GRANTS FOR", grantee)))
    lines = "".join(f"{line};\n" for line in [*first, *grants, *last])
    return f"-- Users, roles and grants of {server.label}\n\n{lines}"


def _accounts(server: Server) -> tuple[list[str], list[str]]:
    """Give the users and the roles, quoted, but for those that every server has. MySQL's roles are users."""
    kind = "is_role" if server.is_mariadb else "'N'"
    if server.rows("SHOW VARIABLES LIKE 'print_identified_with_as_hex'"):
        server.rows("SET SESSION print_identified_with_as_hex = 1")
    accounts, roles = [], []
    for user, host, is_role in server.rows(f"SELECT user, host, {kind} FROM mysql.user ORDER BY user, host"):  # noqa: S608
        if is_role == "Y":
            roles.append("PUBLIC" if user == "PUBLIC" else quoted(user))
        elif (user, host) not in _ROOTS and not user.startswith(("mysql.", "mariadb.")):
            accounts.append(f"{quoted(user)}@{quoted(host)}")
    return accounts, roles


def _about(server: Server, question: str, account: str) -> list[str]:
    """Give the lines of an answer, none where the server has the account in its table only and does not use it: one of
    a host name, under --skip-name-resolve.
    """
    import pymysql

    try:
        return [str(line) for (line,) in server.rows(f"{question} {account}")]
    except pymysql.MySQLError as error:
        if error.args[0] not in _NO_ACCOUNT:
            raise
        log.info("the server does not use account %s, so it is left out: %s", account, reason(error))
        return []


def _given(line: str, grantee: str) -> str:
    """Give a grant without what CREATE USER has said already; nothing for one that gives nothing, or not to it."""
    given, to, rest = line.rpartition(f" TO {grantee}")
    if not to or rest.startswith("@"):
        return "" if "@" not in grantee else line
    option = next((f" WITH {kind} OPTION" for kind in ("GRANT", "ADMIN") if f" WITH {kind} OPTION" in rest), "")
    if given == "GRANT USAGE ON *.*" and not option:
        return ""
    return f"{given}{to}{option}"
