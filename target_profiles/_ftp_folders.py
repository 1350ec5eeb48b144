"""The folders of the profile `ftp`: what lies in them, told by what a server lists and never by the wording of its
answers, which mean something else everywhere.

Servers differ in what they know. MLSD tells all, where there is one. `LIST -a` is believed where it shows `.` itself.
LIST alone may hide names that begin with a dot. NLST gives names only, and SIZE and CWD tell what each is.
"""

import posixpath
import re

from pickup_core.api import BLOCK, NoRootError, StoreError
from target_profiles._ftp_connection import Connection, Reply, TransferRefusedError
from target_profiles._ftp_listing import (
    FILE,
    FOLDER,
    OTHER,
    Entry,
    UnreadableError,
    mlsd_entries,
    plain_names,
    shows_itself,
    unix_entries,
)

_LONGEST_LISTING = 64 * 2**20
_LEVELS = 100  # of folders in a folder that is deleted
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_FILE_SIZE = 213  # the code of SIZE's answer


class Folders:
    """The folders below `root`, over one connection. Paths are relative to it."""

    def __init__(self, connection: Connection, root: str) -> None:
        self._connection = connection
        self._home = self._here()
        self._wanted_root = posixpath.normpath(posixpath.join(self._home, root))
        self._root = ""
        self._ways = ["MLSD", "LIST -a", "LIST", "NLST"]
        self._has_list = True
        self._has_chmod = True

    def make_root(self) -> None:
        """Make the root, and what it lies in, where it is absent."""
        steps, path = self._wanted_root.strip("/").split("/"), ""
        for step in steps:
            path = f"{path}/{step}"
            if not self._go(path).is_good and not f"{self._home}/".startswith(f"{path}/"):
                self._make(path)
        self._enter_root()

    def enter(self, folder: str) -> bool:
        """Go into a folder; False where a listing shows that there is none.

        Raises `NoRootError` where the root is absent, and `StoreError` where the folder is a link to elsewhere.
        """
        if not self._root:
            self._enter_root()
        reply = self._go(self.full(folder))
        if reply.is_good:
            self._refuse_detour(folder)
            return True
        self._enter_root()
        if folder and not self._is_absent(folder):
            raise _closed(folder, reply)
        return not folder

    def make(self, folder: str) -> None:
        """Go into a folder; it and its parents are made where they are absent."""
        if not self._root:
            self._enter_root()
        if self._go(self.full(folder)).is_good:
            self._refuse_detour(folder)
        elif not folder:
            self._enter_root()
        else:
            self.make(posixpath.dirname(folder))
            self._make(self.full(folder))
            self._refuse_detour(folder)

    def entries(self) -> list[Entry]:
        """List the folder that was entered. Raises `StoreError` where no listing is given or understood."""
        while True:
            entries = self._listed_by(self._ways[0])
            if entries is not None:
                return entries
            del self._ways[0]  # this server does not know it

    def find(self, path: str) -> Entry | None:
        """Tell what lies at a path; None where there is nothing."""
        return self.find_here(path) if self.enter(posixpath.dirname(path)) else None

    def find_here(self, path: str) -> Entry | None:
        """Tell what lies at a path whose folder was entered or made just now; None where there is nothing."""
        name, size = posixpath.basename(path), _size_in(self._ask_size(self.full(path)))
        if size is not None:
            return Entry(name, FILE, size)
        return next((entry for entry in self.entries() if entry.name == name), None)

    def remove(self, path: str) -> None:
        """Delete a file, a link, or a folder and all that is in it; nothing where it is gone already.

        A folder with many names in it is not listed for one of them: what DELE deletes was a file or a link.
        """
        if self.enter(posixpath.dirname(path)) and not self._delete(path).is_good:
            for entry in self._with_links(self.entries()):
                if entry.name == posixpath.basename(path):
                    self._remove(path, entry.kind, _LEVELS)

    def make_private(self, path: str, mode: str) -> None:
        """Take the rights of others away, where the server can do that."""
        if self._has_chmod:
            self._has_chmod = self._connection.ask(f"SITE CHMOD {mode} {path}").is_good

    def full(self, path: str) -> str:
        """Give the path on the server."""
        return posixpath.join(self._root, path) if path else self._root

    def _go(self, place: str) -> Reply:
        reply = self._connection.ask(f"CWD {place}")
        if not reply.is_good and not reply.is_refusal:
            raise StoreError(f"{place}: {reply}")
        return reply

    def _here(self) -> str:
        reply = self._connection.ask("PWD")
        match = _QUOTED.search(reply.text) if reply.is_good else None
        if not match:
            raise StoreError(f"the server does not tell its current folder: {reply}")
        return match[1].replace('""', '"')

    def _enter_root(self) -> None:
        reply = self._go(self._wanted_root)
        if not reply.is_good:
            self._refuse_closed(self._wanted_root, reply)
            raise NoRootError(
                f"{self._wanted_root} does not exist on the server: {reply}",
                hint="is it mounted there? If it is gone for good, make it anew",
            )
        self._root = self._here()

    def _refuse_closed(self, place: str, reply: Reply) -> None:
        """Raise `StoreError` unless a listing shows that a place, which the server refused to enter, is not there."""
        parent, name = posixpath.split(place)
        if not name:  # the top of all folders
            raise _closed(place, reply)
        refusal = self._go(parent)
        if not refusal.is_good:
            self._refuse_closed(parent, refusal)
        elif name in {entry.name for entry in self.entries()}:
            raise _closed(place, reply)

    def _refuse_detour(self, folder: str) -> None:
        """Raise where a server tells that the folder just entered lies elsewhere: a link led there."""
        here = self._here()
        if here.rstrip("/") != self.full(folder).rstrip("/"):
            raise StoreError(f"{folder} leads to {here}", hint="links are not followed; see who made it")

    def _is_absent(self, folder: str) -> bool:
        parent, _, name = folder.rpartition("/")
        return not self.enter(parent) or name not in {entry.name for entry in self.entries()}

    def _make(self, place: str) -> None:
        """Make one folder and go into it. Answers to MKD differ: whether it is there, going there tells."""
        reply = self._connection.ask(f"MKD {place}")
        refusal = self._go(place)
        if not refusal.is_good:
            self._refuse_closed(place, refusal)
            raise StoreError(f"{place} could not be made: {reply}", hint="the account needs the right to make folders")
        if reply.is_good:
            self.make_private(place, "700")

    def _ask_size(self, place: str) -> Reply:
        return self._connection.ask(f"SIZE {place}")

    def _listed_by(self, way: str) -> list[Entry] | None:
        """List the current folder in one way; None where the server does not know it, or is not understood."""
        try:
            lines = self._lines_of(way)
        except TransferRefusedError as error:
            if way == "LIST":
                self._has_list = not error.reply.is_unknown
            if way != "NLST" and error.reply.is_refusal:
                return None
            if way != "NLST" or self._has_list:
                raise StoreError(error.message, hint="may this account list folders?") from error
            return []  # a server without LIST, and an account that may list: this is how old ones say "empty"
        if way == "NLST":
            return [self._probed(name) for name in plain_names(lines)]
        if way == "LIST -a" and not shows_itself(lines):
            if not lines and self._home_shows_itself():  # some servers give nothing for what they may not read
                raise StoreError(f"{self._here()} cannot be listed", hint="see whose it is, and its mode")
            return None
        try:
            return mlsd_entries(lines) if way == "MLSD" else unix_entries(lines)
        except UnreadableError:
            return None

    def _lines_of(self, way: str) -> list[str]:
        listing = b""
        with self._connection.receive(way) as stream:
            while block := stream.read(BLOCK):
                listing += block
                if len(listing) > _LONGEST_LISTING:
                    raise StoreError(f"the listing is longer than {_LONGEST_LISTING} bytes")
        lines = listing.decode("utf-8", "surrogateescape").split("\n")
        return [line.rstrip("\r") for line in lines if line.strip("\r ")]

    def _home_shows_itself(self) -> bool:
        """Tell whether `LIST -a` shows `.` in the folder that the login leads to, if that is another one than this."""
        here = self._here()
        if here == self._home or not self._go(self._home).is_good:
            return False
        is_shown = shows_itself(self._lines_of("LIST -a"))
        if not self._go(here).is_good:
            raise StoreError(f"{here} vanished while it was listed")
        return is_shown

    def _probed(self, name: str) -> Entry:
        """Tell what a name in the current folder is, by trying to go there and by asking for its size."""
        here = self._here()
        place = posixpath.join(here, name)
        if self._go(place).is_good:
            is_link = self._here().rstrip("/") != place
            if not self._go(here).is_good:
                raise StoreError(f"{here} vanished while it was listed")
            return Entry(name, OTHER if is_link else FOLDER)
        reply = self._ask_size(place)
        size = _size_in(reply)
        if size is not None:
            return Entry(name, FILE, size)
        if reply.is_unknown:
            raise StoreError(f"{place}: the server does not tell the size of a file", hint="another server is needed")
        return Entry(name, OTHER)

    def _with_links(self, entries: list[Entry]) -> list[Entry]:
        """Tell the links in the current folder too: MLSD shows what they lead to, or nothing; LIST shows them."""
        if self._ways[0] != "MLSD":
            return entries
        try:
            listed = unix_entries(self._lines_of("LIST"))
        except (TransferRefusedError, UnreadableError):
            return entries
        links = {entry.name: entry for entry in listed if entry.kind == OTHER}
        return list({**{entry.name: entry for entry in entries}, **links}.values())

    def _delete(self, path: str) -> Reply:
        return self._connection.ask(f"DELE {self.full(path)}")

    def _remove(self, path: str, kind: str, levels: int) -> None:
        if levels == 0:
            raise StoreError(f"{path} lies deeper than anything that Pickup stores", hint="see who made it")
        if kind == FOLDER:
            if not self.enter(path):
                return
            for entry in self._with_links(self.entries()):
                self._remove(f"{path}/{entry.name}", entry.kind, levels - 1)
            self._go(self._root)  # some servers delete no folder that somebody is in
        reply = self._connection.ask(f"RMD {self.full(path)}") if kind == FOLDER else self._delete(path)
        if not reply.is_good:
            raise StoreError(f"{path} could not be deleted: {reply}", hint="may this account delete?")


def _size_in(reply: Reply) -> int | None:
    """Give the size that an answer to SIZE tells; None where there is no file, or where the server does not tell."""
    size = reply.text[4:].strip()
    return int(size) if reply.code == _FILE_SIZE and size.isascii() and size.isdigit() else None


def _closed(place: str, reply: Reply) -> StoreError:
    return StoreError(f"{place} is there, but cannot be entered: {reply}", hint="see what it is and whose")
