"""The first config: what is found on a host becomes entries, which load, and with which a first run works."""

import contextlib
import json
import os
import shutil
import socket as sockets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pickup_core import first_config as first_configs
from pickup_core.config import default_log_folder, default_staging_area, default_state_folder, load_config
from pickup_core.entries import GeneratorEntry
from pickup_core.first_config import first_config
from pickup_core.found import Found
from pickup_core.profiles import known_profiles, load_profile
from tests.builders import LOCAL, NOBODY, ROOT, ordinary_folder, python, write_config
from tests.servers.mariadb import mariadb
from tests.servers.postgres import postgres_server

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="others' folders can be given to them by root alone")


def host(folder: Path) -> Path:
    """Make the files of a host below a folder."""
    for name, text in {
        "etc/hostname": "web01\n",
        "home/ada/diary.txt": "It rains.\n",
        "home/ada/.cache/thumbnail": "x" * 100,
        "home/ada/build/CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n",
        "home/ada/build/object": "x",
        "home/bob/notes": "none\n",
        "root/.bashrc": "umask 077\n",
        "var/www/site/index.html": "<p>Hello</p>\n",
        "var/spool/cron/crontabs/ada": "@daily true\n",
        "usr/bin/dpkg": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "srv").mkdir()
    return folder


def entries(root: Path, tmp_path: Path) -> dict[str, GeneratorEntry]:
    """Give what the config for a host says, by label."""
    folder = tmp_path / "etc-pickup"
    folder.mkdir()
    config = load_config(write_config(folder, f"{first_config(root, folder).text}JOB = 'web01'\n"))
    return {entry.label: entry for entry in config.generators}


def discovered(profile: str, root: Path, *without: Path) -> list[Found]:
    return list(load_profile("generator", profile, root).discover(root, without))


def as_nobody(imports: str, code: str, folder: Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run code as an ordinary user, who need not be able to read the libraries."""
    profiles = ", ".join(f"generator_profiles.{name}" for name in known_profiles("generator", ROOT))
    return python(
        f"import os\nfrom pathlib import Path\n{imports}\nimport {profiles}\n"
        f"os.setgroups([])\nos.setgid({NOBODY})\nos.setuid({NOBODY})\n{code}", folder, **options
    )  # fmt: skip


def pickup(config: Path, *arguments: str) -> str:
    words = [sys.executable, ROOT / "pickup.py", "-c", config, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@NEEDS_ROOT
def test_what_a_host_has_becomes_entries_with_a_sentence_about_each(tmp_path: Path) -> None:
    root = host(tmp_path / "host")
    first = first_config(root, tmp_path)
    assert list(first.found) == [
        "command/packages",
        "folder/etc",
        "folder/home",
        "folder/root",
        "folder/www",
        "folder/crontabs",
    ]
    for why in first.found.values():
        assert f"    # {why}\n    dict(\n" in first.text
    found = entries(root, tmp_path)
    assert list(found) == list(first.found)
    assert found["folder/www"].keys.config == {"path": f"{root}/var/www"}
    assert found["command/packages"].keys.config["command"] == ["dpkg", "--get-selections"]
    assert first.text.isascii()


@NEEDS_ROOT
def test_a_first_run_works_and_brings_all_back_but_caches_and_the_backups(tmp_path: Path) -> None:
    root = host(tmp_path / "host")
    (root / "usr/bin/dpkg").unlink()  # this machine may have none
    text = first_config(root, tmp_path).text
    config = write_config(tmp_path, f"{text}\n{LOCAL}\nJOB = 'web01'\n")
    assert "folder/disk: " + str(root / "var/backups/pickup") in pickup(config, "check")
    pickup(config, "-q")
    pickup(config, "verify")
    pickup(config, "restore", "--to", str(tmp_path / "restored"))
    for name in ("folder/etc/etc/hostname", "folder/home/home/ada/diary.txt", "folder/root/root/.bashrc",
                 "folder/www/www/site/index.html", "folder/crontabs/cron/crontabs/ada"):  # fmt: skip
        assert (tmp_path / "restored" / name).is_file(), name
    names = [path.name for path in (tmp_path / "restored").rglob("*")]
    assert "thumbnail" not in names
    assert "object" not in names
    [each] = json.loads(pickup(config, "list", "--json"))
    assert each["status"] == "complete"


@pytest.mark.parametrize("name", ["backups", "odd [x] *name"])
def test_pickups_own_folders_are_left_out_where_they_lie_in_a_folder_that_is_found(tmp_path: Path, name: str) -> None:
    root = host(tmp_path / "host")
    own = root / "home/ada" / name
    own.mkdir()
    (own / "old").write_text("a backup")
    [home] = [each for each in discovered("folder", root, own, tmp_path / "elsewhere") if each.name == "home"]
    [pattern] = [pattern for pattern in home.config["exclude"] if pattern.startswith("/")]
    text = f"JOB = 'web01'\n{LOCAL}\nCONFIG_VERSION = (1, 0)\nTARGETS = [dict(name='d', profile='folder', config=dict(path='b'))]\n"
    config = write_config(
        tmp_path, f"{text}GENERATORS = [dict(name='h', profile='folder', config={dict(home.config)!r})]\n"
    )
    assert f"exclude {pattern!r} matches home/ada/{name}" in pickup(config, "check")
    pickup(config, "-q")
    found = pickup(config, "find", "home/ada/*")
    assert "home/ada/diary.txt" in found
    assert name not in found


def test_the_state_folder_and_the_backups_are_what_is_left_out(tmp_path: Path) -> None:
    """Pickup's own log grows while it is read."""
    (tmp_path / "generator_profiles").mkdir()
    (tmp_path / "generator_profiles/own.py").write_text(
        "API_VERSION = (1, 0)\nfrom pickup_core.api import Found\n"
        "def run(config, folder): pass\n"
        "def discover(root, without): yield Found('own', {}, ' | '.join(map(str, without)))\n"
    )
    why = first_config(tmp_path, tmp_path).found["own/own"].split(" | ")
    assert str(default_state_folder()) in why
    assert any(each.endswith("backups/pickup") for each in why)


def test_a_profile_beside_the_config_is_asked_too_and_its_values_are_python(tmp_path: Path) -> None:
    config = {"texts": ['a "b"\\', "\N{SNOWMAN}\udcff", "x" * 100], "number": 3, "flag": True, "none": None}
    (tmp_path / "generator_profiles").mkdir()
    (tmp_path / "generator_profiles/odd.py").write_text(
        "API_VERSION = (1, 0)\nfrom typing import Any\nfrom pickup_core.api import Found, Options\n"
        "class Config(Options):\n    texts: list[str]\n    number: int\n    flag: bool\n    none: Any\n"
        "def run(config, folder): pass\n"
        f"def discover(root, without): yield Found('it', {config!r}, 'One\\nline.')\n"
    )
    text = first_config(tmp_path, tmp_path).text
    assert "    # One line.\n" in text
    loaded = load_config(write_config(tmp_path, f"{text}\nJOB = 'web01'\n"))
    [entry] = [entry for entry in loaded.generators if entry.profile == "odd"]
    assert entry.keys.config == config


def test_a_profile_that_cannot_be_loaded_finds_nothing_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "generator_profiles").mkdir()
    (tmp_path / "generator_profiles/broken.py").write_text("import there_is_none\n")
    assert "broken" not in first_config(tmp_path, tmp_path).text


def test_where_nothing_is_found_the_example_stands(tmp_path: Path) -> None:
    first = first_config(tmp_path, tmp_path)
    assert first.found == {}
    assert 'path="/etc/default"' in first.text
    write_config(tmp_path, f"{first.text}\nJOB = 'web01'\n")
    load_config(tmp_path / "config.py")


@NEEDS_ROOT
def test_an_ordinary_user_gets_what_is_theirs_alone() -> None:
    with ordinary_folder() as folder:
        root = host(folder / "host")
        for path in [root / "home/ada", *(root / "home/ada").rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        done = as_nobody(
            "from pickup_core.first_config import first_config",
            "print(first_config(Path(sys.argv[1]), Path(sys.argv[1])).text)",
            root, env={"HOME": str(root / "home/ada"), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
    assert done.stderr == ""
    assert f'path="{root}/home/ada"' in done.stdout
    assert f'path="{root}/home/ada/backups/pickup"' in done.stdout
    assert f'"{root}/home/ada/backups/pickup"]' in done.stdout, "the backups do not hold backups"
    assert "bob" not in done.stdout
    assert f'"{root}/etc"' not in done.stdout


def test_it_speaks_of_this_very_pickup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_configs, "PROGRAM", "pickup")
    text = first_config(tmp_path, tmp_path).text
    assert "# Try it:  pickup check " in text
    assert "pickup.py" not in text
    assert f'# STAGING_AREA = "{default_staging_area()}"\n' in text
    assert f'# LOG_FOLDER = "{default_log_folder()}"\n# STATE_FOLDER = "{default_state_folder()}"\n' in text


def test_a_link_is_followed_to_the_folder_and_one_that_leads_nowhere_finds_nothing(tmp_path: Path) -> None:
    root = host(tmp_path / "host")
    (root / "home").rename(root / "users")
    (root / "home").symlink_to("users")
    shutil.rmtree(root / "var/www")
    (root / "var/www").symlink_to("nowhere")
    found = {each.name: each.config["path"] for each in discovered("folder", root)}
    assert found["home"] == f"{root}/users"
    assert "www" not in found


# Servers


def _give_back(folder: Path) -> None:
    """Let a folder be ours again, which the server's user may enter."""
    os.chown(folder, os.geteuid(), os.getegid())
    folder.chmod(0o755)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose name leaves room for that of a socket."""
    with ordinary_folder() as folder:
        yield folder


def test_a_postgresql_server_is_found_by_its_socket_and_dumped(short: Path) -> None:
    with postgres_server() as server:
        (short / "run").mkdir()
        (short / "run/postgresql").symlink_to(server.folder)
        [found] = discovered("postgres", short)
        assert found.name == f"postgres-{server.port}"
        assert found.config["host"] == f"{short}/run/postgresql"
        assert found.config["port"] == server.port
        text = first_config(short, short).text
        _give_back(short)
        config = write_config(short, f"{text}\n{LOCAL}\nJOB = 'web01'\n")
        pickup(config, "check")
        pickup(config, "-q")
        assert "globals.sql" in pickup(config, "list", "--json")


def test_a_mariadb_server_is_found_by_its_socket_and_dumped(short: Path) -> None:
    with mariadb() as server:
        server.run("CREATE DATABASE shop")
        (short / "run/mysqld").mkdir(parents=True)
        (short / "run/mysqld/mysqld.sock").symlink_to(server.socket)
        assert [each.config for each in discovered("mysql", short)] == [{"socket": f"{short}/run/mysqld/mysqld.sock"}]
        _give_back(short)
        config = write_config(short, f"{first_config(short, short).text}\n{LOCAL}\nJOB = 'web01'\n")
        pickup(config, "-q")
        assert "shop.sql" in pickup(config, "list", "--json")


@pytest.mark.parametrize(
    ("profile", "name"), [("postgres", "run/postgresql/.s.PGSQL.5432"), ("mysql", "run/mysqld/mysqld.sock")]
)
def test_what_is_no_socket_or_not_ours_is_no_server(short: Path, profile: str, name: str) -> None:
    (short / name).parent.mkdir(parents=True)
    (short / name).touch()
    assert discovered(profile, short) == []
    (short / name).unlink()
    with contextlib.closing(sockets.socket(sockets.AF_UNIX)) as socket:
        socket.bind(str(short / name))
        assert len(discovered(profile, short)) == 1
        if os.geteuid() == 0:
            code = "print([*discover(Path(sys.argv[1]), [])])"
            assert as_nobody(f"from generator_profiles.{profile} import discover", code, short).stdout == "[]\n"
