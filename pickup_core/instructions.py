"""`RESTORE.txt` and `SHA256SUMS`: how to check and restore a backup with standard tools, made from what is in it."""

import shlex
from collections.abc import Iterable, Mapping

from pickup_core.artefact import ARCHIVE_SUFFIX, CONTENTS_SUFFIX
from pickup_core.encryption import stored_suffix
from pickup_core.manifest import EntryRecord, Manifest, StoredArtefact, StoredFile
from pickup_core.wording import printable

_PROGRAMS = {"zstd": "zstd -dc", "gzip": "gzip -dc", "none": "cat"}
_TAR = "tar --extract --file=- --preserve-permissions --xattrs --xattrs-include='*' --acls --directory"
_IDENTITY = "~/identity"
_RESTORED = "~/restored"  # nobody else can have prepared it


def restore_text(manifest: Manifest, notes: Mapping[str, str]) -> str:
    """Give the text of RESTORE.txt. `notes` are the remarks of profiles on how to use their artefacts, by profile."""
    told = [entry for entry in manifest.entries if entry.artefacts or entry.failures]
    return "\n".join([_head(manifest), *(_entry_text(entry, notes.get(entry.profile, "")) for entry in told)])


def checksums(files: Iterable[StoredFile]) -> str:
    """Give the text of SHA256SUMS, as `sha256sum -c` reads it (sha256sum(1))."""
    return "".join(f"{file.sha256}  {file.path}\n" for file in sorted(files, key=lambda file: file.path))


def _head(manifest: Manifest) -> str:
    title = printable(f"How to restore backup {manifest.id} of {manifest.job}")
    artefacts = [artefact for entry in manifest.entries for artefact in entry.artefacts]
    programs = sorted({_PROGRAMS[artefact.compression].split()[0] for artefact in artefacts} - {"cat"})
    programs += ["age"] if manifest.keys else []
    tar = ["GNU tar"] if any(artefact.name.endswith(ARCHIVE_SUFFIX) for artefact in artefacts) else []
    return f"""{title}
{"=" * len(title)}

Made on {printable(manifest.host)} by Pickup {manifest.pickup}, started {manifest.started:%Y-%m-%d %H:%M:%S} UTC.
{_state(manifest)}{_keys(manifest)}

With Pickup (in a checkout of it: pickup.py), and no config:

    pickup verify {manifest.id} --from .
    pickup restore {manifest.id} --from . --to {_RESTORED}{f" --identity {_IDENTITY}" if manifest.keys else ""}

Without Pickup, with nothing but {", ".join([*tar, *programs, "sha256sum"])} (where one is
missing, install the package of its name). In this folder, check that all is as it was stored:

    sha256sum -c SHA256SUMS

Then copy the lines that you need. {_RESTORED}, a folder that they make in your home, may be any other one with enough
room that is new and yours: what somebody else has prepared could lead the files astray. As root, tar gives owners back
too.
"""


def _state(manifest: Manifest) -> str:
    missing = [entry.name for entry in manifest.entries if entry.status != "ok"]
    if not missing:
        return "The backup is complete."
    return f"The backup is PARTIAL. These entries failed or were not asked for: {printable(', '.join(missing))}."


def _keys(manifest: Manifest) -> str:
    if not manifest.keys:
        return ""
    lines = "".join(f"\n- {printable(key)}" for key in manifest.keys)
    return (
        "\n\nIt is encrypted (age-encryption.org). The private key of any one of these public keys opens it:\n"
        f"{lines}\n\nBelow, {_IDENTITY} is the file of that private key."
    )


def _entry_text(entry: EntryRecord, note: str) -> str:
    title = printable(f"{entry.name} ({entry.profile})")
    lines = [title, "-" * len(title), ""]
    lines += [f"FAILED: {line}" for failure in entry.failures for line in printable(failure).splitlines()]
    if entry.artefacts:
        lines.append(f"    mkdir -p -m 700 {_folder(entry.artefacts[0])}")
    for artefact in entry.artefacts:
        lines += _commands(artefact)
    if note and entry.artefacts:
        lines += ["", f"Then, in {_folder(entry.artefacts[0])}:", "", *note.strip("\n").splitlines()]
    return "\n".join([*lines, ""])


def _folder(artefact: StoredArtefact) -> str:
    """Give the folder to restore an artefact into: one for each entry, as two may have artefacts of one name."""
    return f"{_RESTORED}/{artefact.path.rpartition('/')[0]}"


def _commands(artefact: StoredArtefact) -> list[str]:
    path = shlex.quote(artefact.path)
    opened = f"{_PROGRAMS[artefact.compression]} {path}"
    if artefact.encryption:
        program = _PROGRAMS[artefact.compression]
        opened = f"age -d -i {_IDENTITY} {path}" + (f" | {program}" if program != "cat" else "")
    if artefact.name.endswith(ARCHIVE_SUFFIX):
        return [
            f"    {opened} | {_TAR} {_folder(artefact)}",
            "    # one file or folder of it: write its name, as the list of contents has it, at the end of that line",
        ]
    if artefact.name.endswith(CONTENTS_SUFFIX):
        return [f"    {opened} | grep NAME   # what is in it, with mode, owner, size and time (UTC)"]
    suffix = stored_suffix(artefact.compression, bool(artefact.encryption))
    plain = artefact.path.rpartition("/")[2].removesuffix(suffix)
    return [f"    {opened} > {_folder(artefact)}/{shlex.quote(plain)}"]
