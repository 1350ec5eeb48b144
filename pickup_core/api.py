"""The one module that a profile imports. What stands here keeps its meaning as long as the major version stays."""

from pickup_core.archive import TAR_ENVIRONMENT, Listed, label_options, read_listing, unescaped
from pickup_core.artefact import (
    ARCHIVE_SUFFIX,
    CONTENTS_SUFFIX,
    STAGING_MARK,
    Artefact,
    Judgement,
    Readable,
    Stored,
    Writable,
    broken,
)
from pickup_core.errors import (
    NoRootError,
    PickupError,
    ProcessError,
    RefusedError,
    StoreError,
    UnreachableError,
    raise_if_stopped,
)
from pickup_core.found import Found
from pickup_core.options import HOST, Options, remote_path
from pickup_core.patterns import expression, names_matching
from pickup_core.process import Output, Terms, failure, feed, output_of, require_program, text_of
from pickup_core.progress import metered, moved
from pickup_core.secret import Secret, secret_command, secret_credential, secret_env, secret_file
from pickup_core.ssh import ssh_command
from pickup_core.store import BLOCK, Item, Store, files_in
from pickup_core.system_user import acting_as, other_user
from pickup_core.tls import tls_context
from pickup_core.trust import make_file, make_folder, others_may_write, read_trusted, way_to
from pickup_core.wording import in_words, names_in_words, pip_install, short_line

API_VERSION = (1, 0)
"""A profile written for (major, minor) works with every Pickup of the same major and at least this minor version."""

__all__ = [
    "API_VERSION",
    "ARCHIVE_SUFFIX",
    "BLOCK",
    "CONTENTS_SUFFIX",
    "HOST",
    "STAGING_MARK",
    "TAR_ENVIRONMENT",
    "Artefact",
    "Found",
    "Item",
    "Judgement",
    "Listed",
    "NoRootError",
    "Options",
    "Output",
    "PickupError",
    "ProcessError",
    "Readable",
    "RefusedError",
    "Secret",
    "Store",
    "StoreError",
    "Stored",
    "Terms",
    "UnreachableError",
    "Writable",
    "acting_as",
    "broken",
    "expression",
    "failure",
    "feed",
    "files_in",
    "in_words",
    "label_options",
    "make_file",
    "make_folder",
    "metered",
    "moved",
    "names_in_words",
    "names_matching",
    "other_user",
    "others_may_write",
    "output_of",
    "pip_install",
    "raise_if_stopped",
    "read_listing",
    "read_trusted",
    "remote_path",
    "require_program",
    "secret_command",
    "secret_credential",
    "secret_env",
    "secret_file",
    "short_line",
    "ssh_command",
    "text_of",
    "tls_context",
    "unescaped",
    "way_to",
]
