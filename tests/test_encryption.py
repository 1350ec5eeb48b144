"""Encryption: what goes to whom, what opens it, and what is refused. The other side is Debian's age."""

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pickup_core.encryption import Identities, Recipient, encrypt, make_identity, parse_recipients, recipients_in
from pickup_core.errors import ConfigError, DamageError, Stopped, UsageError
from tests.servers.running import required
from tests.target_contract import Pieces

DATA = os.urandom(700_000)


class Pair:
    """A pair of keys in a file."""

    def __init__(self, path: Path) -> None:
        self.file, self.public = path, make_identity(path)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path / "identity")


@pytest.fixture
def other(tmp_path: Path) -> Pair:
    return Pair(tmp_path / "other")


@pytest.fixture
def ssh(tmp_path: Path) -> Pair:
    file = tmp_path / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada@desk", "-f", file], check=True)
    pair = Pair.__new__(Pair)
    pair.file, pair.public = file, file.with_suffix(".pub").read_text()
    return pair


def encrypted(*publics: str, data: bytes = DATA) -> bytes:
    out = io.BytesIO()
    encrypt(io.BytesIO(data), out, parse_recipients(list(publics)))
    return out.getvalue()


def decrypted(data: bytes, *files: Path) -> bytes:
    out = io.BytesIO()
    Identities(files).decrypt(io.BytesIO(data), out, "it")
    return out.getvalue()


def age(*words: object, given: bytes) -> bytes:
    return subprocess.run([required("age"), *map(str, words)], input=given, capture_output=True, check=True).stdout


@pytest.mark.parametrize("kind", ["pair", "ssh"])
@pytest.mark.parametrize("size", [0, 1, 65_536, 700_000])
def test_what_one_has_written_the_other_opens(request: pytest.FixtureRequest, kind: str, size: int) -> None:
    keys, data = request.getfixturevalue(kind), DATA[:size]
    assert age("--decrypt", "--identity", keys.file, given=encrypted(keys.public, data=data)) == data
    assert decrypted(age("--recipient", keys.public.strip(), given=data), keys.file) == data


def test_each_of_several_keys_opens_it_alone_and_no_other_does(pair: Pair, other: Pair, ssh: Pair) -> None:
    data = encrypted(pair.public, ssh.public)
    assert decrypted(data, pair.file) == decrypted(data, ssh.file) == decrypted(data, other.file, pair.file) == DATA
    with pytest.raises(UsageError, match=f"it opens with another key than {other.file}"):
        decrypted(data, other.file)


def test_without_a_key_nothing_is_opened(pair: Pair) -> None:
    """V10"""
    with pytest.raises(UsageError, match="it is encrypted") as caught:
        decrypted(encrypted(pair.public))
    assert "--identity" in caught.value.hint


CHUNK = 65_536 + 16  # https://github.com/C2SP/C2SP/blob/main/age.md#payload


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a bit of the head": lambda data: flipped(data, 40),
    "a bit of the first chunk": lambda data: flipped(data, 1000),
    "a bit of the last byte": lambda data: flipped(data, len(data) - 1),
    "the last byte is gone": lambda data: data[:-1],
    "the last chunk is gone": lambda data: data[: -(len(DATA) % 65_536 + 16)],
    "half is gone": lambda data: data[: len(data) // 2],
    "two chunks change places": lambda data: (
        data[: -3 * CHUNK] + data[-2 * CHUNK : -CHUNK] + data[-3 * CHUNK : -2 * CHUNK] + data[-CHUNK:]
    ),
    "something follows": lambda data: data + b"more",
    "nothing is left": lambda data: b"",
    "it is no age file": lambda data: DATA,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_was_tampered_with_is_refused_before_a_byte_is_given(pair: Pair, damage: str) -> None:
    """V10: a bit of the head may make it look as if it were for another key."""
    data = DAMAGE[damage](encrypted(pair.public))
    with pytest.raises((DamageError, UsageError)) as caught, Identities([pair.file]).decrypted(io.BytesIO(data), "it"):
        pytest.fail("something was given")
    assert damage == "a bit of the head" or "cannot be decrypted" in str(caught.value)


@pytest.mark.parametrize("error", [ZeroDivisionError("broken"), KeyboardInterrupt(), Stopped(15), OSError(5, "I/O")])
def test_what_a_stream_raises_gets_out_as_it_is(pair: Pair, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        encrypt(Pieces(DATA, fail_after=200_000, error=error), io.BytesIO(), parse_recipients([pair.public]))
    assert caught.value is error

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise error

    for move in (
        lambda: encrypt(io.BytesIO(DATA), Full(), parse_recipients([pair.public])),
        lambda: Identities([pair.file]).decrypt(io.BytesIO(encrypted(pair.public)), Full(), "it"),
    ):
        with pytest.raises(type(error)) as caught:
            move()
        assert caught.value is error


class Generous:
    """A reader that gives more than it is asked for, as a compressor does."""

    def __init__(self, data: bytes) -> None:
        self.blocks = [data[:300_000], data[300_000:300_001], data[300_001:]]

    def read(self, size: int = -1) -> bytes:
        return self.blocks.pop(0) if self.blocks else b""


def test_a_reader_may_give_more_than_it_is_asked_for(pair: Pair) -> None:
    out = io.BytesIO()
    encrypt(Generous(DATA), out, parse_recipients([pair.public]))
    assert decrypted(out.getvalue(), pair.file) == DATA


# Public keys


def test_keys_have_the_comments_that_they_are_given(pair: Pair, ssh: Pair, tmp_path: Path) -> None:
    plain, expected = " ".join(ssh.public.split()[:2]), Recipient(pair.public, "web team 2026")
    assert parse_recipients([pair.public, ssh.public]) == (Recipient(pair.public), Recipient(plain, "ada@desk"))
    assert parse_recipients({"web team 2026": pair.public}) == (expected,)
    assert str(expected) == f"{pair.public} web team 2026"
    file = tmp_path / "recipients"
    file.write_text(f"# web team 2026\n{pair.public}\n\n{ssh.public}")
    assert recipients_in(file) == (expected, Recipient(plain, "ada@desk"))
    assert decrypted(age("--recipients-file", file, given=DATA), pair.file) == DATA


@pytest.mark.parametrize("text", ["# desk\n", "age1xyz\n"])
def test_a_file_of_public_keys_is_named_where_it_is_wrong(tmp_path: Path, text: str) -> None:
    file = tmp_path / "recipients"
    file.write_text(text)
    with pytest.raises(ValueError, match=f"{file}: .* public key"):
        recipients_in(file)


def test_a_file_of_public_keys_that_others_can_change_is_not_believed(pair: Pair, tmp_path: Path) -> None:
    file = tmp_path / "recipients"
    file.write_text(pair.public)
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="recipients"):
        recipients_in(file)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "names no public key"),
        ({}, "names no public key"),
        ("age1xyz", "should be a list"),
        ([1], "has a int where"),
        (["age1xyz"], "'age1xyz' is no public key"),
        (["ssh-rsa AAAA"], "is no public key of age or ssh-ed25519"),
        (["ssh-ed25519 AAAA"], "is no public key"),
        ([""], "is no public key"),
    ],
    ids=repr,
)
def test_what_is_no_public_key_is_refused(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_recipients(given)


def test_a_private_key_in_the_config_is_refused_and_not_shown(pair: Pair) -> None:
    private = pair.file.read_text().splitlines()[-1]
    for form in (private, private.lower(), "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA"):
        with pytest.raises(ValueError, match="has a private key") as caught:
            parse_recipients([form])
        assert form not in str(caught.value)


def test_a_key_that_stands_twice_or_a_comment_that_forges_lines_is_refused(pair: Pair) -> None:
    with pytest.raises(ValueError, match="twice"):
        parse_recipients({"a": pair.public, "b": pair.public})
    with pytest.raises(ValueError, match="control characters"):
        parse_recipients({"a\nb": pair.public})


def test_without_the_library_there_is_one_sentence(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyrage", None)
    with pytest.raises(ConfigError, match="needs the package pyrage"):
        parse_recipients([pair.public])


# Private keys


def test_a_pair_of_keys_is_private_and_never_over_a_file(pair: Pair) -> None:
    assert pair.file.stat().st_mode & 0o777 == 0o600
    said = subprocess.run([required("age-keygen"), "-y", pair.file], capture_output=True, text=True, check=True).stdout
    assert said == f"{pair.public}\n"
    before = pair.file.read_text()
    with pytest.raises(UsageError, match="is there already"):
        make_identity(pair.file)
    assert pair.file.read_text() == before
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        make_identity(pair.file.parent / "absent/x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "holds no private key"),
        (b"# public key: age1\n", "holds no private key"),
        (b"age1xyz", "it is no private key"),
        (b"\xff\xfe", "it is no private key"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "it is no private key"),
    ],
    ids=repr,
)
def test_what_is_no_private_key_is_named(pair: Pair, tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "wrong"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        decrypted(encrypted(pair.public), file)
    assert str(file) in caught.value.message


def test_an_ssh_key_with_a_passphrase_says_what_to_do(ssh: Pair) -> None:
    data = encrypted(ssh.public)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "a passphrase", "-f", ssh.file], check=True)
    with pytest.raises(UsageError, match="it has a passphrase") as caught:
        decrypted(data, ssh.file)
    assert "ssh-keygen -p" in caught.value.hint


def with_passphrase(pair: Pair, armor: bool) -> Path:
    """Encrypt an identity as `age --passphrase` does, which asks on the terminal."""
    file = pair.file.with_suffix(".locked")
    words = [required("age"), *(["--armor"] if armor else []), "--passphrase", "--output", str(file), str(pair.file)]
    assert on_terminal(words, b"a passphrase\n", b"a passphrase\n")[0] == 0
    return file


def on_terminal(words: list[str], *answers: bytes) -> tuple[int, bytes]:
    """Run a command on a terminal of its own and answer its questions; give its status and what it showed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(words[0], words)
    shown, left = b"", list(answers)
    while True:
        try:
            block = os.read(terminal, 4096)
        except OSError:  # its end
            break
        if not block:
            break
        shown += block
        if left and shown.count(b": ") > len(answers) - len(left):
            os.write(terminal, left.pop(0))
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


OPEN = """
import io, sys
from pathlib import Path
from pickup_core.encryption import Identities
from pickup_core.errors import PickupError
out, identities = io.BytesIO(), Identities([Path(sys.argv[1])])
try:
    for _ in range(2):
        with open(sys.argv[2], "rb") as stream:
            identities.decrypt(stream, out, "it")
    print("opened", len(out.getvalue()))
except PickupError as error:
    print(error)
"""


@pytest.mark.parametrize("armor", [False, True])
def test_the_passphrase_of_a_private_key_is_asked_for_once(pair: Pair, tmp_path: Path, armor: bool) -> None:
    (tmp_path / "data").write_bytes(encrypted(pair.public))
    words = [sys.executable, "-c", OPEN, str(with_passphrase(pair, armor)), str(tmp_path / "data")]
    _, shown = on_terminal(words, b"a passphrase\n")
    assert b"opened 1400000" in shown
    assert shown.count(b"Passphrase of") == 1
    assert b"a passphrase" not in shown
    assert b"that is not its passphrase" in on_terminal(words, b"wrong\n")[1]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert "has a passphrase, and there is no terminal to ask for it" in done.stdout


def test_the_library_keeps_no_more_than_a_block(pair: Pair) -> None:
    """What goes through at a time stays small, whatever the length is."""
    seen: list[int] = []

    class Sink(io.RawIOBase):
        def write(self, data: Any) -> int:
            seen.append(len(data))
            return len(data)

    encrypt(Pieces(bytes(8_000_000), 256 * 1024), Sink(), parse_recipients([pair.public]))
    assert sum(seen) > 8_000_000
    assert max(seen) < 2**20
