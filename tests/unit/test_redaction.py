"""Secrets in whatever spelling a library may log them."""

from __future__ import annotations

import base64
import io
import json
import logging
import urllib.parse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trigger.redaction import HIDDEN, RedactingFilter, Redactor

PASSWORD = 'kT7 made/up+"val\\ue"=ß9'


def redactor(*values: str, user: str = "") -> Redactor:
    made = Redactor()
    for value in values:
        made.add(value, user)
    return made


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


SPELLINGS = {
    "raw": PASSWORD,
    "json": json.dumps(PASSWORD)[1:-1],
    "json, not ASCII": json.dumps(PASSWORD, ensure_ascii=False)[1:-1],
    "repr": repr(PASSWORD)[1:-1],
    "repr of bytes": repr(PASSWORD.encode())[2:-1],
    "url": urllib.parse.quote(PASSWORD, safe=""),
    "url path": urllib.parse.quote(PASSWORD),
    "url lower": urllib.parse.quote(PASSWORD, safe="").replace("%2F", "%2f").replace("%2B", "%2b").replace("%5C", "%5c")
    .replace("%3D", "%3d").replace("%C3%9F", "%c3%9f"),
    "form": urllib.parse.quote_plus(PASSWORD),
    "hex": PASSWORD.encode().hex(),
    "HEX": PASSWORD.encode().hex().upper(),
    "hex with spaces": PASSWORD.encode().hex(" "),
    "hex with colons": PASSWORD.encode().hex(":"),
    "array": ", ".join(f"0x{byte:02x}" for byte in PASSWORD.encode()),
    "base64": b64(PASSWORD),
    "base64 url": base64.urlsafe_b64encode(PASSWORD.encode()).decode(),
    "basic": b64(f"crash:{PASSWORD}"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings(name: str) -> None:
    text = redactor(PASSWORD, user="crash").redact(f"before {SPELLINGS[name]} after")
    assert text.startswith("before ***")
    assert text.endswith(" after")
    assert SPELLINGS[name].rstrip("=") not in text
    assert len(text) <= len("before *** after") + 3, "what is left of base64 is the user's, or padding"


@settings(max_examples=300, deadline=None)
@given(
    secret=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=8, max_size=20),
    user=st.text("abc\\@", max_size=8),
    other=st.text("xyz", max_size=7),
)
def test_any_secret_in_any_place(secret: str, user: str, other: str) -> None:
    live = redactor(secret, user=user)
    document = json.dumps({"UserName": user, "Password": secret})
    query = urllib.parse.urlencode({"u": user, "p": secret})
    header = b64(f"{user}:{secret}")
    inside = b64(f"{other}{secret}{other}")
    for text in (secret, document, query, header):
        assert HIDDEN in live.redact(f"<{text}>")
    for spelling in (secret, json.dumps(secret)[1:-1], urllib.parse.quote_plus(secret), header.rstrip("=")):
        assert spelling not in live.redact(f"<{secret} {document} {query} {header} {inside}>")
    assert HIDDEN in live.redact(inside), "also in the middle of something longer"


def test_several_secrets_the_longest_first() -> None:
    live = redactor("made-up", "made-up-longer")
    assert live.redact("made-up-longer made-up") == "*** ***"


def test_nothing_known_and_nothing_secret() -> None:
    assert Redactor().redact("as it is") == "as it is"
    assert redactor("").redact("as it is") == "as it is"
    assert redactor("made-up-1").redact("power on, GUID 1234") == "power on, GUID 1234"


def test_special_characters_are_no_pattern() -> None:
    assert redactor(".*+?[(").redact("x.*+?[(y abc") == "x***y abc"


def logged(live: Redactor) -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    handler.addFilter(RedactingFilter(live))
    logger = logging.Logger("library.below")
    logger.addHandler(handler)
    return logger, stream


def test_messages_arguments_tracebacks_and_stacks() -> None:
    logger, stream = logged(redactor("made-up-1"))
    logger.debug("plain made-up-1 %d", 7)
    logger.info("argument %s and %r", "made-up-1", {"Password": "made-up-1"})
    try:
        raise ValueError("cannot use made-up-1")
    except ValueError:
        logger.exception("failed with made-up-1")
    logger.warning("stack", stack_info=True)
    logger.error(ValueError("made-up-1"))
    text = stream.getvalue()
    assert "made-up-1" not in text.replace('"plain made-up-1', "").replace('logger.debug("', "")
    assert "DEBUG plain *** 7" in text
    assert "argument *** and {'Password': '***'}" in text
    assert "ValueError: cannot use ***" in text
    assert "Stack (most recent call last)" in text
    assert "ERROR ***" in text


def test_a_record_that_cannot_be_formatted_shows_no_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    logger, stream = logged(redactor("made-up-1"))
    logger.info("%d of %d", "made-up-1", "x")
    assert stream.getvalue() == "INFO (a log record that cannot be formatted: TypeError)\n"
    assert capsys.readouterr().err == ""


def test_the_traceback_is_not_formatted_anew_by_another_handler() -> None:
    logger, _ = logged(redactor("made-up-1"))
    second = io.StringIO()
    logger.addHandler(logging.StreamHandler(second))
    seen: list[logging.LogRecord] = []
    logger.addHandler(keeper := logging.NullHandler())
    keeper.handle = seen.append  # type: ignore[assignment, method-assign]
    try:
        raise ValueError("made-up-1")
    except ValueError:
        logger.exception("failed")
    assert seen[0].exc_info is None, "a handler that draws tracebacks itself would draw the secret"
    assert "ValueError: ***" in second.getvalue()
    assert "made-up-1" not in second.getvalue().replace('raise ValueError("made-up-1")', "")
