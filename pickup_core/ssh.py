"""How the program ssh is started: it asks nobody, trusts no key that is not known, and gives up on who falls silent."""

from pathlib import Path


def ssh_command(
    port: int | None = None, key_file: Path | None = None, known_hosts: Path | None = None, connect_timeout: int = 30
) -> list[str]:
    """Give the words that start ssh, up to the host. What is None is left to ssh and to ~/.ssh/config.

    `known_hosts` is the only file of host keys then; `connect_timeout` is in seconds, and three times as long a silence
    ends the connection later on. See ssh_config(5).
    """
    words = ["ssh", "-T", "-x", "-a", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
             "-o", f"ConnectTimeout={connect_timeout}", "-o", f"ServerAliveInterval={connect_timeout}",
             "-o", "ServerAliveCountMax=3", "-o", "ClearAllForwardings=yes"]  # fmt: skip
    if port is not None:
        words += ["-p", str(port)]
    if key_file is not None:
        words += ["-o", "IdentitiesOnly=yes", "-o", f"IdentityFile={_as_option(key_file)}"]
    if known_hosts is not None:
        words += ["-o", f"UserKnownHostsFile={_as_option(known_hosts)}", "-o", "GlobalKnownHostsFile=/dev/null"]
    return words


def _as_option(path: Path) -> str:
    """Give a path as ssh's options have it: quoted, and without its own signs."""
    text = str(path).replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
