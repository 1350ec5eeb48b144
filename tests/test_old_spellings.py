"""Configs of the script of 2010: refused, with each difference in its new spelling, and all of them at once."""

from datetime import timedelta
from pathlib import Path

import pytest

from pickup_core.config import load_config
from pickup_core.errors import ConfigError, ExitCode
from pickup_core.old_spellings import OPTIONS, PAGE, PROFILES, SETTINGS, Renamed
from pickup_core.profiles import KINDS, load_profile
from tests.builders import ROOT, config_text, problems_of, write_config

OLD = """
CONFIG_VERSION = (2, 1)
STAGING_AREA = "staging"
FIRST_TARGET_IS_STAGING = True
SOURCES = [
    dict(name="MySQL", profile="mysql", config=dict(
        database="*", port="3306", host="localhost", user="root", password="c4n4ry-pass",
        mysqldump_params="--ignore-table=shop.cache", connection_params=dict(charset="utf8"))),
    dict(name="PostgreSQL 8.4", profile="postgres", config=dict(
        host="localhost", user="backup", port=5432, database="*", ignore_dbs=["test"], compress_command=["gzip", "-5"],
        pg_dump_params="--exclude-schema=x", pg_dumpall_params="")),
    dict(name="/var/www", profile="folder", config=dict(path="/var/www", split=True)),
    dict(name="list", profile="command", config=dict(command="find .", returncodes_ok=1, popen_params={"cwd": "/tmp"})),
    dict(name="far", profile="remote_tar", config=dict(
        username="ninja", hostname="batcave", port=64222, key_filename=["/k/batcave.rsa"], password="c4n4ry-pass",
        tmpfolder="", tar_params="-cz /home/ninja", target_filename="home.tar.gz")),
]
TARGETS = [
    dict(name="local", profile="dailyfolder", config=dict(path="/var/backups/data", retention=dict(days=30, hours=12))),
    dict(name="mirror", profile="rsync", config=dict(ssh_key="/k/id_dsa")),
    dict(name="ftp", profile="ftp", config=dict(
        host="ftp.example.org", username="web", password="c4n4ry-pass", remote_folder="tube", dry_run=True,
        retention=dict(weeks=52))),
]
"""


def test_every_difference_is_told_at_once_in_its_new_spelling(tmp_path: Path) -> None:
    """F4, F7."""
    with pytest.raises(ConfigError) as caught:
        load_config(write_config(tmp_path, OLD))
    assert caught.value.exit_code == ExitCode.CONFIG
    options = "a list, each option with its value a text of its own"
    compressed = 'all artefacts are compressed; compression="gzip" beside config says how'
    custom = 'format="custom" takes the place of -F'
    linked = "with STAGING_AREA on the disk of a target that is a folder, its files are linked, not copied"
    mysql, postgres = "GENERATORS[0] 'MySQL' (mysql)", "GENERATORS[1] 'PostgreSQL 8.4' (postgres)"
    command, far = "GENERATORS[3] 'list' (command)", "GENERATORS[4] 'far' (remote_tar)"
    local, mirror, ftp = "TARGETS[0] 'local' (dailyfolder)", "TARGETS[1] 'mirror' (rsync)", "TARGETS[2] 'ftp' (ftp)"
    assert [problem.removeprefix("config.py: ") for problem in caught.value.problems] == [
        "CONFIG_VERSION is (2, 1), but this Pickup reads 1.0; the script of 2010 counted for itself; write (1, 0)",
        "SOURCES is now called GENERATORS",
        f"FIRST_TARGET_IS_STAGING is gone: leave it out; {linked}",
        f"{mysql}: config.mysqldump_params: is now called mysqldump_options; {options}",
        f"{mysql}: config.connection_params: is gone: say host, port, socket, user, password, tls or defaults_file",
        f"{postgres}: config.ignore_dbs: is now called exclude",
        f"{postgres}: config.compress_command: is gone: {compressed}",
        f"{postgres}: config.pg_dump_params: is now called pg_dump_options; {options}; {custom}",
        f"{postgres}: config.pg_dumpall_params: is now called pg_dumpall_options; {options}",
        f"{command}: config.returncodes_ok: is now called success_codes; a list",
        f"{command}: config.popen_params: is gone: its cwd and env are the options cwd and env",
        f"{far}: config.username: is now called user",
        f"{far}: config.hostname: is now called host",
        f"{far}: config.password: is gone: a key is used; key_file names it",
        f"{far}: config.key_filename: is now called key_file; one file",
        f"{far}: config.tar_params: is now called path; the folder or a list of them, without options of tar",
        f"{far}: config.target_filename: is gone: the archive is called after its folder",
        f"{far}: config.tmpfolder: is gone: the archive is stored nowhere on that host",
        f"{local}: profile 'dailyfolder' is now called 'folder'",
        f"{local}: config.retention: now stands beside config, not in it: retention=dict(days=30, hours=12)",
        f"{mirror}: config.ssh_key: is now called key_file",
        f"{ftp}: config.retention: now stands beside config, not in it: retention=dict(weeks=52)",
        f"{ftp}: config.username: is now called user; TLS is used too, unless tls=False",
        f"{ftp}: config.remote_folder: is now called path",
        f"{ftp}: config.dry_run: is gone: pickup.py --dry-run does it",
        f"{mirror}: config.host: is missing",
    ]
    shown = f"{PAGE} shows how a config of the script of 2010 is written now"
    assert caught.value.hint == f"mend {tmp_path}/config.py; {shown}"
    assert (ROOT / PAGE).is_file()


def problems_of_options(folder: Path, kind: str, profile: str, options: str) -> tuple[str, ...]:
    entry = f"[dict(name='a', profile={profile!r}, config=dict({options}))]"
    text = config_text(generators=entry) if kind == "generator" else config_text(targets=entry)
    return tuple(problem.partition("): ")[2] for problem in problems_of(folder, text))


@pytest.mark.parametrize(
    ("kind", "profile", "options", "problem"),
    [
        ("generator", "command", "command='x', returncodes_ok=['a']", "config.success_codes.0: should be a valid integer"),
        ("generator", "postgres", "pg_dump_params='-Fc'", "config.pg_dump_options: -Fc is an option that Pickup sets"),
        ("generator", "postgres", "pg_dump_params='a \"b'", "config.pg_dump_options: 'a \"b' is no option; write an"),
        ("generator", "remote_tar", "hostname='-x', tar_params='-cz /a'", "config.host: should match pattern"),
        ("generator", "remote_tar", "hostname='x', tar_params='-cz .'", "config.path: names no folder"),
        ("generator", "remote_tar", "hostname='x', tar_params='/a', key_filename=['/a', '/b']", "config.key_file: "),
        ("target", "dailyfolder", "path='a', retention=dict(moons=1)", "retention.moons: unknown key"),
        ("target", "dailyfolder", "pth='a'", "config.pth: unknown key; did you mean 'path'?"),
        ("target", "ftp", "host='x', username='x', password='x'", "config.path: is missing"),
    ],
)  # fmt: skip
def test_what_stands_under_an_old_name_is_checked_too(
    tmp_path: Path, kind: str, profile: str, options: str, problem: str
) -> None:
    """F3, F4."""
    problems = problems_of_options(tmp_path, kind, profile, options)
    assert [each for each in problems if each.startswith(problem)], problems


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (timedelta(days=7), ": retention=dict(days=7)"),
        (timedelta(weeks=1, hours=12), ": retention=dict(days=7, seconds=43200)"),
        ({"days": 7}, ": retention=dict(days=7)"),
        (None, ""),
        ({}, ""),
    ],
)
def test_retention_is_told_as_it_is_written_now(tmp_path: Path, value: object, said: str) -> None:
    options = f"path='backups', retention={value!r}".replace("datetime.", "__import__('datetime').")
    where = "config.retention: now stands beside config, not in it"
    assert problems_of_options(tmp_path, "target", "folder", options) == (where + said,)


def test_the_first_version_counted_like_ours(tmp_path: Path) -> None:
    text = config_text().replace("GENERATORS", "SOURCES")
    assert problems_of(tmp_path, text) == ("SOURCES is now called GENERATORS",)
    assert problems_of(tmp_path, text, generators=False) == ()


@pytest.mark.parametrize("name", ["dailyfolder", "acme_places.daily"])
def test_the_options_of_a_profile_of_ones_own_are_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / ("acme_places/daily.py" if "." in name else "target_profiles/dailyfolder.py")
    path.parent.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    path.write_text(
        "from pathlib import Path\nfrom pickup_core.api import Options, Store\nAPI_VERSION = (1, 0)\n"
        "class Config(Options):\n    path: Path\n    retention: dict\n"
        "class Target(Store):\n    put = get = listdir = delete = None\n"
    )
    targets = f"[dict(name='a', profile={name!r}, config=dict(path='x', retention=dict(days=1)))]"
    assert problems_of(tmp_path, config_text(targets=targets)) == ()


def test_a_new_name_stays_where_both_are_there(tmp_path: Path) -> None:
    problems = problems_of_options(
        tmp_path, "generator", "command", "command='x', success_codes=[3], returncodes_ok='no'"
    )
    assert problems == ("config.returncodes_ok: is now called success_codes; a list",)


@pytest.mark.parametrize("entry", ["7", "dict(profile=['ftp'])", "dict(name='a', profile='ftp', config=7)", "{}"])
def test_what_is_no_entry_has_no_old_name(tmp_path: Path, entry: str) -> None:
    """F3."""
    assert all("now" not in problem for problem in problems_of(tmp_path, config_text(targets=f"[{entry}]")))


def test_every_new_name_is_one() -> None:
    """What is called otherwise some day has to be so here."""
    assert {kind for kind, _ in (*OPTIONS, *PROFILES)} == set(KINDS)
    for (kind, _), profile in PROFILES.items():
        assert load_profile(kind, profile, ROOT)
    for (kind, profile), changes in OPTIONS.items():
        known = load_profile(kind, profile, ROOT).Config.model_fields
        assert {change.now for change in changes.values() if isinstance(change, Renamed)} <= set(known)
        assert not set(changes) & set(known), "an option of now is none of the past"


def test_the_page_shows_every_old_name() -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    for name in (*SETTINGS, *(profile for _, profile in PROFILES)):
        assert f"``{name}``" in page
    for (_, profile), changes in OPTIONS.items():
        for name in changes:
            assert f"``{name}``" in page, f"{profile}: {name}"
