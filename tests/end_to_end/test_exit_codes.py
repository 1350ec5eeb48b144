"""What a run says with its status, and with its words: silence where all is well, a sentence where it is not."""

import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.end_to_end.command import (
    JOB,
    Site,
    command_entry,
    copied_tree,
    folder_entry,
    shell_entry,
    target_entry,
    wait_until,
)


def test_a_quiet_run_that_goes_well_writes_nothing(site: Site) -> None:
    """E10: cron mails only on trouble."""
    site.fill()
    to = site.folder / "restored"
    for command in ([], ["run"], ["check"], ["verify"], ["-n"], ["run", "-n"], ["keep", "latest", "a reason"],
                    ["restore", "--to", to]):  # fmt: skip
        result = site.run("-q", *command)
        assert (result.out, result.err) == ("", ""), result


def test_a_run_tells_what_it_did_on_stdout_only(site: Site) -> None:
    site.fill()
    result = site.run()
    assert result.err == ""
    lines = result.out.splitlines()
    assert re.fullmatch(r"job web, backup \d{4}-\d\d-\d\dT\d{6}Z", lines[0])
    assert re.fullmatch(r"folder/files: 2 artefacts, .+", lines[2])


def test_debug_shows_what_goes_to_the_log(site: Site) -> None:
    site.fill()
    result = site.run("-d")
    assert "start: tar --create" in result.out
    assert result.err == ""


def test_status_1_a_backup_is_stored_but_something_is_worth_a_look(site: Site) -> None:
    """G7: an artefact has less than half of its size of last time."""
    size = site.fill({"size": "60000"}) / "size"
    site.configure([shell_entry(f"head -c $(cat {size}) /dev/urandom", name="dump", filename="dump.bin")])
    site.backup()
    size.write_text("20000")
    result = site.run("-q", status=1)
    assert result.out == ""
    (line,) = result.problems.splitlines()
    assert re.match(
        r"WARNING: GENERATORS\[0\] 'dump' \(command\): dump\.bin has shrunk from [\d.]+ KiB last time to [\d.]+ KiB",
        line,
    )
    assert [status for _, status in site.listed()] == ["complete", "complete"]


def test_status_2_a_generator_failed_and_the_rest_is_stored(site: Site) -> None:
    """G2: the entry, what its program said, and its status are named."""
    site.fill()
    site.configure([folder_entry(), shell_entry("echo part; echo 'no such table' >&2; exit 7", name="dump")])
    result = site.run("-q", status=2)
    assert result.problems == "ERROR: GENERATORS[1] 'dump' (command): output: sh ended with status 7: no such table\n"
    assert [status for _, status in site.listed()] == ["partial"]
    assert not list(site.backups.rglob("*dump*"))


def test_status_3_the_command_line_or_the_config_is_wrong_and_nothing_was_done(site: Site) -> None:
    """E12, F1."""
    site.fill()
    before = sorted(site.folder.rglob("*"))
    for wrong in ("--frobnicate", "runn", "restore", "list surplus", "--only", "run --wait soon", "verify --before now",
                  "keep", "--dry", "restore --to x --before noon"):  # fmt: skip
        result = site.run(*wrong.split(), status=3)
        assert result.err.startswith("ERROR: pickup.py"), result
        assert re.search(r"\nHint: (did you mean '\w+'\? )?pickup\.py( \w+)? --help( tells more)?\n\Z", result.err), (
            result
        )
        assert result.out == ""
    result = site.run("--only", "nothing", status=3)
    assert result.err == "ERROR: there is no entry 'nothing' in the config\nHint: there are: files\n"
    result = site.run("--target", "nowhere", status=3)
    assert result.err == "ERROR: there is no entry 'nowhere' in the config\nHint: there are: disk\n"
    result = site.run("-c", "/nonexistent/config.py", status=3, config=False)
    assert result.err == "ERROR: /nonexistent/config.py cannot be read: No such file or directory\n"
    for folder in (site.log, site.state):
        shutil.rmtree(folder, ignore_errors=True)
    assert sorted(site.folder.rglob("*")) == before


def test_status_4_another_run_is_at_work(site: Site) -> None:
    """C1, C3: who it is, since when, and how to wait for it."""
    flag = site.folder / "flag"
    site.configure([shell_entry(f"until [ -e {flag} ]; do sleep 0.02; done; echo done")])
    first = site.start("-q")
    wait_until(lambda: list(site.staging.glob("run-*/scratch-*")), "the first run is at work")
    result = site.run("-q", status=4)
    assert re.fullmatch(
        rf"ERROR: another run of job web is at work: process {first.pid}, started 2\S+\+00:00, "
        r"at work on command/script\nHint: .+ --wait 2h .+\n",
        result.problems,
    )
    waiting = site.start("-q", "run", "--wait", "30s")
    flag.touch()
    assert site.finish(first).status == 0
    assert site.finish(waiting).status == 0
    assert len(site.names()) == 2


def test_reading_works_while_a_run_is_at_work(site: Site) -> None:
    """C6: list, verify, find and restore see finished backups only."""
    site.fill()
    flag = site.folder / "flag"
    site.configure([folder_entry()])
    name = site.backup()
    site.configure([folder_entry(), shell_entry(f"until [ -e {flag} ]; do sleep 0.02; done; echo done")])
    first = site.start("-q")
    wait_until(lambda: list(site.staging.glob("run-*/backup/folder")), "the first run is at work")
    assert site.listed() == [(name, "complete")]
    site.run("verify", "all")
    site.run("find", "a.txt")
    site.restored()
    flag.touch()
    assert site.finish(first).status == 0


@pytest.mark.parametrize(
    "missing",
    ["pickup_core/config.py", "pickup_core/cli.py", "pickup_core/errors.py", "pickup_core/secret.py", "pickup_core"],
)
def test_status_5_the_installation_is_broken(site: Site, missing: str) -> None:
    """E11: one sentence, no traceback."""
    site.fill()
    tree = copied_tree(site.folder / "tree")
    site.pickup = tree / "pickup.py"
    site.run("-q")
    gone = tree / missing
    if gone.is_dir():
        shutil.rmtree(gone)
        gone.mkdir()
        gone /= "__init__.py"
    # Not deleted: where Pickup is installed from a checkout too, Python would find the module there.
    gone.write_text(f'raise ImportError("No module named {gone.stem}")\n')
    result = site.run("-q", status=5)
    assert re.fullmatch(r"ERROR: this installation is broken: .+\nHint: .+\n", result.err), result


def test_status_5_a_python_package_is_missing(site: Site) -> None:
    """E11: an interpreter without the packages that Pickup needs."""
    site.prefix = [sys.executable, "-S"]  # no site-packages
    site.command = lambda *arguments, config=True: [  # type: ignore[method-assign]
        sys.executable, "-S", str(site.pickup), "-c", str(site.config), *map(str, arguments)
    ]  # fmt: skip
    result = site.run("-q", status=5)
    assert re.fullmatch(
        r"ERROR: this installation is broken: No module named '\w+' \(with .+\)\nHint: .+\n", result.err
    ), result


def test_status_6_a_stored_file_is_damaged(site: Site) -> None:
    """V1."""
    site.fill()
    name = site.backup()
    damaged = site.backups / JOB / name / "folder/files/source.tar.zst"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    result = site.run("-q", "verify", status=6)
    assert result.err == (
        f"ERROR: target disk: {JOB}/{name}/folder/files/source.tar.zst has changed: "
        "its SHA-256 is not that of the manifest\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_status_128_and_more_a_signal_ended_the_run(site: Site, number: signal.Signals) -> None:
    """K1."""
    site.configure([command_entry("sleep", "1000")])
    process = site.start("-q")
    wait_until(lambda: list(site.staging.glob("run-*/scratch-*")), "the run is at work")
    process.send_signal(number)
    result = site.finish(process)
    assert result.status == 128 + number
    assert result.problems == f"ERROR: stopped by {number.name}\n"


def test_nohup_keeps_a_run_from_being_hung_up(site: Site) -> None:
    flag = site.folder / "flag"
    site.configure([shell_entry(f"until [ -e {flag} ]; do sleep 0.02; done; echo done")])
    site.prefix = ["/usr/bin/nohup"]
    process = site.start("-q")
    wait_until(lambda: list(site.staging.glob("run-*/scratch-*")), "the run is at work")
    process.send_signal(signal.SIGHUP)
    flag.touch()
    assert site.finish(process).status == 0


def test_the_worst_of_several_is_the_status(site: Site) -> None:
    """A warning and a failure together give 2; a broken log beside damage gives 6."""
    site.fill()
    site.configure([folder_entry(), command_entry("false")])
    site.log.write_text("a file")
    site.log.chmod(0o600)
    site.run("-q", status=2)
    name = site.names()[0]
    (site.backups / JOB / name / "RESTORE.txt").unlink()
    assert f"{JOB}/{name}/RESTORE.txt is missing" in site.run("-q", "verify", name, status=6).err


def test_output_that_nobody_reads_any_more_is_no_internal_error(site: Site) -> None:
    site.fill()
    site.backup()
    reader, writer = os.pipe()
    os.close(reader)
    process = site.start("list", stdout=writer)
    os.close(writer)
    result = site.finish(process)
    assert result.status in (0, 128 + signal.SIGPIPE), result
    assert result.err == ""


def test_the_version_and_the_help_need_no_config(site: Site) -> None:
    assert re.fullmatch(r"Pickup \d+\.\d+\.\d+\n", site.run("--version", config=False).out)
    assert site.run("--help", config=False).out.startswith("usage: pickup.py")
    for command in ("run", "check", "list", "status", "find", "verify", "restore", "prune", "keep", "profiles", "init"):
        assert f"usage: pickup.py {command}" in site.run(command, "--help", config=False).out


def test_init_writes_a_private_config_that_works_and_never_over_another(site: Site) -> None:
    """I7: 0600, whatever the umask."""
    new = site.folder / "new" / "config.py"
    result = site.run("init", new, config=False)
    assert str(new) in result.out
    assert new.stat().st_mode & 0o777 == 0o600
    text = new.read_text()
    if os.geteuid() == 0:
        assert "found folder/etc: " in result.out
        assert '    dict(\n        name="etc",\n' in text
    result = site.run("init", new, config=False, status=3)
    assert result.err == f"ERROR: {new} is there already and is left as it is\nHint: pickup.py init OTHER-FILE\n"
    assert new.read_text() == text
    settings = (  # and entries of the test's own: what was found on this machine may be large
        "\nGENERATORS = [dict(name='system', profile='command', config=dict(command='uname'))]"
        "\nTARGETS[0]['config']['path'] = 'backups'"
        f"\nSTAGING_AREA = '{site.staging}'\nSTATE_FOLDER = '{site.state}'\nLOG_FOLDER = '{site.log}'\nMIN_FREE = 0\n"
    )
    new.write_text(text + settings)
    site.config = new
    site.private.append(new.parent)
    site.run("-n")
    site.run()
    assert [each["status"] for each in site.run("list", "--json").json] == ["complete"]


def test_profiles_are_shown_with_their_manuals(site: Site) -> None:
    table = site.run("profiles").out
    assert {line.split()[1] for line in table.splitlines()[1:]} >= {"folder", "command", "sqlite"}
    manual = site.run("profiles", "folder").out
    assert "exclude: list[str] (default [])" in manual
    assert "folder (target profile)" in manual
    assert site.run("profiles", "--json").json
    result = site.run("profiles", "foldr", status=3)
    assert "there is no profile 'foldr'" in result.err


def test_a_target_that_is_not_there_any_more_is_no_empty_one(site: Site) -> None:
    """T34: the root is renamed away; nothing is made in its place, and exit 2 says so."""
    site.fill()
    site.backup()
    site.backups.rename(site.folder / "elsewhere")
    for command in ([], ["list"], ["verify"], ["verify", "all"]):
        result = site.run("-q", *command, status=2)
        assert f"{site.backups} does not exist" in result.err
        assert "Hint: is the disk mounted?" in result.err
        assert not site.backups.exists()
    result = site.run("-q", "restore", "--to", site.folder / "x", status=2)
    assert f"{site.backups} does not exist" in result.err


@pytest.mark.parametrize("missing", [Path("nowhere"), Path("source/gone")])
def test_a_folder_that_is_missing_or_empty_is_a_failure(site: Site, missing: Path) -> None:
    """G19, G40: never an empty archive."""
    site.source.mkdir()
    site.configure([folder_entry(site.folder / missing), command_entry("true", allow_empty=True)])
    result = site.run("-q", status=2)
    assert result.problems == (
        f"ERROR: GENERATORS[0] 'files' (folder): {Path(missing).name}.tar: {site.folder / missing} does not exist\n"
    )
    site.configure([folder_entry(), command_entry("true", allow_empty=True)])
    result = site.run("-q", status=2)
    assert f"{site.source} is empty\nHint: is it mounted? If it may be empty, say allow_empty=True\n" in result.err
    site.configure([folder_entry(allow_empty=True)])
    site.run("-q")


def test_an_unknown_target_in_the_command_line_of_restore_is_named(site: Site) -> None:
    site.configure(targets=[target_entry()])
    result = site.run("list", "--target", "tape", status=3)
    assert result.err == "ERROR: there is no entry 'tape' in the config\nHint: there are: disk\n"


def test_keep_needs_one_backup_and_says_which_there_are(site: Site) -> None:
    site.fill()
    names = [site.backup(), site.backup()]
    result = site.run("keep", "20", "a reason", status=3)
    assert "whose name begins with '20'\nHint: give more of its name: 20" in result.err
    result = site.run("keep", "1999", "a reason", status=3)
    assert "Hint: pickup.py list shows them" in result.err
    result = site.run("keep", names[0], status=3)
    assert result.err == "ERROR: keep takes a REASON, or --release\n"


@pytest.mark.parametrize("command", [[], ["list"]])
def test_a_full_disk_behind_stdout_is_no_bug_of_ours(site: Site, command: list[str]) -> None:
    """I12: what cron could not write down is said, and the backup is there."""
    site.fill()
    site.backup()
    with open("/dev/full", "w") as full:
        result = site.finish(site.start(*command, stdout=full))
    assert result.status in (1, 2), result
    assert "No space left on device" in result.err
    assert "internal" not in result.err
    assert {status for _, status in site.listed()} == {"complete"}


def test_a_run_goes_on_where_nobody_reads_what_it_says(site: Site) -> None:
    """I12."""
    site.fill()
    reader, writer = os.pipe()
    os.close(reader)
    process = site.start(stdout=writer)
    os.close(writer)
    assert site.finish(process).status in (0, 128 + signal.SIGPIPE)
    assert [status for _, status in site.listed()] == ["complete"]


def test_a_python_that_is_too_old_is_told_in_a_sentence(site: Site) -> None:
    """E11: whatever fails while the first module is loaded."""
    tree = copied_tree(site.folder / "tree")
    (tree / "pickup_core/errors.py").write_text("worst: int[1] = 1 | None\n")
    site.pickup = tree / "pickup.py"
    result = site.run("-q", status=5)
    assert re.fullmatch(r"ERROR: this installation is broken: .+\nHint: .+\n", result.err), result
