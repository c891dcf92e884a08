"""Reading what a Redfish service sends: any field may be missing, of another type, or hostile. Pure.

Sources: DMTF DSP0266 1.20, sections "Error responses" and "Links property"; recorded answers of real machines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from drivers.redfish_connection import Answer
from trigger.errors import DriverError
from trigger.text import harmless

_MAX_PATH = 2048


def parse_object(body: bytes) -> dict[str, Any] | None:
    """Return `body` as a JSON object, or None when it is anything else, however it is broken."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def link(value: object) -> str:
    """Return the path of a link such as `{"@odata.id": "/redfish/v1/Systems/1"}`; raises DriverError for others."""
    path = value.get("@odata.id") if isinstance(value, dict) else value
    return local_path(path)


def local_path(path: object) -> str:
    """Return `path` when it is a path below /redfish/ (or iLO 4's /rest/), else raise DriverError.

    A link in a body is text of a machine that we do not trust: it must not lead to another host.
    """
    text = path if isinstance(path, str) else ""
    clean = text.isascii() and text.isprintable() and " " not in text and len(text) <= _MAX_PATH
    if clean and text.startswith(("/redfish/", "/rest/")) and "//" not in text and ".." not in text:
        return text
    raise DriverError(f"a link leads to {harmless(repr(path), limit=200)}, not below /redfish/. Nothing was sent.")


def said(answer: Answer) -> str:
    """Return what the controller said in its error's extended messages, as `: text`, or ""."""
    texts = [f"{m.get('MessageId', '')} {m.get('Message', '')}".strip() for m in messages(answer)]
    text = "; ".join(text for text in texts if text)
    return f": {harmless(text, limit=500)}" if text else ""


def said_location(answer: Answer) -> str:
    """Return where a redirect would lead, harmless to print."""
    return harmless(answer.headers.get("location", "nowhere"), limit=200)


def messages(answer: Answer) -> list[dict[str, Any]]:
    """Return the extended messages of an answer (DSP0266, "Error responses"), tolerant of every shape."""
    body = parse_object(answer.body) or {}
    error = body.get("error")
    block = error if isinstance(error, dict) else body
    found = block.get("@Message.ExtendedInfo", block.get("Messages", []))
    listed = found if isinstance(found, list) else [found]
    texts = [item for item in listed if isinstance(item, dict)]
    if not texts and isinstance(block.get("message"), str):
        texts = [{"MessageId": str(block.get("code", "")), "Message": block["message"]}]
    return texts


def known_text(known: Mapping[str, object], key: str) -> str:
    """Return a text of the record, "" when there is none."""
    value = known.get(key)
    return value if isinstance(value, str) else ""
