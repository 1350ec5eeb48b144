"""What completes the command line, in the shells themselves: bash, zsh and fish."""

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import LOCAL, ROOT, config_text, write_config
from tests.servers.running import required

SHELLS = ("bash", "zsh", "fish")
ENV = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TERM": "dumb"}


def printed(folder: Path, shell: str) -> Path:
    """Give a file with what `completion` prints, for a config with a generator `shop` and the targets `disk`, `nas`."""
    if not (folder / "config.py").exists():
        targets = ", ".join(
            f'dict(name="{name}", profile="folder", config=dict(path="{name}"))'
            for name in ("disk", "nas", "odd; name")
        )
        generators = '[dict(name="shop", profile="command", config=dict(command="uname"))]'
        write_config(folder, config_text(LOCAL, generators, f"[{targets}]"))
    words = [sys.executable, ROOT / "pickup.py", "-c", folder / "config.py", "completion", shell]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    path = folder / f"completion.{shell}"
    path.write_text(done.stdout)
    return path


def in_bash(path: Path, line: str, folder: Path) -> set[str]:
    words = line.split(" ")
    code = f"""
        source {shlex.quote(str(path))}
        COMP_WORDS=({shlex.join(words[:-1])} {shlex.quote(words[-1])}) COMP_CWORD={len(words) - 1}
        COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
        function=$(complete -p pickup.py | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        "$function" pickup.py {shlex.quote(words[-1])} {shlex.quote(words[-2])}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", code], capture_output=True, text=True, env=ENV, cwd=folder, timeout=60, check=False
    )
    assert done.stderr == ""
    return {word.strip() for word in done.stdout.splitlines() if word}


def in_fish(path: Path, line: str, folder: Path) -> set[str]:
    required("fish")
    code = f"source {shlex.quote(str(path))}; complete -C {shlex.quote(line)}"
    done = subprocess.run(
        ["fish", "--no-config", "-c", code],
        capture_output=True,
        text=True,
        env=ENV | {"HOME": str(folder)},
        cwd=folder,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return {found.partition("\t")[0] for found in done.stdout.splitlines()}


def in_zsh(path: Path, line: str, folder: Path) -> set[str]:
    """Type a line and the tab key into a terminal; give the words that then stand on it."""
    required("zsh")
    (folder / "site-functions").mkdir()
    path.rename(folder / "site-functions/_pickup.py")
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.execvpe("zsh", ["zsh", "-f", "-i"], ENV | {"HOME": str(folder)})
    try:
        _type(
            terminal,
            "PS1='' PROMPT_EOL_MARK='' LISTMAX=1000; unsetopt zle_bracketed_paste; setopt no_always_last_prompt\n",
        )
        _type(
            terminal,
            f"fpath=({shlex.quote(str(folder / 'site-functions'))} $fpath); autoload -U compinit && compinit -D -u && print rea''dy\n",
        )
        assert "ready" in _shown(terminal, lambda text: "ready" in text)
        _type(terminal, f"{line}\t")
        text = _shown(terminal, lambda text: False, quiet=1.5)
    finally:
        os.kill(process, signal.SIGKILL)
        os.close(terminal)
        os.waitpid(process, 0)
    return set(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n").split())


def _type(terminal: int, text: str) -> None:
    os.write(terminal, text.encode())


def _shown(terminal: int, is_enough: Callable[[str], bool], quiet: float = 20) -> str:
    """Give what a terminal shows until that is enough, or nothing more comes for so many seconds."""
    shown, end = b"", time.monotonic() + 60
    while not is_enough(shown.decode(errors="replace")) and time.monotonic() < end:
        if not select.select([terminal], [], [], quiet)[0]:
            break
        shown += os.read(terminal, 65536)
    return shown.decode(errors="replace")


COMPLETED = {"bash": in_bash, "zsh": in_zsh, "fish": in_fish}
assert COMPLETED.keys() == set(SHELLS)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "expected", "other"),
    [
        ("pickup.py ver", "verify", "restore"),
        ("pickup.py restore --into", "--into-server", "--to"),
        ("pickup.py --dry", "--dry-run", "--debug"),
        ("pickup.py verify --target ", "nas", "shop"),
        ("pickup.py run --only ", "shop", "nas"),
        ("pickup.py copy --to ", "nas", "shop"),
        ("pickup.py -c conf", "config.py", "nas"),
        ("pickup.py completion ", "fish", "verify"),
    ],
)
def test_a_shell_completes(tmp_path: Path, shell: str, line: str, expected: str, other: str) -> None:
    found = COMPLETED[shell](printed(tmp_path, shell), line, tmp_path)
    assert expected in found
    assert other not in found


@pytest.mark.parametrize("shell", SHELLS)
def test_a_name_that_a_shell_would_read_otherwise_is_left_out(tmp_path: Path, shell: str) -> None:
    assert "odd" not in printed(tmp_path, shell).read_text()


def test_without_a_config_there_are_no_names_and_no_error(tmp_path: Path) -> None:
    write_config(tmp_path, "GENERATORS = 1 / 0\n")
    assert "verify" in printed(tmp_path, "bash").read_text()
