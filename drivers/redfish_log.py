"""The controller's event logs over Redfish: SEL, IML, Lifecycle log, whatever they are called.

Source: DMTF LogService and LogEntry schemas. Services differ in the order of entries (Dell newest first, OpenBMC
oldest first), in whether members are whole entries or links, and in how they page.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from drivers.redfish_body import link
from drivers.redfish_session import NotThere, RedfishSession
from drivers.redfish_system import System, members, text
from trigger.clock import Deadline
from trigger.driver import EventLogEntry
from trigger.errors import DriverError

_MAX_LOGS = 8
_MAX_PAGES = 20
_MAX_SINGLE_READS = 50


def read_logs(
    session: RedfishSession, system: System, deadline: Deadline, newest: int, since: float | None
) -> tuple[EventLogEntry, ...]:
    """Return the `newest` entries over all logs of the system and its manager, oldest first.

    Entries without a time that can be read sort first. Raises DriverError when there is no log at all.
    """
    services = list(system.logs)
    if system.manager:
        manager = session.get(system.manager, deadline)
        services += [link(manager["LogServices"])] if "LogServices" in manager else []
    logs = [path for service in services for path in members(session.get(service, deadline))]
    if not logs:
        raise DriverError(f"{session.name}: {session.url} has no event log. Nothing was sent.")
    found: dict[str, EventLogEntry] = {}
    for path in list(dict.fromkeys(logs))[:_MAX_LOGS]:
        for entry in _read_log(session, path, deadline, newest):
            found.setdefault(entry.key, entry)
    kept = [entry for entry in found.values() if since is None or (entry.time is not None and entry.time >= since)]
    return tuple(sorted(kept, key=lambda entry: entry.time or 0.0)[-newest:])


def parse_entry(body: Mapping[str, Any], path: str) -> EventLogEntry:
    """Return one LogEntry; its `key` is its path, its text what the controller wrote, unfiltered."""
    message_id = text(body, "MessageId")
    said = text(body, "Message") or text(body, "Name") or text(body, "Description")
    return EventLogEntry(
        time=parse_time(text(body, "Created") or text(body, "EventTimestamp")),
        severity=text(body, "Severity"),
        text=f"{message_id} {said}".strip() if not said.startswith(message_id or "\0") else said,
        key=path,
    )


def parse_time(written: str) -> float | None:
    """Return an ISO 8601 time as seconds since the epoch, None where it is none. Without a zone it counts as UTC."""
    try:
        moment = datetime.datetime.fromisoformat(written)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    try:
        return moment.timestamp()
    except (OverflowError, ValueError):
        return None


def _read_log(session: RedfishSession, path: str, deadline: Deadline, newest: int) -> list[EventLogEntry]:
    """Return at least the `newest` entries of one log, in any order; a log that cannot be read is empty."""
    try:
        service = session.get(path, deadline)
        if "Entries" not in service:
            return []
        page = session.get(link(service["Entries"]), deadline)
    except NotThere:
        return []
    pages, seen = [page], set()
    skipped = _skip_to_end(session, page, link(service["Entries"]), deadline, newest)
    if skipped is not None:
        pages.append(skipped)
        page = skipped
    while _needs_more(pages, newest) and len(pages) < _MAX_PAGES:
        following = page.get("Members@odata.nextLink")
        if not isinstance(following, str) or following in seen:
            break
        seen.add(following)
        page = session.get(link(following), deadline)
        pages.append(page)
    return _entries(session, pages, deadline, newest)


def _needs_more(pages: list[dict[str, Any]], newest: int) -> bool:
    """Return whether later pages may hold newer entries, or too few are read yet."""
    return _ascending(pages[0]) or sum(len(_items(page)) for page in pages) < newest


def _skip_to_end(
    session: RedfishSession, first: dict[str, Any], path: str, deadline: Deadline, newest: int
) -> dict[str, Any] | None:
    """Return the last page of a long log that begins with its oldest entry, where the service can skip."""
    count = first.get("Members@odata.count")
    if not (isinstance(count, int) and "Members@odata.nextLink" in first and _ascending(first)):
        return None
    try:
        return session.get(f"{path}?$skip={max(count - newest, len(_items(first)))}", deadline)
    except NotThere:
        return None


def _ascending(page: dict[str, Any]) -> bool:
    times = [parse_time(text(item, "Created")) for item in _items(page)]
    known = [moment for moment in times if moment is not None]
    return len(known) > 1 and known[0] <= known[-1]


def _items(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    listed = page.get("Members")
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


def _entries(
    session: RedfishSession, pages: list[dict[str, Any]], deadline: Deadline, newest: int
) -> list[EventLogEntry]:
    items = [item for page in pages for item in _items(page)]
    whole = [parse_entry(item, text(item, "@odata.id")) for item in items if "Message" in item or "Created" in item]
    links = [item for item in items if "Message" not in item and "Created" not in item]
    for item in links[-min(newest, _MAX_SINGLE_READS) :]:
        path = link(item)
        whole.append(parse_entry(session.get(path, deadline), path))
    return whole
