"""The commands that one begins with: init, profiles, keygen."""

import contextlib
import json
import logging
from dataclasses import asdict
from pathlib import Path

from pickup_core.config import default_config_path, find_config, load_config
from pickup_core.encryption import make_identity
from pickup_core.errors import ConfigError, UsageError
from pickup_core.first_config import first_config
from pickup_core.profiles import KINDS, manual_text, manuals_of
from pickup_core.program import PROGRAM
from pickup_core.session import Session, print_table
from pickup_core.trust import make_file, make_folder

log = logging.getLogger("pickup.commands")


def init_command(session: Session) -> None:
    """Write a config with what is found on this machine."""
    path = session.options.file or session.options.config or default_config_path()
    first = first_config(Path("/"), path.absolute().parent)
    try:
        make_folder(path.parent)
        with open(make_file(path), "w", encoding="utf-8") as file:
            file.write(first.text)
    except FileExistsError as error:
        if error.filename != str(path):
            raise ConfigError(f"{path} cannot be written: {error.filename} is no folder") from None
        raise ConfigError(f"{path} is there already and is left as it is", hint=f"{PROGRAM} init OTHER-FILE") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    for label, why in first.found.items():
        log.info("found %s: %s", label, why)
    log.info("wrote %s. Edit it; then %s check tells whether it would work.", path, PROGRAM)


def profiles_command(session: Session) -> None:
    """Show the profiles that there are, or the manual of one."""
    options = session.options
    beside = Path("/nonexistent")
    with contextlib.suppress(ConfigError):  # a config may add to the Python path, but is not needed here
        beside = find_config(options.config).parent
        load_config(find_config(options.config), generators=False)
    manuals = [(kind, manual) for kind in KINDS for manual in manuals_of(kind, beside, options.name)]
    if not manuals:
        raise UsageError(f"there is no profile {options.name!r}", hint=f"{PROGRAM} profiles lists them")
    if options.json:
        print(json.dumps([{"kind": kind, **asdict(manual)} for kind, manual in manuals], indent=1))
    elif options.name is None:
        print_table(
            [["KIND", "PROFILE", "WHAT IT DOES"], *([k, m.name, m.docstring.split("\n")[0]] for k, m in manuals)]
        )
    else:
        for kind, manual in manuals:
            print(manual_text(kind, manual))


def keygen_command(session: Session) -> None:
    """Make a pair of keys."""
    path = session.options.file
    public = make_identity(path)
    log.info("public key: %s", public)
    log.info("It goes into the config: ENCRYPTION = dict(recipients={%r: %r})", "what it is for", public)
    log.info("The private key is in %s. Without it nothing opens the backups: keep it, and a copy of it, away from "
             "this host, and then remove it here.", path)  # fmt: skip
