"""Bring files to a target, as a run does it but without anything around it.

    python -m benchmarks.put PROFILE CONFIG FILE ...

CONFIG is a JSON file with the options of the entry. What a client such as scp does is compared with this.
"""

import importlib
import json
import sys
import time
from pathlib import Path

from pickup_core.shaping import Shaped


def main() -> None:
    """Put the files below a new folder of the target; a folder is put as one."""
    profile, config, *files = sys.argv[1:]
    path = f"new-{time.time_ns()}"  # a server may still know a folder that was removed behind its back
    module = importlib.import_module(f"target_profiles.{profile}")
    options = module.Config.model_validate(json.loads(Path(config).read_text()), context={"folder": Path("/")})
    with Shaped(module.Target(options), profile) as store:
        store.create_root()
        for name in files:
            if Path(name).is_dir():
                store.put_folder(Path(name), path)
            else:
                with open(name, "rb") as stream:
                    store.put(f"{path}/{Path(name).name}", stream)


if __name__ == "__main__":
    main()
