"""The modules that a config imports from its folder: `from common import TARGETS`, of `common.py` or `common/`.

Such a module is taken as the config is: from a file that nobody else can write, masked before it is run, and without
bytecode. It is found only where nothing else has its name, so that a file `json.py` there changes nothing for Pickup,
and only by the config and by the modules that it brings along. Each config has its own.
"""

import builtins
import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from pickup_core.masking import masked_source
from pickup_core.profiles import KINDS
from pickup_core.trust import read_trusted


@dataclass(frozen=True)
class Sibling:
    """The file of an imported module: where it is, what stands in it, and whether everybody may read it."""

    path: Path
    source: str
    is_public: bool


class Siblings(MetaPathFinder, Loader):
    """What one config imports from its folder. `files` are those that are Python, in their order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._modules: dict[str, ModuleType] = {}
        self._hidden: dict[str, ModuleType] = {}
        self._depth = 0
        self._lock = threading.Lock()
        self.files: list[Sibling] = []

    def run(self, path: Path, source: str, module: ModuleType) -> None:
        """Run source as the content of a module, which can import these, also where a function of it is called later.

        Raises whatever the source raises, and `ConfigError` where somebody else could have written what it imports.
        """
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
        with self.at_hand():
            exec(compile(source, str(path), "exec"), vars(module))  # noqa: S102 - it is code, and its file was checked

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Give the module of this name, where there is one and no other finder has another."""
        parent, _, _ = fullname.rpartition(".")
        if (parent and parent not in self._modules) or fullname in KINDS.values() or "/" in fullname:
            return None
        start = self._folder.joinpath(*fullname.split("."))
        package, file = start / "__init__.py", start.with_name(f"{start.name}.py")
        found = next((each for each in (package, file) if os.path.isfile(each)), None)
        if found is None or (not parent and self._has_another(fullname, found)):
            return None
        spec = ModuleSpec(fullname, self, origin=str(found), is_package=found == package)
        spec.has_location = True
        return spec

    def exec_module(self, module: ModuleType) -> None:
        """Run a module that was found, from the text that was checked."""
        path = Path(str(module.__file__))
        self._modules[module.__name__] = module
        source, status = read_trusted(path)
        with contextlib.suppress(SyntaxError, ValueError):  # which are told when it is run
            masked_source(source)  # so that no message of what goes wrong meanwhile shows a secret
            self.files.append(Sibling(path, source, bool(status.st_mode & 0o004)))
        self.run(path, source, module)

    def _has_another(self, name: str, found: Path) -> bool:
        """Tell whether Python has this name without us: for another file, or for none. A folder without Python in it is
        none.
        """
        for finder in [each for each in sys.meta_path if each is not self]:
            spec = finder.find_spec(name, None)
            if spec is not None:
                is_same = spec.origin is not None and os.path.exists(spec.origin) and found.samefile(spec.origin)
                return spec.loader is not None and not is_same
        return False

    def _import(self, *arguments: Any, **named: Any) -> Any:
        """Import as Python does, with these modules at hand: the `__import__` of the modules that are run here."""
        with self.at_hand():
            return builtins.__import__(*arguments, **named)

    @contextlib.contextmanager
    def at_hand(self) -> Iterator[None]:
        """Let these modules be found while the `with` lasts. Then nobody else meets them."""
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._hidden = {name: sys.modules[name] for name in self._modules.keys() & sys.modules.keys()}
                sys.modules.update(self._modules)
                sys.meta_path.insert(0, self)
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if self._depth == 0:
                    sys.meta_path.remove(self)
                    self._modules = {name: sys.modules.pop(name) for name in self._modules if name in sys.modules}
                    sys.modules.update(self._hidden)
