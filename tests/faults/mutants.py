"""Do the tests bite? Hand-made mutants: one change each that breaks a rule of Pickup's, and a test that has to go red.

    python -m tests.faults.mutants              all of them
    python -m tests.faults.mutants NAME ...     these

They are made in a copy of the checkout, without what git ignores. The checkout itself is not touched.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
_SECONDS = 120  # that pytest may take for one mutant
_ALL_SECONDS = 600  # and for all tests without one
_MARK = "PICKUP_MUTANTS"  # a variable of what is started here
_FAILED = 1  # https://docs.pytest.org/en/stable/reference/exit-codes.html


@dataclass(frozen=True)
class Mutant:
    """A change of one place in one file, the rule that it breaks, and the test that notices.

    `old` stands in the file once; `test` is a node id of pytest. Where the mutant `may_hang`, a test that does not end
    has noticed too.
    """

    name: str
    rule: str
    file: str
    old: str
    new: str
    test: str
    may_hang: bool = False


MUTANTS = (
    # What has to be on the disk, and under which name
    Mutant(
        "fsync-content-dropped",
        "A file is on the disk when `put` returns.",
        "target_profiles/folder.py",
        "        with _naming(place):\n            os.fsync(descriptor)\n",
        "",
        'tests/test_target_folder.py::test_what_has_returned_is_on_the_disk[put(target, "file", b"1")]',
    ),
    Mutant(
        "fsync-link-dropped",
        "A staged file that becomes a hard link is synced too.",
        "target_profiles/folder.py",
        "_sync_all(linked, there)\n",
        "pass\n",
        "tests/test_target_folder.py::test_everything_is_on_the_disk_before_the_manifest_has_its_name[/var/tmp]",
    ),
    Mutant(
        "fsync-folder-dropped",
        "The name of a file is on the disk when `put` returns.",
        "target_profiles/folder.py",
        "            _write(folder, name, stream, self.config.path / path)\n            os.fsync(folder)\n",
        "            _write(folder, name, stream, self.config.path / path)\n",
        'tests/test_target_folder.py::test_what_has_returned_is_on_the_disk[put(target, "file", b"1")]',
    ),
    Mutant(
        "fsync-new-folder-dropped",
        "The name of a new folder is on the disk before something lies in it.",
        "target_profiles/folder.py",
        "        return\n    os.fsync(folder)\n",
        "        return\n",
        'tests/test_target_folder.py::test_what_has_returned_is_on_the_disk[put(target, "web01/deep/er/file", b"1")]',
    ),
    Mutant(
        "fsync-put-folder-dropped",
        "The names of all files that are stored in one call are on the disk.",
        "target_profiles/folder.py",
        "                os.fsync(there)\n",
        "",
        "tests/test_target_folder.py::test_everything_is_on_the_disk_before_the_manifest_has_its_name[/var/tmp]",
    ),
    Mutant(
        "fsync-commit-dropped",
        "The final name of a manifest is on the disk when `commit` returns.",
        "target_profiles/folder.py",
        "                raise\n            os.fsync(folder)\n",
        "                raise\n",
        'tests/test_target_folder.py::test_what_has_returned_is_on_the_disk[target.commit("web01/x.keep", b"1")]',
    ),
    Mutant(
        "fsync-delete-dropped",
        "What was deleted is gone from the disk before anything else is.",
        "target_profiles/folder.py",
        "            _remove(folder, name)\n            os.fsync(folder)\n",
        "            _remove(folder, name)\n",
        "tests/test_target_folder.py::test_what_has_returned_is_on_the_disk"
        '[put(target, "web01/file", b"1"); target.delete("web01/file")]',
    ),
    Mutant(
        "manifest-without-rename",
        "A manifest appears under its name as a whole.",
        "target_profiles/folder.py",
        '            temporary = f".{name}.{os.urandom(8).hex()}"\n',
        "            temporary = name\n",
        "tests/test_target_folder.py::test_everything_is_on_the_disk_before_the_manifest_has_its_name[/var/tmp]",
    ),
    Mutant(
        "target-shares-inode",
        "Two targets never share one file.",
        "target_profiles/folder.py",
        "linked = status.st_nlink == 2 and status",
        "linked = status",
        "tests/test_target_folder.py::test_one_target_shares_the_staged_file_and_a_second_gets_a_copy",
    ),
    # Publish: what makes a backup finished
    Mutant(
        "manifest-first",
        "The manifest is put after all files.",
        "pickup_core/publish.py",
        "        store.put_folder(folder, path)\n",
        '        store.commit(f"{path}.json", encoded)\n'
        "        store.put_folder(folder, path)\n"
        '        store.delete(f"{path}.json")\n',
        "tests/test_publish.py::test_the_mark_comes_first_and_the_manifest_last",
    ),
    Mutant(
        "manifest-before-confirmation",
        "The files are confirmed before the manifest is put.",
        "pickup_core/publish.py",
        "        _confirm(store, path, manifest, encoded, read_back)\n"
        '        leftovers.insert(0, f"{path}{marker}")\n'
        '        store.commit(f"{path}{marker}", encoded)\n',
        '        leftovers.insert(0, f"{path}{marker}")\n'
        '        store.commit(f"{path}{marker}", encoded)\n'
        "        _confirm(store, path, manifest, encoded, read_back)\n",
        "tests/test_publish.py::test_everything_is_confirmed_before_the_manifest_and_the_manifest_after",
    ),
    Mutant(
        "sizes-not-confirmed",
        "Every file is listed with its size before the backup counts.",
        "pickup_core/publish.py",
        "        if listed.get(file.path) != file.size:\n",
        "        if False:\n",
        "tests/test_publish.py::test_a_place_that_says_ok_but_stores_another_size_is_found_out",
    ),
    Mutant(
        "read-back-dropped",
        "With `read_back` every file's content is compared.",
        "pickup_core/publish.py",
        "    if store.sha256(path) != file.sha256:\n",
        "    if False:\n",
        "tests/test_publish.py::test_flipped_bytes_are_found_by_reading_back",
    ),
    Mutant(
        "manifest-not-read-back",
        "The manifest is read back and compared.",
        "pickup_core/publish.py",
        '        if read_small(store, f"{path}{marker}", LONGEST) != encoded:\n',
        "        if False:\n",
        "tests/test_publish.py::test_everything_is_confirmed_before_the_manifest_and_the_manifest_after",
    ),
    Mutant(
        "partial-named-complete",
        "A partial backup has a name of its own.",
        "pickup_core/publish.py",
        '".json" if manifest.is_complete else ".partial.json"',
        '".json"',
        "tests/test_publish.py::test_a_partial_backup_has_a_name_of_its_own",
    ),
    Mutant(
        "name-taken-ignored",
        "A backup is never stored over one of its name.",
        "pickup_core/publish.py",
        "in sorted(names & {item.name for item in store.listdir(job)}):\n",
        "in sorted(names - names):\n",
        "tests/test_publish.py::test_what_has_the_name_already_is_neither_overwritten_nor_deleted",
    ),
    Mutant(
        "failed-upload-left",
        "An upload that fails leaves nothing.",
        "pickup_core/publish.py",
        "        _withdraw(store, leftovers)\n",
        "",
        "tests/test_publish.py::test_wherever_it_breaks_off_nothing_is_left_and_the_others_are_whole",
    ),
    Mutant(
        "withdrawn-manifest-last",
        "A backup that is taken back loses its manifest first.",
        "pickup_core/publish.py",
        "        leftovers.insert(0, ",
        "        leftovers.insert(1, ",
        "tests/test_publish.py::test_where_the_manifest_cannot_be_taken_back_its_files_stay_too",
    ),
    # Child processes
    Mutant(
        "status-ignored",
        "A program that does not end with status 0 has failed.",
        "pickup_core/process.py",
        "        if status not in success_codes:\n",
        "        if False:\n",
        "tests/test_process.py::test_a_program_that_dies_half_way_fails_with_its_last_words",
    ),
    Mutant(
        "status-in-pipe-ignored",
        "In a pipe the status of each program counts.",
        "pickup_core/process.py",
        "            if status != 0:\n",
        "            if False:\n",
        "tests/test_process.py::test_in_a_pipe_the_status_of_each_command_counts",
    ),
    Mutant(
        "trailer-ignored",
        "A dump without its last lines is none, whatever its status is.",
        "pickup_core/process.py",
        "        if self._expected_end and not self._expected_end.search(self._last):\n",
        "        if False:\n",
        "tests/test_process.py::test_a_dump_without_its_last_lines_fails_though_its_program_is_content",
    ),
    Mutant(
        "empty-output-accepted",
        "A program that writes nothing has failed.",
        "pickup_core/process.py",
        "        if not self._last and not self._allow_empty:\n",
        "        if False:\n",
        "tests/test_process.py::test_a_program_that_writes_nothing_fails_unless_that_is_allowed",
    ),
    Mutant(
        "fed-program-reads-half",
        "A program that is fed has to read all that it is given.",
        "pickup_core/process.py",
        "        if not reads_on:\n",
        "        if False:\n",
        "tests/test_process.py::test_a_fed_command_that_does_not_read_all_has_failed_whatever_it_says",
    ),
    Mutant(
        "group-not-killed",
        "What a program has started is ended with it.",
        "pickup_core/child.py",
        "            os.killpg(self._popen.pid, number)\n",
        "            os.kill(self._popen.pid, number)\n",
        "tests/test_process.py::test_a_program_that_writes_nothing_for_too_long_is_stopped",
    ),
    Mutant(
        "no-sigkill",
        "A program that does not hear SIGTERM is killed.",
        "pickup_core/child.py",
        "        self._signal(signal.SIGKILL)\n",
        "",
        "tests/test_process.py::test_a_group_that_does_not_hear_sigterm_is_killed",
    ),
    Mutant(
        "stall-ignored",
        "A program from which nothing comes is stopped at the stall limit.",
        "pickup_core/child.py",
        "time.monotonic() + self.next_wait()\n",
        "time.monotonic() + self.next_wait() + 5\n",
        "tests/test_process.py::test_a_program_that_writes_nothing_for_too_long_is_stopped",
    ),
    Mutant(
        "time-limit-ignored",
        "A program that may take so long is stopped then.",
        "pickup_core/child.py",
        "        if left <= 0:\n",
        "        if left <= -8:\n",
        "tests/test_process.py::test_a_time_limit_stops_a_program_that_writes_on",
    ),
    Mutant(
        "terminal-kept",
        "A program has no terminal to ask for a password at.",
        "pickup_core/child.py",
        "start_new_session=True",
        "process_group=0",
        "tests/test_process.py::test_a_program_leads_a_group_and_a_session_of_its_own",
    ),
    Mutant(
        "descriptors-inherited",
        "A program inherits no descriptor of ours.",
        "pickup_core/child.py",
        "start_new_session=True",
        "start_new_session=True, close_fds=False",
        "tests/test_process.py::test_a_program_inherits_no_descriptor_of_ours",
    ),
    # Secrets
    Mutant(
        "secret-in-argv",
        "A secret is in no argument of a program.",
        "pickup_core/child.py",
        "                command, stdin=stdin",
        "                [*command, *(x.reveal() for x in (terms.env or {}).values() if isinstance(x, Secret))],\n"
        "                stdin=stdin",
        "tests/test_generator_command.py::test_a_secret_is_seen_by_the_command_and_by_nobody_else",
    ),
    Mutant(
        "secret-in-message",
        "What a program says of itself is shown without secrets.",
        "pickup_core/child.py",
        "    shown = [redact(line) for line in",
        "    shown = [line for line in",
        "tests/test_process.py::test_a_secret_is_neither_in_the_arguments_nor_in_a_message",
    ),
    Mutant(
        "secret-in-log",
        "No line of the log shows a secret.",
        "pickup_core/wording.py",
        ':02x}", redact(text))',
        ':02x}", text)',
        "tests/test_logs.py::test_no_message_shows_a_secret",
    ),
    Mutant(
        "secret-in-own-logging",
        "No line of the config's own logging shows a secret.",
        "pickup_core/logs.py",
        "        return printable(self._formatter.format(record))\n",
        "        return self._formatter.format(record)\n",
        "tests/test_logs.py::test_logging_in_the_config_replaces_everything_but_hides_secrets",
    ),
    Mutant(
        "secret-in-manifest",
        "A failure in the manifest shows no secret.",
        "pickup_core/report.py",
        "outcome.failures.append(redact(sentence))",
        "outcome.failures.append(sentence)",
        "tests/test_report.py::test_what_goes_into_the_manifest_has_no_secret",
    ),
    Mutant(
        "secret-in-stored-config",
        "The config is stored without its secrets.",
        "pickup_core/config.py",
        "        masked_text=masked,\n",
        "        masked_text=source,\n",
        "tests/test_config.py::test_the_copy_for_the_targets_has_no_secret",
    ),
    Mutant(
        "secret-shown-as-url",
        "A secret is masked as URLs write it too.",
        "pickup_core/secret.py",
        'quoted = urllib.parse.quote(value, safe="", errors="surrogateescape")',
        "quoted = value",
        "tests/test_secret.py::test_a_message_loses_every_spelling_of_a_secret[url]",
    ),
    Mutant(
        "secret-file-open-to-all",
        "A secret file that others can read is refused.",
        "pickup_core/secret.py",
        "or stat.S_IMODE(status.st_mode) & 0o077:",
        "or False:",
        "tests/test_secret.py::test_a_secret_file_that_others_can_read_is_refused",
    ),
    Mutant(
        "secret-on-command-line",
        "A secret on the command line is refused.",
        "pickup_core/load.py",
        "        if speaks_of_secret(key):\n",
        "        if False:\n",
        "tests/test_load.py::test_a_secret_on_the_command_line_is_refused",
    ),
    Mutant(
        "environment-not-cleaned",
        "What held a secret is not in the environment of children.",
        "pickup_core/secret.py",
        "if k not in hidden and not",
        "if not",
        "tests/test_secret.py::test_a_secret_from_the_environment_is_hidden_from_children",
    ),
    Mutant(
        "environment-loads-code",
        "Nothing in the environment changes what a child loads.",
        "pickup_core/secret.py",
        ' and not k.startswith(("PYTHON", "LD_"))',
        "",
        "tests/test_secret.py::test_children_get_nothing_that_changes_what_they_load",
    ),
    Mutant(
        "environment-to-other-user",
        "A command of another user gets none of our variables.",
        "pickup_core/child.py",
        "items() if name.startswith(_PLAIN)}",
        "items()}",
        "tests/test_child.py::test_a_user_gets_names_of_their_own_and_no_secret_of_ours",
    ),
    # Who may change what is relied on, and who may look
    Mutant(
        "config-owner-ignored",
        "A config of another user is not run.",
        "pickup_core/trust.py",
        "    if status.st_uid not in (0, os.geteuid()):\n        hint",
        "    if False:\n        hint",
        "tests/test_config.py::test_a_config_of_another_user_is_refused",
    ),
    Mutant(
        "config-mode-ignored",
        "A config that others can write is not run.",
        "pickup_core/trust.py",
        "    if others_may_write(path, status):\n",
        "    if False:\n",
        "tests/test_config.py::test_a_config_that_others_can_write_is_refused",
    ),
    Mutant(
        "config-folder-ignored",
        "Root runs no config from a folder that others can write.",
        "pickup_core/trust.py",
        "        if os.geteuid() == 0:\n            check_way_to(path)\n",
        "",
        "tests/test_config.py::test_root_runs_no_config_from_a_folder_that_others_can_write",
    ),
    Mutant(
        "config-secret-readable",
        "A config that everybody can read holds no secret.",
        "pickup_core/config.py",
        "    if is_public and masked != source:\n",
        "    if False:\n",
        "tests/test_config.py::test_a_config_that_all_can_read_may_hold_no_secret",
    ),
    Mutant(
        "sibling-shadows",
        "A module beside the config has no name that another one has.",
        "pickup_core/siblings.py",
        " or (not parent and self._has_another(fullname, found))",
        "",
        "tests/test_siblings.py::test_a_module_with_a_name_that_python_has_changes_nothing",
    ),
    Mutant(
        "sibling-found-by-all",
        "Only the config finds the modules beside it.",
        "pickup_core/siblings.py",
        "                sys.meta_path.remove(self)\n",
        "                pass\n",
        "tests/test_siblings.py::test_nobody_else_finds_it",
    ),
    Mutant(
        "sibling-stays",
        "Each config has its own modules.",
        "pickup_core/siblings.py",
        "sys.modules.pop(name) for name",
        "sys.modules[name] for name",
        "tests/test_siblings.py::test_each_config_has_its_own",
    ),
    Mutant(
        "sibling-masked-late",
        "A secret of a module is known before the module is run.",
        "pickup_core/siblings.py",
        "            masked_source(source)  # so",
        "            pass  # so",
        "tests/test_siblings.py::test_an_error_shows_no_secret_of_a_module",
    ),
    Mutant(
        "sibling-untrusted",
        "A module that others can write is not run.",
        "pickup_core/siblings.py",
        "        source, status = read_trusted(path)\n",
        "        source, status = path.read_text(), path.stat()\n",
        "tests/test_siblings.py::test_a_module_that_others_can_write_is_refused",
    ),
    Mutant(
        "umask-kept",
        "Every file is private, whatever the umask was.",
        "pickup_core/cli.py",
        "    os.umask(0o077)\n",
        "",
        "tests/test_cli.py::test_every_file_is_private_from_the_start",
    ),
    Mutant(
        "log-0644",
        "The log is private from its first moment.",
        "pickup_core/logs.py",
        "flags, 0o600)",
        "flags, 0o644)",
        "tests/test_logs.py::test_the_file_and_its_folder_are_private_whatever_the_umask[0]",
    ),
    Mutant(
        "log-through-link",
        "The log is not written through a symbolic link.",
        "pickup_core/logs.py",
        "os.O_APPEND | os.O_NOFOLLOW |",
        "os.O_APPEND |",
        "tests/test_logs.py::test_a_link_in_place_of_the_file_stops_nothing_and_is_not_followed",
    ),
    Mutant(
        "history-0644",
        "The history is private from its first moment.",
        "pickup_core/history.py",
        "flags, 0o600)",
        "flags, 0o644)",
        "tests/test_history.py::test_it_is_private",
    ),
    Mutant(
        "history-through-link",
        "The history is not written through a symbolic link.",
        "pickup_core/history.py",
        "os.O_APPEND | os.O_NOFOLLOW |",
        "os.O_APPEND |",
        "tests/test_history.py::test_a_link_is_not_written_through",
    ),
    Mutant(
        "memory-0755",
        "What is remembered of manifests lies in folders of our own.",
        "pickup_core/trust.py",
        "            path.mkdir(mode=0o700)\n",
        "            path.mkdir(mode=0o755)\n",
        "tests/test_memory.py::test_nobody_else_can_read_it",
    ),
    Mutant(
        "target-0644",
        "A file in a folder target is private from its first moment.",
        "target_profiles/folder.py",
        "_NEW_FILE, 0o600,",
        "_NEW_FILE, 0o644,",
        "tests/test_target_folder.py::test_every_path_is_private_from_the_first_moment[/dev/shm-0]",
    ),
    Mutant(
        "target-0755",
        "A folder in a folder target is private from its first moment.",
        "target_profiles/folder.py",
        "        os.mkdir(name, 0o700,",
        "        os.mkdir(name, 0o755,",
        "tests/test_target_folder.py::test_every_path_is_private_from_the_first_moment[/dev/shm-0]",
    ),
    Mutant(
        "target-overwrites",
        "A folder target never overwrites.",
        "target_profiles/folder.py",
        "_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL |",
        "_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC |",
        "tests/test_target_folder.py::TestContract::test_put_never_overwrites",
    ),
    Mutant(
        "target-folder-through-link",
        "A folder target goes through no symbolic link.",
        "target_profiles/folder.py",
        "_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW |",
        "_FOLDER = os.O_RDONLY | os.O_DIRECTORY |",
        "tests/test_target_folder.py::test_nothing_is_written_through_a_link[web01/to-folder/new]",
    ),
    Mutant(
        "target-reads-through-link",
        "A folder target reads through no symbolic link.",
        "target_profiles/folder.py",
        "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK |",
        "os.O_RDONLY | os.O_NONBLOCK |",
        "tests/test_target_folder.py::test_nothing_is_read_through_a_link",
    ),
    Mutant(
        "mount-not-required",
        "With `require_mount` nothing is stored where no disk is mounted.",
        "target_profiles/folder.py",
        "        if self.config.require_mount and not",
        "        if False and not",
        "tests/test_target_folder.py::test_a_folder_that_is_no_mount_point_is_refused",
    ),
    # The staging area
    Mutant(
        "staging-0644",
        "A staged file is private from its first moment.",
        "pickup_core/trust.py",
        "os.O_CLOEXEC, 0o600)",
        "os.O_CLOEXEC, 0o644)",
        "tests/test_staging.py::test_everything_is_private_whatever_the_umask",
    ),
    Mutant(
        "staging-0755",
        "A staged folder is private from its first moment.",
        "pickup_core/trust.py",
        "        folder.mkdir(mode=0o700, exist_ok=True)\n",
        "        folder.mkdir(mode=0o755, exist_ok=True)\n",
        "tests/test_staging.py::test_everything_is_private_whatever_the_umask",
    ),
    Mutant(
        "staging-overwrites",
        "A staged file is never overwritten.",
        "pickup_core/trust.py",
        "os.O_WRONLY | os.O_CREAT | os.O_EXCL |",
        "os.O_WRONLY | os.O_CREAT |",
        "tests/test_staging.py::test_a_file_is_never_overwritten",
    ),
    Mutant(
        "staging-area-open-to-all",
        "A staging area that others can look into is refused.",
        "pickup_core/staging.py",
        "    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:\n",
        "    if False:\n",
        "tests/test_staging.py::test_an_area_that_others_can_look_into_is_refused",
    ),
    Mutant(
        "staged-part-kept",
        "A file whose source has failed does not stay.",
        "pickup_core/staging.py",
        "        if kind is not None:\n",
        "        if False:\n",
        "tests/test_staging.py::test_a_file_stays_after_a_clean_end_and_goes_after_any_other",
    ),
    Mutant(
        "short-write-accepted",
        "What the kernel did not take at once is written after it.",
        "pickup_core/staging.py",
        "                view = view[os.write(self._descriptor, view) :]\n",
        "                view = view[os.write(self._descriptor, view[:8192]) and len(view) :]\n",
        "tests/test_staging.py::test_a_large_file_is_written_whole",
    ),
    Mutant(
        "reserve-ignored",
        "Writing stops before the disk is full.",
        "pickup_core/staging.py",
        "        if room_in(self.path.parent, self._reserve).writable <= 0:\n",
        "        if False:\n",
        "tests/test_staging.py::test_writing_stops_before_the_reserve_is_used_up",
    ),
    Mutant(
        "foreign-staging-cleared",
        "What bears no mark is never cleared from the staging area.",
        "pickup_core/staging.py",
        "    if not (folder / STAGING_MARK).is_file():\n",
        "    if False:\n",
        "tests/test_staging.py::test_what_bears_no_mark_is_never_touched",
    ),
    Mutant(
        "living-run-cleared",
        "The folder of a run that is at work is not cleared.",
        "pickup_core/staging.py",
        "        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "",
        "tests/test_staging.py::test_the_folder_of_a_killed_run_is_cleared_and_that_of_a_living_one_is_not",
    ),
    # One run at a time
    Mutant(
        "lock-not-taken",
        "Two runs of a job are never at work together.",
        "pickup_core/lock.py",
        "fcntl.LOCK_EX | fcntl.LOCK_NB",
        "fcntl.LOCK_SH | fcntl.LOCK_NB",
        "tests/test_lock.py::test_a_second_holder_is_told_who_is_at_work_and_since_when",
    ),
    Mutant(
        "lock-inherited",
        "A child does not keep the lock.",
        "pickup_core/lock.py",
        '    with open(descriptor, "rb"):\n',
        '    os.set_inheritable(descriptor, True)\n    with open(descriptor, "rb"):\n',
        "tests/test_lock.py::test_a_child_does_not_keep_the_lock",
    ),
    Mutant(
        "lock-through-link",
        "A lock file is never a link.",
        "pickup_core/lock.py",
        "os.O_CREAT | os.O_NOFOLLOW |",
        "os.O_CREAT |",
        "tests/test_lock.py::test_a_lock_file_is_never_a_link",
    ),
    # Prune
    Mutant(
        "prune-before-publish",
        "Nothing is pruned before this run's backup is stored.",
        "pickup_core/delivery.py",
        "            publish(store, job, name,",
        "            if policy:\n"
        "                self._prune(target, catalogue, policy)\n"
        "            publish(store, job, name,",
        "tests/test_delivery.py::test_leftovers_go_before_the_upload_and_old_backups_after_the_commit",
    ),
    Mutant(
        "prune-without-retention",
        "Without a retention policy nothing is deleted.",
        "pickup_core/delivery.py",
        "            policy, job, name = target.keys.retention, self",
        "            policy, job, name = target.keys.retention or Policy(last=1), self",
        "tests/test_delivery.py::test_without_retention_nothing_is_deleted",
    ),
    Mutant(
        "prune-manifest-last",
        "The manifest is deleted before the data.",
        "pickup_core/prune.py",
        "    if backup.marker:\n        store.delete(backup.manifest_path)\n",
        "",
        "tests/test_prune.py::test_the_manifest_goes_first_and_the_mark_last",
    ),
    Mutant(
        "prune-others-by-no-entry",
        "A machine that backs up nothing prunes by what the manifests hold.",
        "pickup_core/pruning.py",
        "    is_own = job == config.job and bool(config.generators)\n",
        "    is_own = job == config.job\n",
        "tests/test_pruning.py::test_a_machine_that_backs_up_nothing_prunes_for_others",
    ),
    Mutant(
        "prune-own-as-others",
        "The own job has the entries of the config, also among all.",
        "pickup_core/pruning.py",
        "session.config(generators=None)",
        "session.config(generators=False)",
        "tests/test_pruning.py::test_the_own_job_among_all_has_the_entries_of_the_config",
    ),
    Mutant(
        "prune-leaves-leftovers",
        "The command prune clears what broken uploads have left.",
        "pickup_core/pruning.py",
        "        cleared = clear_leftovers(catalogue, job, now, spares)\n",
        "        cleared = list[str](), list[str]()\n",
        "tests/test_pruning.py::test_what_broken_uploads_of_another_machine_have_left_is_cleared_a_week_after_it_was_seen",
    ),
    Mutant(
        "delete-keeps-the-reason",
        "With a backup goes the reason for which it was kept.",
        "pickup_core/prune.py",
        "    if backup.is_kept:\n        store.delete",
        "    if False:\n        store.delete",
        "tests/test_deleting.py::test_one_that_is_kept_stays_until_that_is_meant",
    ),
    Mutant(
        "delete-kept",
        "What is kept by hand is deleted only where that is said.",
        "pickup_core/deleting.py",
        "        if each.kept is not None and not options.even_kept:\n",
        "        if False:\n",
        "tests/test_deleting.py::test_one_that_is_kept_stays_until_that_is_meant",
    ),
    Mutant(
        "delete-last",
        "The last good copy of an entry is deleted only where that is said.",
        "pickup_core/deleting.py",
        "    if lost and not options.even_last:\n",
        "    if False:\n",
        "tests/test_deleting.py::test_the_last_copy_of_an_entry_stays_until_that_is_meant",
    ),
    Mutant(
        "delete-lossy-counts",
        "A copy with losses is none that is as good.",
        "pickup_core/deleting.py",
        "for label in summary.good if label not in good]",
        "for label in summary.good if label not in some]",
        "tests/test_deleting.py::test_the_last_copy_of_an_entry_stays_until_that_is_meant",
    ),
    Mutant(
        "delete-strangers",
        "What bears no mark of ours is not deleted.",
        "pickup_core/deleting.py",
        '    elif backup.status == "unfinished" and not is_ours(backup.catalogue.store, backup):\n',
        "    elif False:\n",
        "tests/test_deleting.py::test_one_of_a_later_version_and_one_without_our_mark_stay",
    ),
    Mutant(
        "delete-believed",
        "A backup is gone when the place no longer lists it.",
        "pickup_core/deleting.py",
        "    if is_there:\n",
        "    if False:\n",
        "tests/test_deleting.py::test_a_target_that_deletes_nothing_though_it_says_so_is_found_out",
    ),
    Mutant(
        "clone-unsaid",
        "A run says where another machine made the newest backup of its job.",
        "pickup_core/writers.py",
        "            if its_machine != machine or memory.misses(newest.job, newest.id):\n",
        "            if False:\n",
        "tests/test_writers.py::test_the_newest_backup_of_another_machine_is_told",
    ),
    Mutant(
        "clone-same-id-unsaid",
        "So it does where that machine has the same id.",
        "pickup_core/writers.py",
        " or memory.misses(newest.job, newest.id):\n",
        ":\n",
        "tests/test_writers.py::test_a_clone_with_this_machines_id_is_told",
    ),
    Mutant(
        "clone-costs-a-question",
        "A run that made the newest backup itself asks the place for nothing.",
        "pickup_core/writers.py",
        " or memory.began(newest.job, newest.id):\n",
        ":\n",
        "tests/test_writers.py::test_what_a_run_here_began_costs_no_question",
    ),
    Mutant(
        "prune-mark-first",
        "The mark is deleted after all other files.",
        "pickup_core/prune.py",
        "        if item.name != MARK_FILE:\n            store.delete",
        "        if True:\n            store.delete",
        "tests/test_prune.py::test_the_manifest_goes_first_and_the_mark_last",
    ),
    Mutant(
        "prune-half-guard-off",
        "An age rule does not delete more than half at once unasked.",
        "pickup_core/prune.py",
        "    if deletes_too_much(decisions, policy):\n",
        "    if False:\n",
        "tests/test_prune.py::test_more_than_half_at_once_by_age_stops_and_says_so",
    ),
    Mutant(
        "prune-two-machines",
        "Where two machines write backups of one job nothing is pruned.",
        "pickup_core/prune.py",
        "    if machine and (other :=",
        "    if False and (other :=",
        "tests/test_prune.py::test_where_two_machines_write_neither_prunes",
    ),
    Mutant(
        "prune-counts-forged",
        "A backup that no run here made displaces none.",
        "pickup_core/prune.py",
        "    return is_of_us and memory is not None and memory.misses(backup.job, backup.id)\n",
        "    return False\n",
        "tests/test_prune.py::test_a_backup_that_no_run_here_made_fills_no_place_and_stays",
    ),
    Mutant(
        "prune-stops-at-failure",
        "A deletion that fails does not hold up the others.",
        "pickup_core/prune.py",
        "    except (OSError, PickupError) as error:\n        warnings.append",
        "    except KeyError as error:\n        warnings.append",
        "tests/test_prune.py::test_one_deletion_that_fails_is_a_warning_and_the_others_go_on",
    ),
    Mutant(
        "prune-ignores-keep",
        "A backup that is kept by hand is never deleted.",
        "pickup_core/retention.py",
        "        if holding.kept_because is not None:\n",
        "        if False:\n",
        "tests/test_prune.py::test_a_backup_kept_by_hand_stays_until_it_is_released",
    ),
    Mutant(
        "newest-copy-not-kept",
        "The newest good copy of every entry stays.",
        "pickup_core/retention.py",
        '        for copies, remark in ((good, ""),',
        '        for copies, remark in ((good[1:], ""),',
        "tests/test_prune.py::test_the_newest_good_copy_of_every_entry_stays[memory]",
    ),
    Mutant(
        "future-counts",
        "A backup that is dated later than now is kept, and fills no place.",
        "pickup_core/retention.py",
        "for holding in newest_first if holding.started <= now]",
        "for holding in newest_first]",
        "tests/test_prune.py::test_a_backup_from_the_future_is_kept_not_counted_and_noted[memory]",
    ),
    Mutant(
        "leftovers-of-others-cleared",
        "An unfinished backup without our mark is not cleared.",
        "pickup_core/prune.py",
        "                if is_ours(catalogue.store, backup) and not spares(backup.folder):\n",
        "                if not spares(backup.folder):\n",
        "tests/test_prune.py::test_a_folder_that_does_not_bear_our_mark_stays",
    ),
    Mutant(
        "leftovers-of-other-job-cleared",
        "An unfinished backup of another job is not cleared.",
        "pickup_core/publish.py",
        "    return _stamp(job, name).encode() in mark\n",
        '    return f"backup: {name}\\n".encode() in mark\n',
        "tests/test_prune.py::test_a_folder_that_does_not_bear_our_mark_stays[memory-other job]",
    ),
    Mutant(
        "leftovers-age-ignored",
        "An unfinished backup is cleared only when it is older than a day.",
        "pickup_core/prune.py",
        "and now - backup.started > _LEFTOVER_AGE and not",
        "and not",
        "tests/test_prune.py::test_a_leftover_goes_when_it_is_older_than_a_day",
    ),
    # The manifest
    Mutant(
        "manifest-checksum-ignored",
        "A manifest that was changed is not believed.",
        "pickup_core/manifest.py",
        "    if has_last_member and end == expected:\n",
        "    if has_last_member:\n",
        "tests/test_manifest.py::test_every_flipped_bit_is_damage",
    ),
    Mutant(
        "manifest-paths-twice",
        "A path stands in a manifest once.",
        "pickup_core/manifest.py",
        " or file.path in seen:",
        ":",
        "tests/test_manifest.py::test_a_path_that_stands_twice_is_damage",
    ),
    Mutant(
        "manifest-members-twice",
        "A member stands in a manifest once.",
        "pickup_core/manifest.py",
        "    if len(members) != len(pairs):\n",
        "    if False:\n",
        "tests/test_manifest.py::test_a_member_that_stands_twice_is_damage",
    ),
    Mutant(
        "manifest-paths-lead-out",
        "A path in a manifest leads nowhere else.",
        "pickup_core/manifest.py",
        "        if not _SAFE_PATH.fullmatch(file.path) or file",
        "        if file",
        "tests/test_manifest.py::test_a_hostile_manifest_is_damage",
    ),
    Mutant(
        "manifest-of-another",
        "A manifest is that of the backup beside which it lies.",
        "pickup_core/catalogue.py",
        "        if manifest.id != self.id or manifest.job != self.job:\n",
        "        if False:\n",
        "tests/test_catalogue.py::test_a_manifest_under_another_name_is_damaged",
    ),
    Mutant(
        "manifest-exchanged",
        "A manifest that was exchanged at the target is noticed where it was made.",
        "pickup_core/memory.py",
        "    return written is not None and",
        "    return False and",
        "tests/test_verify.py::test_an_exchanged_manifest_is_noticed_where_it_was_made",
    ),
    Mutant(
        "summary-of-an-exchanged-manifest",
        "What is remembered of a manifest is not believed where a run here wrote another one.",
        "pickup_core/memory.py",
        " and not self.contradicts(path, known.sha256) else None",
        " else None",
        "tests/test_memory.py::test_a_summary_of_a_manifest_that_a_run_here_did_not_write_is_not_given",
    ),
    Mutant(
        "damaged-summary-believed",
        "A line of what is remembered that is damaged is passed over.",
        "pickup_core/memory.py",
        "if hashlib.sha256(body).hexdigest().encode() != sha256:",
        "if False:",
        "tests/test_memory.py::test_a_line_that_is_damaged_or_of_another_version_is_passed_over_and_others_are_not",
    ),
    Mutant(
        "failed-entry-called-ok",
        "An entry that failed is not recorded as one that went well.",
        "pickup_core/generate.py",
        'status="ok" if outcome.is_ok else "failed"',
        'status="ok"',
        "tests/test_generate.py::test_a_broken_artefact_costs_only_itself",
    ),
    Mutant(
        "losses-forgotten",
        "What is missing from an artefact is recorded, and fails its entry.",
        "pickup_core/generate.py",
        "        losses=tuple(map(redact, _judgement(artefact).losses)),\n",
        "",
        "tests/test_generate.py::test_warnings_and_losses_reach_the_record",
    ),
    Mutant(
        "nothing-published-as-backup",
        "Where every entry failed nothing is published.",
        "pickup_core/run.py",
        "    if any(record.artefacts for record in records):\n",
        "    if True:\n",
        "tests/test_run.py::test_where_nothing_was_produced_no_target_is_even_made",
    ),
    Mutant(
        "root-made-anew",
        "A target that was used before is not made anew where it is missing.",
        "pickup_core/delivery.py",
        "            if not self._history.knows_place(store.place):\n",
        "            if True:\n",
        "tests/test_delivery.py::test_a_place_that_has_a_backup_of_ours_is_not_made_anew",
    ),
    Mutant(
        "failure-without-exit-code",
        "A failure is seen in the exit status.",
        "pickup_core/report.py",
        "        self._codes.add(ExitCode.FAILED if",
        "        self._codes.add(ExitCode.OK if",
        "tests/test_report.py::test_an_error_fails_the_entry_and_not_the_run",
    ),
    # Verify
    Mutant(
        "verify-ignores-digest",
        "Verify compares the content of every file.",
        "pickup_core/verify.py",
        "    if store.sha256(path) != file.sha256:\n",
        "    if False:\n",
        "tests/test_verify.py::test_every_two_swapped_files_are_found",
    ),
    Mutant(
        "verify-ignores-size",
        "Verify tells the size of a file that has another one.",
        "pickup_core/verify.py",
        "    if size != file.size:\n",
        "    if False:\n",
        "tests/test_verify.py::test_the_findings_tell_what_is_the_matter",
    ),
    Mutant(
        "verify-ignores-missing",
        "Verify finds a file that is missing.",
        "pickup_core/verify.py",
        '        return [f"{path} is missing"]\n',
        "        return []\n",
        "tests/test_verify.py::test_every_missing_file_is_found",
    ),
    Mutant(
        "verify-ignores-extra",
        "Verify finds a file that is no part of the backup.",
        "pickup_core/verify.py",
        "    extras = sorted(sizes.keys() - {",
        "    extras = sorted(set() - {",
        "tests/test_verify.py::test_every_extra_file_is_found",
    ),
    Mutant(
        "verify-ignores-copy",
        "Verify compares the manifest's copy too.",
        "pickup_core/verify.py",
        "    elif sizes[MANIFEST_COPY] != len(data) or",
        "    elif False and",
        "tests/test_verify.py::test_every_truncation_is_found",
    ),
    # Status
    Mutant(
        "status-partial-is-fresh",
        "Only a complete backup is a fresh one.",
        "pickup_core/status.py",
        '        if backup.status == "complete":\n',
        "        if backup.is_finished:\n",
        "tests/test_watching.py::test_a_partial_backup_makes_nothing_fresh",
    ),
    Mutant(
        "status-any-copy-is-fresh",
        "Partial backups count together only where they lack nothing.",
        "pickup_core/status.py",
        "            if not missing:\n                return found, size\n",
        "            return found, size\n",
        "tests/test_watching.py::test_an_entry_that_never_went_well_leaves_the_age_to_the_last_complete_one",
    ),
    Mutant(
        "status-future-is-fresh",
        "A backup that is dated later than now makes nothing fresh.",
        "pickup_core/status.py",
        " if backup.started <= latest]",
        "]",
        "tests/test_watching.py::test_a_backup_from_the_future_makes_nothing_fresh",
    ),
    Mutant(
        "status-nothing-is-fresh",
        "A job that never had a complete backup is stale.",
        "pickup_core/status.py",
        "(age is None or age > max_age)",
        "(age is not None and age > max_age)",
        "tests/test_watching.py::test_a_job_without_any_backup_is_stale",
    ),
    Mutant(
        "status-retired-by-a-folder",
        "A file retires a job, and nothing else does.",
        "pickup_core/catalogue.py",
        "item.name == _RETIRED and not item.is_folder",
        "item.name == _RETIRED",
        "tests/test_watching.py::test_a_folder_does_not_retire_a_job",
    ),
    Mutant(
        "status-empty-target-is-silent",
        "A target that holds no backup of any job is told.",
        "pickup_core/watching.py",
        "        if not found:\n",
        "        if False:\n",
        "tests/test_watching.py::test_all_jobs_are_those_that_have_backups",
    ),
    Mutant(
        "status-failed-is-absent",
        "A target that could not be read is not excused.",
        "pickup_core/watching.py",
        "FAILED if of_place.failures else ABSENT",
        "ABSENT",
        "tests/test_watching.py::test_a_target_that_cannot_be_read_is_a_failure_and_hides_no_other",
    ),
    Mutant(
        "status-page-by-a-link",
        "What is written in one step is written through no link, and over no folder.",
        "pickup_core/trust.py",
        "    if not stat.S_ISREG(before.st_mode):\n",
        "    if False:\n",
        "tests/test_status_page.py::test_a_page_that_cannot_be_written_is_a_failure[link]",
    ),
    Mutant(
        "status-page-in-the-lead-of-others",
        "Root writes no page where another user could lead it elsewhere.",
        "pickup_core/trust.py",
        "        check_way_to(path.parent)\n",
        "        pass\n",
        "tests/test_status_page.py::test_root_writes_no_page_where_another_user_could_lead_it_elsewhere",
    ),
    Mutant(
        "status-page-for-everybody",
        "A page is private until somebody says otherwise.",
        "pickup_core/trust.py",
        "        with contextlib.suppress(FileNotFoundError):\n            _let_read(file.fileno(), path, path.lstat())\n",
        "        os.chmod(file.fileno(), 0o644)\n",
        "tests/test_status_page.py::test_a_page_is_written_for_us_alone_and_beside_it_nothing_is_left",
    ),
    Mutant(
        "status-page-shows-secrets",
        "No secret stands on a page.",
        "pickup_core/drawings.py",
        "short_line(redact(text))",
        "short_line(text)",
        "tests/test_status_page.py::test_a_secret_is_not_shown",
    ),
    Mutant(
        "status-page-obeys-names",
        "A hostile name on a page stays a name.",
        "pickup_core/status_page.py",
        'encoding="unicode", method="html")\n',
        'encoding="unicode", method="html").replace("&lt;", "<").replace("&gt;", ">")\n',
        "tests/test_status_page.py::test_a_hostile_name_stays_a_name",
    ),
    # Restore
    Mutant(
        "restore-without-digest",
        "Nothing is restored of a file that is not what was stored.",
        "pickup_core/catalogue.py",
        "                yield Checked(stream, name, file.size, file.sha256)\n",
        "                yield stream\n",
        "tests/test_restore.py::test_a_stored_file_that_has_changed_is_found_before_anything_is_written",
    ),
    Mutant(
        "restore-overwrites",
        "Restore overwrites nothing unasked.",
        "pickup_core/merge.py",
        "            elif is_folder or is_folder_there or not overwrite:\n",
        "            elif is_folder or is_folder_there:\n",
        "tests/test_restore.py::test_nothing_changes_where_a_file_is_in_the_way",
    ),
    Mutant(
        "restore-through-link",
        "Restore follows no symbolic link in its destination.",
        "pickup_core/merge.py",
        "FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW |",
        "FOLDER = os.O_RDONLY | os.O_DIRECTORY |",
        "tests/test_merge.py::test_a_folder_that_becomes_a_link_meanwhile_leads_nowhere",
    ),
    Mutant(
        "restore-led-elsewhere",
        "Root restores into no folder that somebody else could exchange.",
        "pickup_core/spool.py",
        "        see_that_nobody_else_leads(destination)",
        "        pass",
        "tests/test_spool.py::test_root_does_not_restore_where_somebody_else_leads_the_way",
    ),
    Mutant(
        "restore-unbounded",
        "Restore unpacks no more than the manifest says.",
        "pickup_core/streams.py",
        '        if self._left < 0:\n            raise DamageError("is larger',
        '        if False:\n            raise DamageError("is larger',
        "tests/test_hostile_archives.py::test_a_dump_that_is_larger_than_its_manifest_says_is_refused",
    ),
    Mutant(
        "archive-leads-out",
        "No member of an archive leads out of the destination.",
        "pickup_core/members.py",
        '    if name.startswith("/") or ".." in parts or "\\0" in name:\n',
        "    if False:\n",
        "tests/test_hostile_archives.py::test_a_hostile_archive_does_no_harm[parent-]",
    ),
    Mutant(
        "archive-through-link",
        "No member of an archive goes through a symbolic link of the archive.",
        "pickup_core/members.py",
        "        if known in symlinks:\n",
        "        if False:\n",
        "tests/test_hostile_archives.py::test_a_hostile_archive_does_no_harm[file through an absolute link-]",
    ),
    Mutant(
        "archive-hard-link-outside",
        "No hard link of an archive leads out of the destination.",
        "pickup_core/members.py",
        '    if member.islnk() and _safe(member.linkname, members.symlinks, "hard link target") in members.symlinks:\n',
        "    if False:\n",
        "tests/test_hostile_archives.py::test_a_hostile_archive_does_no_harm[hard link to a file outside-]",
    ),
    Mutant(
        "setuid-kept",
        "Setuid bits do not come back unasked.",
        "pickup_core/tame.py",
        "        elif stat.S_ISREG(mode) and mode & _HARMFUL_BITS:\n",
        "        elif False:\n",
        "tests/test_tame.py::test_what_could_harm_is_taken_away_and_counted",
    ),
    Mutant(
        "devices-kept",
        "Devices do not come back unasked.",
        "pickup_core/tame.py",
        "        elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):\n",
        "        elif False:\n",
        "tests/test_tame.py::test_what_could_harm_is_taken_away_and_counted",
    ),
    # Encryption and compression
    Mutant(
        "encryption-falls-back",
        "What is to be encrypted is never stored in clear text.",
        "pickup_core/generate.py",
        "            if recipients:\n                encrypt(",
        "            if False:\n                encrypt(",
        "tests/end_to_end/test_encryption.py::test_nothing_is_seen_of_it_and_each_key_opens_it",
    ),
    Mutant(
        "damaged-age-file-released",
        "Of an encrypted file that is damaged nothing is given.",
        "pickup_core/encryption.py",
        '            raise DamageError(f"cannot be decrypted: {short_line(str(error))}") from None\n',
        "            return\n",
        "tests/test_encryption.py::test_what_was_tampered_with_is_refused_before_a_byte_is_given[half is gone]",
    ),
    Mutant(
        "age-released-early",
        "An encrypted file's content is given when all of it was decrypted.",
        "pickup_core/encryption.py",
        "            self.decrypt(stream, file, name)\n"
        "            file.seek(0)\n"
        "            yield cast(BinaryIO, file)\n",
        "            try:\n"
        "                self.decrypt(stream, file, name)\n"
        "            finally:\n"
        "                file.seek(0)\n"
        "                yield cast(BinaryIO, file)\n",
        "tests/test_encryption.py::test_what_was_tampered_with_is_refused_before_a_byte_is_given[half is gone]",
    ),
    Mutant(
        "private-key-accepted",
        "A private key in the config is refused.",
        "pickup_core/encryption.py",
        "    if _PRIVATE.match(text):\n",
        "    if False:\n",
        "tests/test_encryption.py::test_a_private_key_in_the_config_is_refused_and_not_shown",
    ),
    Mutant(
        "stream-error-exchanged",
        "What a source raises while it is encrypted gets out as it is.",
        "pickup_core/encryption.py",
        "            if self._error is not None:\n",
        "            if False:\n",
        "tests/test_encryption.py::test_what_a_stream_raises_gets_out_as_it_is",
    ),
    Mutant(
        "zstd-checksum-off",
        "A compressed file has a checksum of its content.",
        "pickup_core/streams.py",
        "        parameter.checksum_flag: 1,\n",
        "        parameter.checksum_flag: 0,\n",
        "tests/test_streams.py::test_a_stream_with_another_content_raises[zstd]",
    ),
    Mutant(
        "zstd-level-ignored",
        "A file is compressed with the level that was asked for.",
        "pickup_core/streams.py",
        "        parameter.compression_level: level,\n",
        "        parameter.compression_level: 1,\n",
        "tests/test_streams.py::test_gzip_keeps_the_level_and_says_no_time",
    ),
    Mutant(
        "digest-before-write",
        "A digest counts nothing that was not written.",
        "pickup_core/streams.py",
        "        self._writer.write(data)\n        self._digest.update(data)\n        self.size += len(data)\n",
        "        self._digest.update(data)\n        self.size += len(data)\n        self._writer.write(data)\n",
        "tests/test_streams.py::test_a_digest_counts_nothing_that_was_not_written",
    ),
    # Signals
    Mutant(
        "sigterm-swallowed",
        "SIGTERM ends a run.",
        "pickup_core/cli.py",
        "        raise Stopped.heard\n",
        "        Stopped.heard = None\n",
        "tests/test_cli.py::test_a_signal_ends_what_is_done_and_gives_its_code[15]",
    ),
    Mutant(
        "signal-lost-in-attempt",
        "A signal whose exception a library swallowed is heard.",
        "pickup_core/report.py",
        "            if not even_if_stopped:\n                raise_if_stopped()\n            log.debug",
        "            log.debug",
        "tests/test_report.py::test_a_signal_whose_exception_is_swallowed_or_exchanged_is_heard",
    ),
    Mutant(
        "signal-while-child-starts",
        "A signal while a child starts does not leave that behind.",
        "pickup_core/child.py",
        "    for number in ours:\n        signal.signal(number, note)\n",
        "",
        "tests/test_child.py::test_a_signal_while_a_child_starts_is_heard_once_it_is_known",
    ),
    # Archives of folders
    Mutant(
        "tar-status-2-taken-as-fine",
        "A tar that dies has made no archive.",
        "generator_profiles/_tar.py",
        "        if status not in (0, 1) and not is_loss:\n",
        "        if False:\n",
        "tests/test_generator_folder.py::test_a_tar_that_dies_costs_the_archive",
    ),
    Mutant(
        "tar-losses-forgotten",
        "A file that could not be read is a loss.",
        "generator_profiles/_tar.py",
        "        return Judgement(tuple(warnings), tuple(sentence + hint for sentence in _unread(unread)))\n",
        "        return Judgement(tuple(warnings))\n",
        "tests/test_generator_folder.py::test_a_loss_fails_the_entry_and_keeps_the_archive",
    ),
    Mutant(
        "tar-changes-forgotten",
        "A file that changed while it was read is a warning.",
        "generator_profiles/_tar.py",
        " if changed else []\n",
        " if False else []\n",
        "tests/test_generator_folder.py::test_a_file_that_is_rewritten_in_place_is_named",
    ),
    Mutant(
        "tar-names-as-options",
        "A file's name is never taken for an option of tar.",
        "generator_profiles/folder.py",
        '"--null", "--verbatim-files-from", "--files-from=-"]',
        '"--null", "--no-verbatim-files-from", "--files-from=-"]',
        "tests/test_generator_folder.py::test_the_folder_itself_and_with_split_its_subfolders_may_have_hostile_names",
    ),
    Mutant(
        "source-link-followed",
        "A source that is a symbolic link is refused.",
        "generator_profiles/folder.py",
        "    if stat.S_ISLNK(mode):\n",
        "    if False:\n",
        "tests/test_generator_folder.py::test_a_symbolic_link_is_refused_with_the_folder_that_it_leads_to",
    ),
    Mutant(
        "empty-source-accepted",
        "An empty folder is taken for a disk that is not mounted.",
        "generator_profiles/folder.py",
        "            if next(found, None) is None:\n",
        "            if False:\n",
        "tests/test_generator_folder.py::test_an_empty_folder_fails_unless_it_may_be_empty",
    ),
    # Streaming
    Mutant(
        "source-failure-ends-file",
        "Where a source fails no target hears of an end of the file.",
        "pickup_core/fanout.py",
        "                self.send(_End(is_whole=False))\n",
        "                self.send(_End(is_whole=True))\n",
        "tests/test_fanout.py::test_a_source_that_fails_leaves_nothing_and_costs_no_target",
    ),
    Mutant(
        "stalled-target-never-dropped",
        "A target that takes nothing for too long drops out.",
        "pickup_core/fanout.py",
        "            if not self._wait(lambda: not self._items or self._waiting + size <= _AHEAD, self._stall):\n",
        "            if not self._wait(lambda: True):\n",
        "tests/test_fanout.py::test_one_that_stalls_drops_out_and_the_others_get_everything",
    ),
    Mutant(
        "unbounded-queue",
        "What waits for a slow target is bounded.",
        "pickup_core/fanout.py",
        "self._waiting + size <= _AHEAD, self",
        "True, self",
        "tests/test_fanout.py::test_a_target_that_is_slow_holds_the_run_up_at_a_few_mebibytes",
    ),
    Mutant(
        "all-targets-failed-not-noticed",
        "A stream ends where no target is left.",
        "pickup_core/fanout.py",
        "        if not any(channel.is_open for channel in self._channels):\n",
        "        if False:\n",
        "tests/test_fanout.py::test_where_no_target_is_left_the_run_need_not_go_on",
    ),
    Mutant(
        "stream-without-taker",
        "A stream that no target has taken is no backup.",
        "pickup_core/delivery.py",
        "        if not self._places:\n            raise NoTargetLeft\n",
        "",
        "tests/test_delivery.py::test_where_no_target_takes_a_stream_it_ends",
    ),
    Mutant(
        "early-end-accepted",
        "A target that returns before the end of a file has failed.",
        "pickup_core/fanout.py",
        "        if not stream.is_at_end:\n",
        "        if False:\n",
        "tests/test_fanout.py::test_a_target_that_returns_before_the_end_has_failed",
    ),
    Mutant(
        "given-up-stream-goes-on",
        "A backup that the run has given up leaves no target with anything.",
        "pickup_core/fanout.py",
        "        for channel in self._channels:\n            channel.withdraw()\n",
        "        for channel in self._channels:\n            channel.close()\n",
        "tests/test_fanout.py::test_a_backup_that_is_given_up_ends_every_target",
    ),
    Mutant(
        "stream-sent-twice",
        "A stream that cannot be read again is not sent again.",
        "pickup_core/shaping.py",
        "            store.put(path, metered(self._shaped(stream)))\n",
        "            self._again(lambda: store.put(path, self._shaped(stream)))\n",
        "tests/test_shaping.py::test_a_stream_that_cannot_be_read_again_is_not_sent_again",
    ),
    # Targets over the network
    Mutant(
        "ssh-unknown-key-accepted",
        "A host whose key is unknown gets nothing.",
        "target_profiles/_ssh_login.py",
        "        client.set_missing_host_key_policy(_KnownAlone(fingerprint, login.known_hosts))\n",
        "        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())\n",
        "tests/test_target_ssh.py::test_an_unknown_host_key_is_refused_before_a_password_is_sent",
    ),
    Mutant(
        "ssh-changed-key-accepted",
        "A host whose key has changed gets nothing.",
        "target_profiles/_ssh_login.py",
        "        if fingerprint is None:\n"
        "            _load_host_keys(client, login.known_hosts)\n"
        "        client.set_missing_host_key_policy(_KnownAlone(fingerprint, login.known_hosts))\n",
        "        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())\n",
        "tests/test_target_ssh.py::test_a_changed_host_key_is_refused_before_a_password_is_sent[ed25519]",
    ),
    Mutant(
        "ssh-fingerprint-ignored",
        "A host whose key is not the pinned one gets nothing.",
        "target_profiles/_ssh_login.py",
        '        if key.fingerprint != self._fingerprint.rstrip("="):\n',
        "        if False:\n",
        "tests/test_target_ssh.py::test_a_fingerprint_can_be_pinned",
    ),
    Mutant(
        "ssh-program-accepts-keys",
        "The program ssh is told to accept no key that is not known.",
        "pickup_core/ssh.py",
        '"StrictHostKeyChecking=yes"',
        '"StrictHostKeyChecking=no"',
        "tests/test_generator_remote_tar.py::test_what_stands_in_the_way_is_told",
    ),
    Mutant(
        "ssh-umask-022",
        "What is stored by the shell of a host is private.",
        "target_profiles/_ssh_writing.py",
        '"umask 077"',
        '"umask 022"',
        "tests/test_target_ssh.py::TestWithAShell::test_what_is_stored_is_private",
    ),
    Mutant(
        "ssh-shell-overwrites",
        "A file that appears in the last moment is not overwritten by the shell of a host.",
        "target_profiles/_ssh_writing.py",
        '        "set -C",',
        '        "set +C",',
        "tests/test_target_ssh.py::test_a_file_that_appears_in_the_last_moment_is_not_overwritten[dash]",
    ),
    Mutant(
        "sftp-0755",
        "A folder that is made by SFTP is private.",
        "target_profiles/_ssh_writing.py",
        "mkdir(path, 0o700)",
        "mkdir(path, 0o755)",
        "tests/test_target_ssh.py::TestWithSFTPAlone::test_what_is_stored_is_private",
    ),
    Mutant(
        "sftp-0644",
        "A file that is made by SFTP is private.",
        "target_profiles/_ssh_writing.py",
        "            file.chmod(0o600)\n",
        "            pass\n",
        "tests/test_target_ssh.py::TestWithSFTPAlone::test_what_is_stored_is_private",
    ),
    Mutant(
        "sftp-overwrites",
        "SFTP overwrites nothing.",
        "target_profiles/_ssh_writing.py",
        'open(place, "wx", 0)',
        'open(place, "w", 0)',
        "tests/test_target_ssh.py::TestWithSFTPAlone::test_put_never_overwrites",
    ),
    Mutant(
        "ssh-sync-dropped",
        "What the shell of a host has stored is synced before it counts.",
        "target_profiles/_ssh_writing.py",
        " && sync {file} {above}",
        "",
        "tests/test_target_ssh.py::test_a_file_and_its_folder_are_synced_and_it_is_no_file_before[dash]",
    ),
    Mutant(
        "host-as-option",
        "A host does not begin with a dash.",
        "pickup_core/options.py",
        'HOST = r"^[A-Za-z0-9:]',
        'HOST = r"^[A-Za-z0-9:-]',
        "tests/test_options.py::test_a_host_is_a_name_or_an_address_and_no_option[-oX]",
    ),
    Mutant(
        "lossy-counts-as-good",
        "A copy with losses displaces no good one.",
        "pickup_core/manifest.py",
        'tuple(entry.label for entry in self.entries if entry.status == "ok"),',
        "tuple(entry.label for entry in self.entries if entry.artefacts),",
        "tests/test_prune.py::test_copies_with_losses_displace_no_good_one",
    ),
    Mutant(
        "broken-source-stored",
        "A source that keeps its failure to itself is not stored.",
        "pickup_core/generate.py",
        "        if not is_at_end:\n",
        "        if False:\n",
        "tests/test_generate.py::test_a_source_that_hides_its_failure_is_not_stored",
    ),
    Mutant(
        "ssh-size-ignored",
        "A file that was stored over SSH has the size that was sent.",
        "target_profiles/ssh.py",
        "        if stored != size:\n",
        "        if False:\n",
        "tests/test_target_ssh.py::test_a_server_that_stores_fewer_bytes_than_it_says_is_told",
    ),
    Mutant(
        "rsync-deletes",
        "rsync deletes nothing but what is to be deleted.",
        "target_profiles/rsync.py",
        '_SENDING = ["--recursive", ',
        '_SENDING = ["--recursive", "--delete", ',
        "tests/test_target_rsync.py::TestDaemon::test_a_name_may_have_every_character_that_is_allowed",
    ),
    Mutant(
        "rsync-overwrites",
        "rsync overwrites nothing.",
        "target_profiles/rsync.py",
        '"--chmod=D700,F600", "--ignore-existing",',
        '"--chmod=D700,F600",',
        "tests/test_target_rsync.py::TestDaemon::test_put_never_overwrites",
    ),
    Mutant(
        "rsync-0644",
        "What rsync stores is private.",
        "target_profiles/rsync.py",
        "--chmod=D700,F600",
        "--chmod=D755,F644",
        "tests/test_target_rsync.py::TestDaemon::test_what_is_stored_is_private",
    ),
    Mutant(
        "rsync-status-ignored",
        "Every status of rsync but 0 is a failure.",
        "target_profiles/_rsync_answers.py",
        "    if status == 0:\n",
        "    if status in (0, 23, 24):\n",
        "tests/test_target_rsync.py::test_every_status_is_a_failure_with_a_sentence",
    ),
    Mutant(
        "tls-not-verified",
        "An FTP server has to prove by its certificate who it is.",
        "pickup_core/tls.py",
        "    context.minimum_version = ssl.TLSVersion.TLSv1_2\n",
        "    context.minimum_version = ssl.TLSVersion.TLSv1_2\n"
        "    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE\n",
        "tests/test_target_ftp.py::test_a_certificate_that_nobody_vouches_for_is_refused",
    ),
    Mutant(
        "tls-host-name-ignored",
        "An FTP server's certificate has to be that of its host.",
        "pickup_core/tls.py",
        "    context.minimum_version = ssl.TLSVersion.TLSv1_2\n",
        "    context.minimum_version = ssl.TLSVersion.TLSv1_2\n    context.check_hostname = False\n",
        "tests/test_target_ftp.py::test_a_certificate_for_another_name_is_refused",
    ),
    Mutant(
        "ftp-in-clear-text",
        "Where TLS is asked for nothing is sent in clear text.",
        "target_profiles/_ftp_login.py",
        "    if account.tls:\n",
        "    if False:\n",
        "tests/test_target_ftp.py::test_a_server_without_tls_is_refused_and_not_spoken_to_in_clear_text",
    ),
    Mutant(
        "ftp-login-before-tls",
        "The password is sent after TLS has begun.",
        "target_profiles/_ftp_login.py",
        "        if isinstance(ftp, _Encrypted):\n"
        "            _encrypt(ftp, account)\n"
        "        _identify(ftp, account)\n",
        "        ftplib.FTP.login(ftp, to_wire(account.user), to_wire(account.password.reveal()))\n"
        "        if isinstance(ftp, _Encrypted):\n"
        "            _encrypt(ftp, account)\n"
        '        ftp.voidcmd("TYPE I")\n',
        "tests/test_target_ftp.py::test_a_server_without_tls_is_refused_and_not_spoken_to_in_clear_text",
    ),
    Mutant(
        "ftp-data-in-clear-text",
        "An FTP server that does not encrypt the data is refused.",
        "target_profiles/_ftp_login.py",
        "            ftp.prot_p()\n",
        "            pass\n",
        "tests/test_target_ftp.py::test_a_server_that_does_not_encrypt_the_data_is_refused",
    ),
    Mutant(
        "ftp-broken-upload-ends",
        "An upload that breaks off does not reach an FTP server as a whole one.",
        "target_profiles/_ftp_connection.py",
        "            _reset(data)\n            raise\n",
        "            _finish(data)\n            raise\n",
        "tests/test_target_ftp.py::test_a_broken_off_upload_does_not_reach_the_server_as_a_whole_one",
    ),
    Mutant(
        "ftp-size-ignored",
        "A file that was stored by FTP has the size that was sent.",
        "target_profiles/ftp.py",
        "            if entry is None or entry.size != size:\n",
        "            if entry is None:\n",
        "tests/test_target_ftp.py::test_an_upload_that_is_cut_short_and_called_complete_is_noticed",
    ),
    Mutant(
        "object-store-size-ignored",
        "A file in an object store has the size that was sent.",
        "target_profiles/object_store.py",
        "        if stored != sent:\n",
        "        if False:\n",
        "tests/test_target_object_store.py::test_a_size_that_is_not_the_one_that_was_sent_is_noticed",
    ),
    # Who may only add
    Mutant(
        "prune-believes-what-is-late",
        "What is dated long before the last prune, and was not there then, lets nothing be deleted.",
        "pickup_core/prune.py",
        "        return backup.id not in self.names and backup.started < self.last - _LONGEST_RUN\n",
        "        return False\n",
        "tests/test_pruning.py::test_what_is_dated_before_the_last_prune_and_was_not_there_lets_nothing_be_deleted",
    ),
    Mutant(
        "prune-knows-what-is-gone",
        "A backup that was deleted is not known when one of its name comes.",
        "pickup_core/prune.py",
        'names.union(record["names"]).difference(record["gone"], record["deleted"])',
        'names.union(record["names"])',
        "tests/test_pruning.py::test_the_name_of_a_deleted_backup_lets_nothing_be_deleted",
    ),
    Mutant(
        "prune-clears-an-upload-at-work",
        "An upload of another machine that may be at work is left alone.",
        "pickup_core/prune.py",
        "        return path in self.left and now - self.left[path] > _LONGEST_UPLOAD\n",
        "        return True\n",
        "tests/test_pruning.py::test_an_upload_of_another_machine_that_is_at_work_is_left_alone",
    ),
    Mutant(
        "delete-takes-a-clones-copy",
        "Only a copy of the same machine is one.",
        "pickup_core/deleting.py",
        "    staying = [summary for summary in others if summary.machine in machines]\n",
        "    staying = list(others)\n",
        "tests/test_deleting.py::test_only_a_copy_of_the_same_machine_is_one",
    ),
    # What is shown on a terminal
    Mutant(
        "progress-in-a-file",
        "No escape sequence gets into what is no terminal.",
        "pickup_core/commands.py",
        "options.quiet or not obeys(sys.stderr):",
        "options.quiet:",
        "tests/test_screen.py::test_no_escape_gets_into_a_file_or_a_pipe",
    ),
    Mutant(
        "progress-stays",
        "What was drawn is gone when the command ends.",
        "pickup_core/screen.py",
        "        self._is_over.set()\n        with uninterrupted(), self._lock:\n            self._hiding += 1\n            self._draw()\n",
        "        self._is_over.set()\n",
        "tests/test_screen.py::test_a_command_that_is_stopped_leaves_a_clean_terminal",
    ),
    Mutant(
        "progress-tears-lines",
        "A line that is printed on a terminal is not torn.",
        "pickup_core/screen.py",
        '            self._is_within_line = not text.endswith("\\n")\n',
        "            self._is_within_line = False\n",
        "tests/test_screen.py::test_what_a_profile_prints_stands_above_and_is_not_torn",
    ),
    # Telling how a run went
    Mutant(
        "notify-address-shown",
        "An address is a secret as a whole.",
        "pickup_core/secret.py",
        'passphrase|secret|token|heartbeat_url"',
        'passphrase|secret|token"',
        "tests/test_services.py::test_addresses_and_passwords_are_masked_in_the_config_that_is_stored",
    ),
    Mutant(
        "notify-keys-in-address-shown",
        "A part of an address that looks like a key is a secret.",
        "pickup_core/addresses.py",
        "    for part in (password, *keys):\n",
        "    for part in (password,):\n",
        "tests/test_addresses.py::test_an_address_and_what_looks_like_a_key_in_it_are_secrets",
    ),
    Mutant(
        "notify-ending-not-redacted",
        "What ended a run is told without its secrets.",
        "pickup_core/notify.py",
        "insert(0, printable(sentence))",
        "insert(0, sentence)",
        "tests/test_notify.py::test_what_ends_a_run_is_told_without_its_secrets",
    ),
    Mutant(
        "notify-fails-a-backup",
        "An error in telling costs no backup.",
        "pickup_core/notify.py",
        "    except Exception as error:  # noqa: BLE001 - whatever it is\n",
        "    except KeyError as error:\n",
        "tests/test_notify.py::test_an_error_of_our_own_costs_no_backup",
    ),
    Mutant(
        "notify-end-forgotten",
        "A run that a signal ends is told.",
        "pickup_core/notify.py",
        "    except BaseException as error:\n",
        "    except Exception as error:\n",
        "tests/end_to_end/test_notifications.py::test_a_run_that_a_signal_ends_is_told[staged]",
    ),
    Mutant(
        "notify-broken-is-silent",
        "What could not be told is said.",
        "pickup_core/notify.py",
        '        log.warning("%s: could not be told: %s"',
        '        log.info("%s: could not be told: %s"',
        "tests/end_to_end/test_notifications.py::test_whom_nobody_can_tell_has_a_backup_all_the_same[0]",
    ),
    Mutant(
        "notify-heartbeat-of-another",
        "A run that finds another one at work leaves its heartbeat alone.",
        "pickup_core/notify.py",
        "        if self._heartbeat and not is_other_at_work:\n",
        "        if self._heartbeat:\n",
        "tests/end_to_end/test_notifications.py::test_a_run_that_finds_another_one_at_work_tells_the_services_alone",
    ),
    Mutant(
        "notify-no-limit",
        "Nobody is waited for longer than the limit.",
        "pickup_core/together.py",
        "timeout=max(0.0, limit - time.monotonic())",
        "timeout=3 * seconds + 60",
        "tests/test_together.py::test_what_does_not_end_in_time_is_left_alone",
    ),
    Mutant(
        "notify-thread-outlives",
        "A call that hangs does not hold up the end of the process.",
        "pickup_core/together.py",
        "args=(name, call), name=name, daemon=True)",
        "args=(name, call), name=name)",
        "tests/test_together.py::test_what_does_not_end_in_time_is_left_alone",
    ),
    Mutant(
        "notify-part-is-recovery",
        "A run of a part is no recovery.",
        "pickup_core/history.py",
        "        if not _is_whole(ends.get(backup, {})):\n            return False\n",
        "",
        "tests/test_history.py::test_a_run_of_a_part_is_no_recovery",
    ),
    Mutant(
        "notify-killed-is-no-failure",
        "A run that was killed had failed.",
        "pickup_core/history.py",
        '            if end.get("exit") not in (ExitCode.OK, ExitCode.WARNINGS):\n',
        '            if end and end.get("exit") not in (ExitCode.OK, ExitCode.WARNINGS):\n',
        "tests/test_history.py::test_the_first_whole_run_that_goes_well_after_a_failure_is_a_recovery",
    ),
    Mutant(
        "mail-certificate-not-checked",
        "A mail server has a valid certificate.",
        "pickup_core/smtp.py",
        "            smtp.starttls(context=tls_context(mail.ca_file))\n",
        "            smtp.starttls()\n",
        "tests/test_smtp.py::test_a_certificate_that_is_not_valid_ends_it[none-starttls]",
    ),
    Mutant(
        "mail-subject-injects",
        "A subject adds no header.",
        "pickup_core/smtp.py",
        '" ".join(subject.split())',
        "subject",
        "tests/test_smtp.py::test_a_subject_adds_no_header",
    ),
    Mutant(
        "mail-some-refused-unsaid",
        "Who is refused is named.",
        "pickup_core/smtp.py",
        "    if refused:\n",
        "    if False:\n",
        "tests/test_smtp.py::test_who_is_refused_is_named",
    ),
    Mutant(
        "mail-password-in-the-clear",
        "A password goes over TLS.",
        "pickup_core/mail.py",
        '        if self.password is not None and self.way == "none" and not self.is_local:\n',
        "        if False:\n",
        "tests/test_mail.py::test_options_that_could_not_work_are_refused",
    ),
    Mutant(
        "heartbeat-not-found-is-success",
        "What the service does not count is no success.",
        "pickup_core/ping.py",
        "    if data is not None and (excuse",
        "    if False and (excuse",
        "tests/test_heartbeat.py::test_a_check_that_the_service_does_not_know_is_no_success",
    ),
    Mutant(
        "heartbeat-error-is-success",
        "An answer that is no yes is none.",
        "pickup_core/ping.py",
        "    if not 200 <= status < 300:\n",
        "    if status < 200:\n",
        "tests/test_heartbeat.py::test_an_answer_that_is_none_is_not_asked_for_again_nor_followed",
    ),
    Mutant(
        "metrics-in-place",
        "The metrics file is replaced in one step, and no link is followed.",
        "pickup_core/metrics.py",
        "    with replacing(path) as file:\n",
        "    with open(path, 'wb') as file:\n",
        "tests/test_metrics.py::test_everybody_may_read_it_and_nothing_else_is_left",
    ),
    Mutant(
        "metrics-no-place-is-success",
        "What no target took is no success.",
        "pickup_core/metrics.py",
        ' if record.get("places")]',
        "]",
        "tests/test_metrics.py::test_a_run_that_fails_takes_nothing_away",
    ),
    Mutant(
        "metrics-labels-not-escaped",
        "A name makes no sample of its own.",
        "pickup_core/metrics.py",
        ".replace('\"', '\\\\\"')",
        "",
        "tests/test_metrics.py::test_names_are_read_as_they_are",
    ),
)


class Copy:
    """A copy of the checkout, in which mutants are made and tests are run."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)  # some tests become an ordinary user
        self._folder = folder
        self._seconds = count(1)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            check=True,
        )
        for name in filter(None, os.fsdecode(listed.stdout).split("\0")):
            if os.path.lexists(REPOSITORY / name):  # one that was deleted may not be committed yet
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, folder / name, follow_symlinks=False)

    def text_of(self, mutant: Mutant) -> str:
        return (self._folder / mutant.file).read_text(encoding="utf-8")

    def change(self, mutant: Mutant, text: str) -> None:
        """Write the mutant's file, each time with another time: Python knows a compiled file by size and time."""
        path, second = self._folder / mutant.file, next(self._seconds)
        path.write_text(text, encoding="utf-8")
        os.utime(path, (second, second))

    def run(self, tests: Sequence[str], *options: str, seconds: float = _SECONDS) -> tuple[int | None, str]:
        """Run tests; give pytest's status, None where it did not end in time, and what it has printed."""
        command = [sys.executable, "-m", "pytest", *options, "-q", "-p", "no:cacheprovider", *tests]
        environment = {**os.environ, "PYTHONPATH": str(self._folder), "NO_COLOR": "1", _MARK: str(self._folder)}
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True, umask=0o022,
            )  # fmt: skip
            try:
                status: int | None = process.wait(seconds)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                self._end_what_is_left()
            output.seek(0)
            return status, output.read()

    def _end_what_is_left(self) -> None:
        """Kill what a test has started and a mutant has left behind: it bears our mark in its environment."""
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"{_MARK}={self._folder}\0".encode() in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGKILL)


def problems_of(mutants: Sequence[Mutant], copy: Copy) -> Iterator[str]:
    """Say what is wrong with the list itself: as a rule, code that has moved on."""
    names = [mutant.name for mutant in mutants]
    yield from (f"{name}: two mutants have this name" for name in sorted({n for n in names if names.count(n) > 1}))
    for mutant in mutants:
        try:
            text = copy.text_of(mutant)
        except OSError as error:
            yield f"{mutant.name}: {mutant.file} cannot be read: {error.strerror}"
            continue
        found = text.count(mutant.old)
        if found != 1:
            yield f"{mutant.name}: its `old` stands {found} times in {mutant.file}, and has to stand there once"
            continue
        try:
            compile(text.replace(mutant.old, mutant.new), mutant.file, "exec", dont_inherit=True)
        except SyntaxError as error:
            yield f"{mutant.name}: it makes no Python of {mutant.file}: {error.msg} in line {error.lineno}"


def verdict(mutant: Mutant, copy: Copy) -> tuple[str, str]:
    """Make a mutant, run its test, and unmake it. Give `caught`, `MISSED` or `broken`, and what was seen."""
    text = copy.text_of(mutant)
    copy.change(mutant, text.replace(mutant.old, mutant.new))
    try:
        status, output = copy.run([mutant.test], "-x")
    finally:
        copy.change(mutant, text)
    last = output.rstrip().rpartition("\n")[2]
    if status is None:
        return ("caught" if mutant.may_hang else "broken"), f"did not end within {_SECONDS} seconds"
    if status == _FAILED and re.search(r"\b\d+ failed\b", last):  # and not an error while the test was prepared
        return "caught", last
    return ("broken" if status else "MISSED"), f"pytest's status {status}: {last}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the mutants one after another, and give 0 where each was caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="a mutant; all of them where none is named")
    names = parser.parse_args(arguments).names
    if unknown := sorted(set(names) - {mutant.name for mutant in MUTANTS}):
        parser.error(f"there is no mutant {', '.join(unknown)}; there are: {', '.join(each.name for each in MUTANTS)}")
    mutants = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    with tempfile.TemporaryDirectory(prefix="pickup-mutants-", dir="/var/tmp") as folder:
        copy = Copy(Path(folder))
        if problems := list(problems_of(mutants, copy)):
            print("\n".join(problems), file=sys.stderr)
            return 2
        tests = list(dict.fromkeys(mutant.test for mutant in mutants))
        status, output = copy.run(tests, "-rfEs", seconds=_ALL_SECONDS)
        if status != 0 or re.search(r"\b\d+ skipped\b", output.rstrip().rpartition("\n")[2]):
            print(output, file=sys.stderr)
            print("Without a mutant each of the tests has to pass, and none may be skipped.", file=sys.stderr)
            return 2
        verdicts = []
        for mutant in mutants:
            word, seen = verdict(mutant, copy)
            verdicts.append(word)
            print(f"{word}  {mutant.name:<{_widest(mutants)}}  {mutant.test}", flush=True)
            if word != "caught":
                print(f"        {mutant.rule} {seen}", flush=True)
        caught = verdicts.count("caught")
        print(f"{len(mutants)} mutants, {caught} caught")
        return 0 if caught == len(mutants) else 1


def _widest(mutants: Sequence[Mutant]) -> int:
    return max(len(mutant.name) for mutant in mutants)


if __name__ == "__main__":
    sys.exit(main())
