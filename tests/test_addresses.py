"""Addresses that are secrets, and their parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pickup_core.addresses import scheme_of, secret_address
from pickup_core.secret import Secret, redact


@pytest.mark.parametrize(
    ("address", "hidden"),
    [
        ("https://hc-ping.com/2c3f5a7e-0000-4a3b-8c1d-1234567890ab", "2c3f5a7e-0000-4a3b-8c1d-1234567890ab"),
        ("ntfys://tk_a1b2c3d4e5@ntfy.example.org/alerts", "tk_a1b2c3d4e5"),
        ("tgram://123456789:AAbbCCddEEffGGhhIIjj/987654321", "AAbbCCddEEffGGhhIIjj"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general", "A1BRTD4JD"),
        ("mailtos://web:open%20sesame@example.org", "open sesame"),
        ("mailtos://web:open%20sesame@example.org", "open%20sesame"),
        ("https://kuma.example.org/push?token=s3cr3t-t0k3n", "s3cr3t-t0k3n"),
    ],
)
def test_an_address_and_what_looks_like_a_key_in_it_are_secrets(address: str, hidden: str) -> None:
    """L5: libraries show parts of it in their messages."""
    assert secret_address(Secret(address)).reveal() == address
    assert redact(f"at {address}: no") == "at ***: no"
    assert redact(f"no answer for /{hidden}/x") == "no answer for /***/x"


def test_what_could_stand_in_any_message_is_no_secret() -> None:
    secret_address(Secret("ntfys://ntfy.example.org/backup"))
    secret_address(Secret("json://localhost:8080/backup"))
    secret_address(Secret("https://hc-ping.com/Ab3dEf6hIj9kLm2nOp5q/web01-prod"))
    assert redact("job web01-prod, Ab3dEf6hIj9kLm2nOp5q") == "job web01-prod, ***"
    assert redact("ntfy.example.org localhost:8080 /mnt/backup") == "ntfy.example.org localhost:8080 /mnt/backup"


@pytest.mark.parametrize(
    "text", ["", "example.org", "https:/x", "https://a b", "https://x\n", "https://x\x00", "1://x"]
)
def test_what_is_no_address_is_refused_without_a_word_of_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^should be an address such as https://example.org/..., without spaces$"):
        secret_address(Secret(text))


@given(st.from_regex(r"[a-z]+://[!-~]{0,60}", fullmatch=True))
def test_any_address_is_taken(text: str) -> None:
    assert scheme_of(secret_address(Secret(text))) == text.partition("://")[0]
