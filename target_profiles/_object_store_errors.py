"""What an object store answers when it does not do what it was asked, in a sentence with a hint."""

import contextlib
import re
from collections.abc import Iterator

from pickup_core.api import StoreError, UnreachableError, short_line

_CODE = re.compile(r"<Code>(\w+)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_CAUSE = re.compile(r'message: "([^"]+)"')
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)")
_STATUS = re.compile(r"status code: (\d{3}[^:]*)")

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList, and Azure's of the same meaning
_HINTS = {
    "InvalidAccessKeyId": "compare access_key_id with the keys of the account",
    "SignatureDoesNotMatch": "compare secret_access_key with the one that belongs to access_key_id",
    "AuthenticationFailed": "compare account and account_key",
    "AccessDenied": "may this key do that, in this bucket and prefix? See its policy",
    "AuthorizationPermissionMismatch": "may this account do that, in this container?",
    "ExpiredToken": "the credentials of the environment are too old",
    "NoSuchBucket": "make the bucket, or mend the url",
    "ContainerNotFound": "make the container, or mend the url",
    "RequestTimeTooSkewed": "the clock of this machine, or of the server, is wrong",
    "AuthorizationHeaderMalformed": "region has to be that of the bucket",
    "PermanentRedirect": "region has to be that of the bucket",
    "QuotaExceeded": "make room there, or set retention",
    "XMinioStorageFull": "make room there, or set retention",
}
_NO_CREDENTIALS = "no keys are in the config or in the environment, and no platform gives some"
_UNKNOWN_CONDITION = ("NotImplemented", "501 Not Implemented")


@contextlib.contextmanager
def explained(place: str, path: str, timeout: float) -> Iterator[None]:
    """Let what `obstore` raises about a path, or about the whole place, say what happened.

    Raises `FileNotFoundError`, `FileExistsError`, or `StoreError`.
    """
    from obstore.exceptions import AlreadyExistsError, BaseError

    try:
        yield
    except AlreadyExistsError:
        raise FileExistsError(f"{path} exists already") from None
    except BaseError as error:
        text = str(error)
        if found := _CERTIFICATE.search(text):
            what = f"the server's certificate is not valid: {found[1]}"
            raise StoreError(f"{place}: {what}", hint="ca_file names an authority of your own") from error
        if "169.254.169.254" in text or "metadata.google" in text:
            raise StoreError(f"{place}: {_NO_CREDENTIALS}", hint="set them; see the options") from error
        code = found[1] if (found := _CODE.search(text)) else ""
        kind = UnreachableError if "HttpError {" in text else StoreError
        where = f"{place}: {path}" if path else place
        raise kind(f"{where}: {_sentence(text, code, timeout)}", _HINTS.get(code, "")) from error
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist in {place}") from None


def is_unknown_condition(error: Exception) -> bool:
    """Tell whether a store refuses a request because it does not know the condition that nothing is overwritten."""
    return any(text in str(error) for text in _UNKNOWN_CONDITION)


def _sentence(text: str, code: str, timeout: float) -> str:
    status, causes = _STATUS.search(text), _CAUSE.findall(text)
    if "kind: Timeout" in text or "TimedOut" in text:
        said = f"the server did not answer within {timeout:.0f} seconds"
    elif code:
        message = found[1] if (found := _MESSAGE.search(text)) else ""
        said = f"{code}: {message}".rstrip(": ")
    elif status:
        said = f"the server answers {status[1].strip()}"
    else:
        said = ": ".join(causes) or text.partition("\n")[0]
    return short_line(said)
