"""`Found`: what a profile finds on a host that is worth an entry of the first config, which `init` writes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Found:
    """Something that is there to be backed up: the name and the `config` of its entry, and the sentence about it that
    stands above that. The values are texts, numbers, truth values, and lists of them.
    """

    name: str
    config: Mapping[str, Any]
    why: str
