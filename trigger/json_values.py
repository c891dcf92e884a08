"""Values of a JSON file that may be damaged or somebody else's: each is what it should be, or Wrong is raised."""

from __future__ import annotations

from collections.abc import Mapping


class Wrong(ValueError):
    """A value of the file is not what it should be; the text is a clause."""


def mapping(value: object, key: str) -> Mapping[str, object]:
    """Return `value` as a mapping. Raises Wrong."""
    if not isinstance(value, dict):
        raise Wrong(f"has no mapping in {key}")
    return value


def section(plain: Mapping[str, object], key: str) -> Mapping[str, object]:
    """Return the mapping at `key`, empty where there is none. Raises Wrong."""
    return mapping(plain.get(key) or {}, key)


def list_of(plain: Mapping[str, object], key: str) -> list[object]:
    """Return the list at `key`, empty where there is none. Raises Wrong."""
    value = plain.get(key) or []
    if not isinstance(value, list):
        raise Wrong(f"has no list in {key}")
    return value


def text(plain: Mapping[str, object], key: str) -> str:
    """Return the text at `key`, "" where there is none. Raises Wrong."""
    value = plain.get(key, "")
    if not isinstance(value, str):
        raise Wrong(f"has no text in {key}")
    return value


def clauses(plain: Mapping[str, object], key: str) -> tuple[str, ...]:
    """Return the texts of the list at `key`. Raises Wrong."""
    return tuple(text({key: item}, key) for item in list_of(plain, key))


def texts(plain: Mapping[str, object], key: str) -> dict[str, str]:
    """Return the mapping of texts at `key`. Raises Wrong."""
    found = section(plain, key)
    return {name: text(found, name) for name in found}


def number(plain: Mapping[str, object], key: str) -> float | None:
    """Return the number at `key`, None where there is none. Raises Wrong."""
    value = plain.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e18:
        raise Wrong(f"has no number in {key}")
    return float(value)


def whole(plain: Mapping[str, object], key: str) -> int | None:
    """Return the number at `key` as an integer. Raises Wrong."""
    found = number(plain, key)
    return None if found is None else int(found)


def address(plain: Mapping[str, object], key: str) -> int | None:
    """Return the hexadecimal number at `key`. Raises Wrong."""
    text = plain.get(key)
    if text is None:
        return None
    try:
        return int(str(text), 16)
    except ValueError:
        raise Wrong(f"has no hexadecimal number in {key}") from None
