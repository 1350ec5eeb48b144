"""What a config imports from its folder: trusted, masked, its own, and in nobody else's way."""

import importlib
import json
import os
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

from pickup_core.config import Config, load_config
from pickup_core.errors import ConfigError
from pickup_core.hooks import hooked
from pickup_core.report import Report
from pickup_core.secret import redact
from tests.builders import NOBODY, as_ordinary_user, config_text, loaded, ordinary_folder, python, refusal, write_config


def write(folder: Path, files: dict[str, str], mode: int = 0o600) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)


def policy_of(config: Config) -> str:
    policy = config.targets[0].keys.retention
    assert policy is not None
    return policy.text


# What is found


def test_a_config_takes_settings_and_entries_from_modules_beside_it(tmp_path: Path) -> None:
    """A module, a package, a module of that, and what these import of each other."""
    write(
        tmp_path,
        {
            "common.py": "from site_settings.places import PLACE\nCOMPRESSION = 'gzip'\n"
            "TARGETS = [dict(name='disk', profile='folder', config=dict(path=PLACE))]\n",
            "site_settings/__init__.py": "from . import jobs\n",
            "site_settings/places.py": "PLACE = 'backups'\n",
            "site_settings/jobs.py": "JOB = 'db7'\n",
        },
    )
    text = (
        "from common import *\nimport site_settings, site_settings.jobs as jobs\nCONFIG_VERSION = (1, 0)\n"
        "JOB = site_settings.jobs.JOB\nassert jobs is site_settings.jobs\n"
        "GENERATORS = [dict(name='system', profile='command', config=dict(command='uname'))]\n"
    )
    config = load_config(write_config(tmp_path, text))
    assert (config.job, config.compression.method) == ("db7", "gzip")
    assert config.targets[0].store().place == str(tmp_path / "backups"), "relative to the config"


def test_a_module_may_be_chosen_while_the_config_runs(tmp_path: Path) -> None:
    """By a host name that Python's `import` could not spell."""
    write(tmp_path, {"hosts/__init__.py": "", "hosts/web-01.py": "RETENTION = dict(daily=3)\n"})
    targets = "[dict(name='disk', profile='folder', config=dict(path='b'), retention=host.RETENTION)]"
    head = "import importlib\nhost = importlib.import_module('hosts.web-01')"
    config = loaded(tmp_path, config_text(head, None, targets))
    assert policy_of(config) == "daily=3"


def test_each_config_has_its_own(tmp_path: Path) -> None:
    """One process may load several, as the tests do."""
    targets = "[dict(name='disk', profile='folder', config=dict(path='b'), retention=common.RETENTION)]"
    for name, days in (("a", 3), ("b", 4), ("a", 3)):
        write(tmp_path, {f"{name}/common.py": f"RETENTION = dict(daily={days})\n"})
        assert policy_of(loaded(tmp_path / name, config_text("import common", None, targets))) == f"daily={days}"
    assert "common" not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("common")


def with_hook(folder: Path, source: str) -> Config:
    """Load a config whose hook comes from beside it; it imports there what leaves a file `note`."""
    later = "from pathlib import Path\ndef note(): Path(__file__).with_name('note').write_text('done')\n"
    write(folder, {"common.py": source, "later.py": later})
    return loaded(folder, config_text("from common import prepare\nBEFORE = prepare"))


def test_a_hook_may_import_when_it_is_called(tmp_path: Path) -> None:
    """`check` calls no hook, so one that could not would fail at night, and not before."""
    config = with_hook(tmp_path, "def prepare():\n    import later\n    later.note()\n")
    assert config.before is not None
    config.before()
    assert (tmp_path / "note").read_text() == "done"
    assert "later" not in sys.modules


def test_a_hook_may_import_by_a_name_that_it_makes_up(tmp_path: Path) -> None:
    """As the how-to for many hosts has it."""
    prepare = "from importlib import import_module\ndef prepare():\n    import_module('later').note()\n"
    config = with_hook(tmp_path, prepare)
    with hooked(config.before, None, "here", Report(), config.at_hand):
        assert (tmp_path / "note").read_text() == "done"
    assert {"common", "later"}.isdisjoint(sys.modules)


def test_threads_that_import_at_once_leave_nothing_behind(tmp_path: Path) -> None:
    write(tmp_path, {"common.py": "", "a.py": "import time; time.sleep(0.3)", "b.py": "import time; time.sleep(0.1)"})
    config = loaded(tmp_path, config_text("import common"))

    def load(name: str) -> None:
        with config.at_hand():
            importlib.import_module(name)

    for _ in range(3):
        threads = [threading.Thread(target=load, args=(name,)) for name in ("a", "b", "common")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {"common", "a", "b"}.isdisjoint(sys.modules)
        assert not [finder for finder in sys.meta_path if type(finder).__name__ == "Siblings"]


def test_a_config_may_do_without_a_module(tmp_path: Path) -> None:
    """One that is not there, that is no Python, or whose name leads elsewhere."""
    write(tmp_path, {"broken.py": "NAME =\n", "package/__init__.py": "", "deep/x/other.py": "raise SystemExit\n"})
    head = f"""
import importlib, package
for name in ("absent", "broken", "package.{tmp_path}/deep/x/other", "{tmp_path}/deep/x/other"):
    try:
        importlib.import_module(name)
    except (ImportError, SyntaxError):
        COMPRESSION = "gzip"
    else:
        raise AssertionError(name)
"""
    config = loaded(tmp_path, config_text(head))
    assert (config.compression.method, list(config.masked_modules)) == ("gzip", ["package/__init__.py"])


def test_a_module_that_somebody_else_brings_later_is_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"common.py": "def own():\n    import common\n    assert common.own is own\n"})
    config = loaded(tmp_path, config_text("import common\nBEFORE = common.own"))
    theirs = ModuleType("common")
    monkeypatch.setitem(sys.modules, "common", theirs)
    assert config.before is not None
    config.before()
    assert sys.modules["common"] is theirs


def test_a_module_is_run_once(tmp_path: Path) -> None:
    write(tmp_path, {"common.py": "import other\n", "other.py": "import common\nfrom pathlib import Path\n"
                     "with Path(__file__).with_name('runs').open('a') as file:\n    file.write('x')\n"})  # fmt: skip
    loaded(tmp_path, config_text("import common, other\nimport other\nassert common.other is other"))
    assert (tmp_path / "runs").read_text() == "x"


# What it does not touch


def test_a_module_with_a_name_that_python_has_changes_nothing(tmp_path: Path) -> None:
    """Neither for Pickup nor for the config: what the standard library, a package or Pickup has goes first."""
    names = [
        "json.py",
        "logging.py",
        "pydantic/__init__.py",
        "pickup_core.py",
        "wave.py",
        "target_profiles/__init__.py",
    ]
    write(tmp_path, dict.fromkeys(names, "raise SystemExit('run')\n"))
    write(tmp_path, {"common.py": "import json, logging\nlogging.getLogger\n"})
    head = "import common, json, logging, pydantic, wave\nimport pickup_core.api, target_profiles.folder\njson.dumps(1)"
    loaded(tmp_path, config_text(head))
    assert json.__file__ != str(tmp_path / "json.py")
    code = "from pickup_core.config import load_config\nfrom pathlib import Path\nprint(load_config(Path(sys.argv[1])).job)"
    done = python(code, tmp_path / "config.py")  # which has imported none of them before
    assert done.stdout == "web01\n", done.stderr


def test_nobody_else_finds_it(tmp_path: Path) -> None:
    """A library that looks whether it has another one must not find a module of the config's folder."""
    write(tmp_path, {"common.py": "", "library.py": ""})
    loaded(tmp_path, config_text("import common"))
    assert not [finder for finder in sys.meta_path if type(finder).__name__ == "Siblings"]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("library")
    with pytest.raises(ConfigError):
        loaded(tmp_path, config_text("import common, absent"))
    assert not [finder for finder in sys.meta_path if type(finder).__name__ == "Siblings"]
    assert str(tmp_path) not in sys.path


def test_no_bytecode_is_written_beside_the_config(tmp_path: Path) -> None:
    write(tmp_path, {"common.py": "import package\n", "package/__init__.py": ""})
    before = sorted(tmp_path.rglob("*"))
    loaded(tmp_path, config_text("import common"))
    assert set(tmp_path.rglob("*")) - {*before} == {tmp_path / "config.py"}


def test_beside_pickup_itself_the_same_rules_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a checkout the config lies where Python looks for modules anyway: for that very file, and for a folder of that
    name.
    """
    write(tmp_path, {"common.py": "SHOP_PASSWORD = 'open sesame'\n", "places.py": "PLACE = 1\n", "places/x.txt": ""})
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    config = loaded(tmp_path, config_text("import common\nfrom places import PLACE"))
    assert set(config.masked_modules) == {"common.py", "places.py"}
    assert not list(tmp_path.rglob("*.pyc"))
    (tmp_path / "common.py").chmod(0o666)
    assert "can be written by others" in refusal(tmp_path, "import common").message


# Who may write it


def test_a_module_that_others_can_write_is_refused(tmp_path: Path) -> None:
    """F8."""
    write(tmp_path, {"common.py": "raise SystemExit('run')\n"}, mode=0o622)
    error = refusal(tmp_path, "\nimport common")
    path = tmp_path / "common.py"
    assert error.message == f"config.py, line 4: {path} can be written by others, who could change what it says"
    assert error.hint == f"chmod go-w {path}"


def test_a_package_is_held_to_the_same(tmp_path: Path) -> None:
    write(tmp_path, {"common/__init__.py": "import common.inner\n", "common/inner.py": "raise SystemExit('run')\n"})
    (tmp_path / "common/inner.py").chmod(0o666)
    error = refusal(tmp_path, "import common")
    what = f"{tmp_path}/common/inner.py can be written by others, who could change what it says"
    assert error.message == f"common/__init__.py, line 1: {what}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_module_of_another_user_or_in_a_folder_of_others_is_refused_for_root(tmp_path: Path) -> None:
    write(tmp_path, {"common.py": "", "package/__init__.py": ""})
    os.chown(tmp_path / "common.py", NOBODY, NOBODY)
    assert f"{tmp_path}/common.py belongs to user {NOBODY}" in refusal(tmp_path, "import common").message
    (tmp_path / "package").chmod(0o777)
    assert f"{tmp_path}/package can be written by others" in refusal(tmp_path, "import package").message


# What is wrong in it


def test_an_error_in_a_module_names_that_file_and_line(tmp_path: Path) -> None:
    """F2."""
    write(
        tmp_path,
        {
            "broken.py": "\n\nNAME =\n",
            "wrong.py": "\nOTHER = MISSING\n",
            "ends.py": "import sys\nsys.exit(0)\n",
            "secret.py": "from pickup_core.api import secret_file\nX = secret_file('absent')\n",
            "good.py": "def late():\n    return MISSING\n",
        },
    )
    for head, said, mended in (
        ("import broken", f"config.py, line 3: {tmp_path}/broken.py, line 3: invalid syntax", "broken.py"),
        ("import wrong", "wrong.py, line 2: NameError: name 'MISSING' is not defined", "wrong.py"),
        ("import ends", "ends.py, line 2: SystemExit: 0", "ends.py"),
        ("import secret", f"secret.py, line 2: secret file {tmp_path}/absent cannot be read: No such file", ""),
        ("import good\ngood.late()", "good.py, line 2: NameError: name 'MISSING' is not defined", "good.py"),
        ("from good import x", f"config.py, line 3: ImportError: cannot import name 'x' from 'good' ({tmp_path}/good.py)",
         "config.py"),
        ("import nothing", "config.py, line 3: ModuleNotFoundError: No module named 'nothing'", "config.py"),
    ):  # fmt: skip
        error = refusal(tmp_path, head)
        assert error.message.startswith(said), error.message
        assert error.hint == (f"mend {tmp_path / mended}" if mended else "")


def test_a_wrong_value_from_a_module_says_what_was_imported(tmp_path: Path) -> None:
    write(tmp_path, {"common.py": "COMPRESSION = 'zip'\n"})
    error = refusal(tmp_path, "from common import *")
    assert error.problems[0].startswith("config.py: COMPRESSION: ")
    assert error.hint == f"mend {tmp_path}/config.py, or what it imports: common.py"


def test_a_module_that_does_not_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F2."""
    monkeypatch.setattr("pickup_core.config._LOAD_SECONDS", 1)
    write(tmp_path, {"common.py": "while True:\n    pass\n"})
    assert "TimeoutError: was still being loaded after 1 seconds" in refusal(tmp_path, "import common").message


# Secrets


def test_secrets_of_a_module_are_masked_as_those_of_the_config(tmp_path: Path) -> None:
    """I6."""
    write(tmp_path, {"common.py": "DB_PASSWORD = 'sesame-c4n4ry'\n# OTHER_PASSWORD = 'sesame-old'\nJOB = 'web01'\n"})
    config = loaded(tmp_path, config_text("from common import DB_PASSWORD"))
    assert config.masked_modules["common.py"].splitlines()[0] == 'DB_PASSWORD = "***"'
    assert redact("with sesame-c4n4ry and sesame-old") == "with *** and ***"


def test_an_error_shows_no_secret_of_a_module(tmp_path: Path) -> None:
    """I6: it is known before the module is run."""
    write(tmp_path, {"common.py": "KEY_PASSWORD = 'sesame-f1rst'\nraise ValueError('not sesame-f1rst')\n"})
    assert refusal(tmp_path, "import common").message == "common.py, line 2: ValueError: not ***"


def test_a_module_with_a_secret_must_not_be_readable_by_everybody(tmp_path: Path) -> None:
    """F9."""
    write(tmp_path, {"common.py": "DB_PASSWORD = 'sesame-0pen'\n", "plain.py": "A = 1\n"}, mode=0o644)
    loaded(tmp_path, config_text("import plain"))
    path = tmp_path / "common.py"
    assert refusal(tmp_path, "import common").problems == (
        f"config.py: {path} holds a secret and can be read by everybody. Hint: chmod 600 {path}",
    )


def test_an_ordinary_user_has_modules_too() -> None:
    with ordinary_folder() as folder:
        (folder / "common.py").write_text("JOB = 'db7'\n")
        write_config(folder, config_text("from common import JOB").replace('JOB = "web01"', ""))
        for path in folder.iterdir():
            os.chown(path, folder.stat().st_uid, folder.stat().st_gid)
        code = "from pickup_core.config import load_config\nfrom pathlib import Path\n"
        done = as_ordinary_user(f"{code}print(load_config(Path(sys.argv[1])).job)", folder / "config.py")
        assert done.stdout == "db7\n", done.stderr
