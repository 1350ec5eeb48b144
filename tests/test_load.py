"""Load: artefacts go back to where they came from, by the profile's own `restore`, verified before the first of them."""

import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pickup_core.errors import PickupError, UsageError
from pickup_core.load import settings_of
from tests.builders import config_text, write_config
from tests.sessions import carried_out

SERVER = '''
    """A server that is a folder: each table is a file. It says what it was asked to load."""
    import json
    from pathlib import Path
    from pickup_core.api import Artefact, Options, RefusedError, Secret
    API_VERSION = (1, 0)

    class Config(Options):
        """Options of a server."""
        host: Path
        port: int = 1
        password: Secret | None = None

    def run(config, folder):
        for path in sorted(config.host.iterdir()):
            yield Artefact(path.name, path.open("rb"))

    def restore(config, artefacts, as_name, overwrite):
        yield f"to {config.host}: {', '.join(artefact.name for artefact in artefacts)}"
        for artefact in artefacts:
            path = config.host / (as_name or artefact.name)
            if path.exists() and not overwrite:
                raise RefusedError(f"table {path.name} is there already", hint="--overwrite")
            for _ in range(2):  # each time from its beginning
                with artefact.open() as stream:
                    content = b"".join(iter(lambda: stream.read(10), b""))
            assert len(content) == artefact.size
            path.write_bytes(content)
'''
HEAD = 'STAGING_AREA = "area"\nSTATE_FOLDER = LOG_FOLDER = "state"\nMIN_FREE = 0'
TABLES = {"orders": b"1, 2, 3\n" * 1000, "users": b"you, me\n"}


class Site:
    """A config with a server and a folder, of which a backup was made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "generator_profiles").mkdir()
        (folder / "generator_profiles/server.py").write_text(textwrap.dedent(SERVER))
        self.server = folder / "server"
        self.server.mkdir()
        for name, content in TABLES.items():
            (self.server / name).write_bytes(content)
        (folder / "files").mkdir()
        (folder / "files/a").write_text("a")
        self.configure()
        assert self.run("run", "-q") == 0

    def configure(self, generators: str | None = None, **config: Any) -> None:
        options = ", ".join(f"{name}={value!r}" for name, value in {"host": "server", **config}.items())
        own = f"""[dict(name="main", profile="server", config=dict({options})),
                dict(name="files", profile="folder", config=dict(path="files"))]"""
        write_config(self.folder, config_text(HEAD, own if generators is None else generators))

    def run(self, *words: str | Path) -> int:
        """Carry out a command, and give its exit code; what it wrote is in `out` and `err`."""
        try:
            done = carried_out(self.folder, *words)
        except PickupError as error:
            self.out, self.err = "", f"ERROR: {error}\n"
            return error.exit_code
        self.out, self.err = done.out, done.err
        return done.status

    def tables(self, name: str = "server") -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.folder / name).iterdir()}

    def stored(self, artefact: str) -> Path:
        [path] = (self.folder / "backups").glob(f"web01/*/server/main/{artefact}.zst")
        return path

    def history(self) -> list[dict[str, Any]]:
        lines = (self.folder / "state/web01.history.jsonl").read_text().splitlines()
        return [record for line in lines if (record := json.loads(line))["kind"] == "restore"]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_what_was_lost_comes_back(site: Site) -> None:
    for path in site.server.iterdir():
        path.unlink()
    assert site.run("restore", "--into-server") == 0
    assert site.tables() == TABLES
    out, err = site.out, site.err
    lines = [line for line in out.splitlines() if not line.startswith("from target disk: job web01, backup ")]
    assert lines == [
        "folder/files: left out, as it cannot be loaded into a server; restore --to FOLDER restores it",
        "server/main: loads 2 artefacts",
        f"  to {site.server}: orders, users",
        "server/main: loaded",
    ]
    assert err == ""
    assert list((site.folder / "area").iterdir()) == []
    assert [(record["to"], record["only"]) for record in site.history()] == [("server", [])]


def test_what_the_profile_refuses_is_said(site: Site) -> None:
    assert site.run("restore", "--into-server", "--only", "main") == 6
    assert site.err == "ERROR: server/main: table orders is there already\nHint: --overwrite\n"
    (site.server / "users").write_bytes(b"nobody\n")
    assert site.run("restore", "--into-server", "--only", "main", "--overwrite") == 0
    assert site.tables() == TABLES


def test_one_artefact_under_another_name_into_another_server(site: Site) -> None:
    (site.folder / "other").mkdir()
    words = ["--only", "main/users", "--as", "people", "--set", f"host={site.folder}/other"]
    assert site.run("restore", "--into-server", *words) == 0
    assert site.tables("other") == {"people": TABLES["users"]}
    assert site.tables() == TABLES


def test_a_config_of_targets_only_and_a_copied_folder_will_do_with_the_options(site: Site) -> None:
    """V17, V18: on another host. The rest of the config may be wrong."""
    (site.folder / "other").mkdir()
    host = ["--set", f"host={site.folder}/other"]
    site.configure(generators='[dict(name="x", profile="absent"), 5]')
    assert site.run("restore", "--into-server", "--only", "main", *host) == 0
    assert site.tables("other") == TABLES
    site.configure(generators="[]")
    assert site.run("restore", "--into-server", "--only", "main") == 3


def test_a_wrong_option_is_named(site: Site) -> None:
    assert site.run("restore", "--into-server", "--set", "hots=db2") == 3
    err = site.err
    assert "server/main: config.hots: unknown key; did you mean 'host'?" in err
    assert "Hint: --set KEY=VALUE sets an option for this restore, --set KEY= leaves one of the config out" in err
    assert site.run("restore", "--into-server", "--set", "hots=") == 3
    assert "server/main: config.hots: unknown key; did you mean 'host'?" in site.err


def test_an_option_of_the_config_can_be_left_out(site: Site) -> None:
    site.configure(port="many")
    assert site.run("restore", "--into-server", "--overwrite") == 3
    assert "server/main: config.port: " in site.err
    assert site.run("restore", "--into-server", "--overwrite", "--set", "port=") == 0, site.err
    assert site.run("restore", "--into-server", "--overwrite", "--set", "port=", "--set", "host=") == 3
    assert "server/main: config.host: is missing" in site.err


def test_an_entry_whose_config_is_no_dictionary_is_named(site: Site) -> None:
    """F8: the rest of the config is not looked at, so this is."""
    site.configure(generators='[dict(name="main", profile="server", config="host=server")]')
    assert site.run("restore", "--into-server", "--only", "main") == 3
    assert "server/main: config is no dictionary\nHint: mend the entry in GENERATORS" in site.err


def test_a_staging_area_below_a_target_is_no_hindrance(site: Site) -> None:
    """Only --to could bring something among the backups."""
    config = site.folder / "config.py"
    config.write_text(config.read_text().replace('STAGING_AREA = "area"', 'STAGING_AREA = "backups/area"'))
    (site.server / "orders").unlink()
    assert site.run("restore", "--into-server", "--overwrite") == 0, site.err
    assert site.tables() == TABLES


def test_a_secret_on_the_command_line_is_refused() -> None:
    """I6."""
    with pytest.raises(UsageError) as caught:
        settings_of(["host=db2", "password=c4n4ry"])
    assert "c4n4ry" not in str(caught.value)
    assert settings_of(["host=db2", "port=", "x=a=b"]) == {"host": "db2", "port": "", "x": "a=b"}


@pytest.mark.parametrize("text", ["host", "=x", "a b=c", ""])
def test_a_setting_is_a_key_and_a_value(text: str) -> None:
    with pytest.raises(UsageError, match="expected KEY=VALUE"):
        settings_of([text])


def test_nothing_is_loaded_where_one_artefact_is_damaged(site: Site) -> None:
    """V5: not the first either, which is whole."""
    stored = site.stored("users")
    stored.write_bytes(stored.read_bytes()[:-1] + b"x")
    (site.server / "orders").unlink()
    assert site.run("restore", "--into-server") == 6
    assert "server/main/users.zst has changed since it was stored" in site.err
    assert site.tables().keys() == {"users"}
    assert list((site.folder / "area").iterdir()) == []


def test_nothing_is_loaded_where_the_staging_area_has_no_room(site: Site) -> None:
    """S15: what shares its disk keeps its room."""
    config = site.folder / "config.py"
    config.write_text(config.read_text().replace("MIN_FREE = 0", f"MIN_FREE = {2**60}"))
    site.stored("users").write_bytes(b"damage, which only reading would tell")
    (site.server / "orders").write_bytes(b"of today\n")
    assert site.run("restore", "--into-server", "--overwrite") == 2
    assert (site.server / "orders").read_bytes() == b"of today\n"
    assert "meanwhile, but 0 Bytes may be written to " in site.err
    assert "Hint: see STAGING_AREA and MIN_FREE in the config" in site.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "files"], "folder/files cannot be loaded into a server"),
        (["--only", "absent"], "it holds no backup of job web01 that holds 'absent' without failure"),
        (["--path", "a"], "--path goes with --to"),
        (["--as-stored"], "--as-stored goes with --to"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(site: Site, words: Sequence[str], message: str) -> None:
    assert site.run("restore", "--into-server", *words) == 3
    assert message in site.err
    assert site.tables() == TABLES


def test_options_of_a_server_do_not_go_with_a_folder(site: Site) -> None:
    for words in (["--as", "x"], ["--set", "host=db2"]):
        assert site.run("restore", "--to", site.folder / "again", *words) == 3
        assert f"{words[0]} goes with --into-server" in site.err
    assert not (site.folder / "again").exists()


def test_a_module_that_only_the_backup_names_is_not_imported(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """R7: whoever can write at the target could else choose what is run here."""
    (site.folder / "acme").mkdir()
    mark = f"\nPath({str(site.folder / 'imported')!r}).touch()\n"
    (site.folder / "acme/server.py").write_text(textwrap.dedent(SERVER) + mark)
    monkeypatch.syspath_prepend(site.folder)
    own = '[dict(name="main", profile="acme.server", config=dict(host="server"))]'
    site.configure(generators=own)
    assert site.run("run", "-q") == 0
    (site.folder / "imported").unlink()
    monkeypatch.delitem(sys.modules, "acme.server")
    words = ["restore", "--into-server", "--overwrite", "--only", "main"]
    site.configure()
    assert site.run(*words) == 3
    assert "acme.server/main: no entry of the config has the profile 'acme.server', so it is not imported" in site.err
    assert not (site.folder / "imported").exists()
    site.configure(generators=own)
    assert site.run(*words) == 0
    assert (site.folder / "imported").exists()
