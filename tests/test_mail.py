"""Mail: what an entry of `NOTIFY` may say of it."""

from typing import Any

import pytest
from pydantic import ValidationError

from pickup_core.mail import Mail


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"user": "a"}, "user and password belong together"),
        ({"password": "a"}, "user and password belong together"),
        ({"user": "a", "password": "b", "host": "mx.example.org", "security": "none"}, "a password needs security"),
        ({"to": []}, "at least 1 item"),
        ({"to": "Root <root@example.org>"}, "should be one address"),
        ({"to": "root@example.org\nBcc: x"}, "should be one address"),
        ({"sender": "a, b"}, "should be one address"),
        ({"host": "-oProxy"}, "should match pattern"),
        ({"port": 0}, "greater than or equal to 1"),
        ({"security": "ssl"}, "'starttls', 'tls' or 'none'"),
        ({"user": "ä", "password": "b"}, "should be ASCII"),
        ({"user": "a", "password": "ü"}, "should be ASCII"),
        ({"timeout": 3600}, "less than or equal to 60"),
    ],
)
def test_options_that_could_not_work_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Mail.model_validate({"to": "root@example.org", **options})


def test_the_port_follows_from_how_the_connection_is_secured() -> None:
    def server(**options: str) -> str:
        return Mail.model_validate({"to": "root", **options}).server

    assert server() == "localhost:25"
    assert server(host="127.0.0.1") == "127.0.0.1:25"
    assert server(host="mx.example.org") == "mx.example.org:587"
    assert server(host="mx.example.org", security="tls") == "mx.example.org:465"
    assert server(host="mx.example.org", security="none") == "mx.example.org:25"
