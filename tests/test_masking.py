"""Masking: the copy of the config that goes to every target is the same program, without its secrets."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pickup_core import secret
from pickup_core.masking import masked_source
from pickup_core.secret import Secret, redact


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test begin without secrets, and leave none."""
    monkeypatch.setattr(secret, "_spellings", {})


@pytest.mark.parametrize(
    ("source", "masked"),
    [
        ('password = "c4n4ry"', 'password = "***"'),
        ('password: str = "c4n4ry"', 'password: str = "***"'),
        ('x["password"] = x.token = "c4n4ry"', 'x["password"] = x.token = "***"'),
        ('user, password = "me", "c4n4ry"', 'user, password = "me", "***"'),
        ('dict(name="db", password="c4n4ry")', 'dict(name="db", password="***")'),
        ('{"password": "c4n4ry", "user": "me"}', '{"password": "***", "user": "me"}'),
        ('password = "c4n" "4ry"', 'password = "***"'),
        ('password = "c4n" + "4ry"', 'password = "***" + "***"'),
        ('password = f"c4n4ry{1}"', 'password = "***"'),
        ("print(f\"{dict(password='c4n4ry')}\")", 'print("***")'),
        ('password = "c4n4ry" if 1 else "other"', 'password = "***" if 1 else "***"'),
        ('if (password := "c4n4ry"): pass', 'if (password := "***"): pass'),
        ('password = b"c4n4ry"', 'password = "***"'),
        ('password = """c4n4ry\nof two lines"""; x = 1', 'password = "***"; x = 1'),
        ('å = "ü"; password = "c4n4ry"; ö = 1', 'å = "ü"; password = "***"; ö = 1'),
        ('# \x0c \u2028 \x85 \x1c\npassword = "c4n4ry"\nx = 1\n', '# \x0c \u2028 \x85 \x1c\npassword = "***"\nx = 1\n'),
        ('x = 1\r\npassword = "c4n4ry"\r\n', 'x = 1\r\npassword = "***"\r\n'),
        ('password = secret_file("db.password")', 'password = secret_file("db.password")'),
        ('password = ""', 'password = ""'),
        ("shell = \"PGPASSWORD='c4n4ry' pg_dump\"", "shell = \"PGPASSWORD='***' pg_dump\""),
        ("shell = \"dump --password='c4n4ry'\"", "shell = \"dump --password='***'\""),
        ('dsn = "host=db password=c4n4ry"', 'dsn = "host=db password=***"'),
        ('command = ["dump", "--password", "c4n4ry"]', 'command = ["dump", "--password", "***"]'),
        ('command = "curl -u web:c4n4ry x"', 'command = "curl -u web:*** x"'),
        ('header = "Authorization: Bearer c4n4ry"', 'header = "Authorization: Bearer ***"'),
        ('url = "https://x/?token=c4n4ry&a=1"', 'url = "https://x/?token=***&a=1"'),
        ('password = os.environ.get("PW4", "c4n4ry")', 'password = os.environ.get("***", "***")'),
        ('password = "c4n4ry ".strip()', 'password = "***".strip()'),
        ('env = [("password", "c4n4ry")]', 'env = [("password", "***")]'),
        ('dbpass = "c4n4ry"; password2 = "6c4n4ry"', 'dbpass = "***"; password2 = "***"'),
        ('# was: dict(password="c4n4ry")', '# was: dict(password="***")'),
        ("#x['token'] = 'c4n4ry'", "#x['token'] = '***'"),
        ('# NOTIFY = ["tgram://1:c4n4ry/9", "mailto://c4n4ry"]', '# NOTIFY = ["***", "***"]'),
        ('#    "slack://a/c4n4ry",', '#    "***",'),
        ('# dict(url="https://x/c4n4ry"),', '# dict(url="***"),'),
        ('# see "https://example.org/c4n4r"', '# see "https://example.org/c4n4r"'),
        (
            'def login(user="me", password="c4n4ry", *, token="5c4n4ry"): pass',
            'def login(user="me", password="***", *, token="***"): pass',
        ),
        ('passwords = ["c4n4ry"]', 'passwords = ["***"]'),
        ('passwd = {"db": "c4n4ry", "ftp": ["4c4n4ry"]}', 'passwd = {"db": "***", "ftp": ["***"]}'),
        ('env = dict(DUMP_KEY="c4n4ry")', 'env = dict(DUMP_KEY="***")'),
        ('command = ["dump", "--password=c4n4ry"]', 'command = ["dump", "--password=***"]'),
        ('command = "PGPASSWORD=c4n4ry dump -x"', 'command = "PGPASSWORD=*** dump -x"'),
        ('url = "ftp://me:c4n4ry@nas/b?x=1"', 'url = "ftp://me:***@nas/b?x=1"'),
        ('url = "ftp://nas:21/b@c"', 'url = "ftp://nas:21/b@c"'),
        ('command = "dump --password-file=c4n4r"', 'command = "dump --password-file=c4n4r"'),
        ('password += "c4n4ry"', 'password += "***"'),
        ('self.password = ["c4n4ry", other or "c4n4rz"]', 'self.password = ["***", other or "***"]'),
        ('password = "c4n4ry"  # it is c4n4ry', 'password = "***"  # it is ***'),
        ('password = "abc"  # abc', 'password = "***"  # abc'),
        ('password = None\nname = "c4n4r"', 'password = None\nname = "c4n4r"'),
    ],
)
def test_no_secret_is_left_that_is_written_out(source: str, masked: str) -> None:
    """I6: it goes to every target."""
    assert masked_source(source) == masked


def test_no_secret_is_left_that_is_known() -> None:
    Secret("c4n4ry")
    Secret("c4n4ry\nof two lines")
    source = "# c4n4ry, once\nx = ['c4n4ry', \"c4n\\x34ry\", 'c4n' '4ry', '''c4n4ry\nof two lines''']\n"
    assert masked_source(source) == '# ***, once\nx = ["***", "***", "***", "***"]\n'


@given(
    st.lists(
        st.sampled_from(
            [
                "x = 1",
                "",
                "# \x0c\x0b\x1c\x1d\x1e\x85\u2028\u2029",
                "y = 'ü\u2028' \\\n + 'z'",
                "'''\x0c\n\n'''",
                "d = dict(password='c4n4ry', é='é', token=f'c4n4ry')",
                "password = 'c4n4ry'; other = 'ö'; token = 'c4n4ry'",
            ]
        )
    ),
    st.sampled_from(["\n", "\r\n"]),
)
def test_any_config_stays_the_same_program_without_secrets(lines: list[str], end: str) -> None:
    source = end.join(lines)
    masked = masked_source(source)
    assert "c4n4ry" not in masked
    expected = source.replace("f'c4n4ry'", '"***"').replace("'c4n4ry'", '"***"')
    assert masked == expected
    ast.parse(masked)


@pytest.mark.parametrize(
    "source", ['password = "c4n4ry"', 'command = "dump --password=c4n4ry"', "x.token = b'' or 'c4n4ry'"]
)
def test_what_was_masked_once_is_seen_in_no_message_later(source: str) -> None:
    """I6: a program may quote its own command line when it fails."""
    assert redact("c4n4ry") == "c4n4ry"
    masked_source(source)
    assert redact("dump: login failed for me:c4n4ry") == "dump: login failed for me:***"
