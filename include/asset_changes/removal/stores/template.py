"""Key templates: where a store keeps the files of an asset, so that no file can be taken for another asset's.

A template is a key below the store's uri with `{asset_id}` in it once: `images/{asset_id}.jpg`. After the id, `*`
means any characters but `/`, and `**` as the last part everything below. The id is fenced: what follows it
can be part of no id, so `{asset_id}*` is refused, which would find 1234 for 123.
"""

import re
from dataclasses import dataclass, field
from functools import cache

from asset_changes.errors import ConfigurationError
from asset_changes.removal.stores.store import refusal_of

_PLACE = "{asset_id}"
_ID_CHARACTERS = "[A-Za-z0-9_-]"
_STARS = re.compile(r"\*\*|\*")


@dataclass(frozen=True)
class KeyTemplate:
    """A template that was found safe."""

    text: str
    before: str
    """What is before the id: plain text, so that every key can be listed by a prefix with the whole id in it."""
    after: str
    _pattern: re.Pattern[str] = field(repr=False, compare=False)

    @property
    def folder(self) -> str:
        """The folder in which it names anything, without the `/` at its end; empty: the store's own."""
        return self.before.rpartition("/")[0]

    def id_of(self, key: str) -> str | None:
        """Return the only asset whose file the key can be, or None where the template does not name it."""
        found = self._pattern.fullmatch(key)
        return found["id"] if found and refusal_of(found["id"]) is None else None

    def id_in(self, name: str) -> str | None:
        """Return the id in the name of something in `folder`, or None where it does not begin as the template does."""
        found = re.match(f"{re.escape(self.before.rpartition('/')[2])}({_ID_CHARACTERS}+)", name)
        return found[1] if found else None

    def parts_of(self, asset_id: str) -> list[str]:
        """Return the names of folders and file below `folder`, with the stars as they are."""
        return f"{self.before}{asset_id}{self.after}".removeprefix(f"{self.folder}/").split("/")

    def prefix_of(self, asset_id: str) -> str:
        """Return how each key of the asset begins: all up to the first star."""
        return f"{self.before}{asset_id}{self.after.partition('*')[0]}"


def parse_templates(texts: tuple[str, ...], *, where: str) -> tuple[KeyTemplate, ...]:
    """Return the templates of a store, or raise ConfigurationError where one key could be of two assets."""
    found = tuple(parse_template(text, where=where) for text in texts)
    for one in found:
        for other in found:
            if one is not other and (one.text == other.text or _may_differ(one, other)):
                raise ConfigurationError(
                    f"The key templates {one.text!r} and {other.text!r} in {where} name the same files, as those of "
                    "two assets or twice: keep one of them, or keep the files in folders of their own."
                )
    return found


def parse_template(text: str, *, where: str) -> KeyTemplate:
    """Return the template, or raise ConfigurationError that says why it is not safe and what to write instead."""
    if reason := _refusal_of_template(text):
        raise ConfigurationError(f"The key template {text!r:.120} in {where} is refused: {reason}.")
    before, _, after = text.partition(_PLACE)
    stars = {"*": "[^/]*", "**": "(?s:.*)"}
    tail = "".join(stars.get(each, re.escape(each)) for each in re.split(r"(\*+)", after))
    pattern = re.compile(f"{re.escape(before)}(?P<id>{_ID_CHARACTERS}+){tail}", re.ASCII)
    return KeyTemplate(text, before, after, pattern)


def _refusal_of_template(text: str) -> str | None:
    """Return what is wrong with a template and what to write instead, or None."""
    before, found, after = text.partition(_PLACE)
    parts = text.split("/")
    joined = re.search(f"{_ID_CHARACTERS}*$", before)
    word = joined[0] if joined else ""
    if text.count(_PLACE) != 1 or not found:
        return f"it needs {_PLACE} exactly once, as in images/{_PLACE}.jpg"
    if re.search(r"[{}?\[\]\\]|[^ -~\u00a0-\uffff]", before + after):
        return "it has other braces, ?, [ ], \\ or a control character; only * means other characters"
    if not all(parts) or {".", ".."} & set(parts):
        return "write it without / at its start or end, //, . and ..; all files of a folder are renditions/{asset_id}/*"
    if "*" in before:
        return f"a * before {_PLACE} would have the whole store listed for each asset; write one template per folder"
    if "***" in after or "**" in "/".join(parts[:-1]) or ("**" in parts[-1] and parts[-1] != "**"):
        return f"** means everything below a folder and is the last part alone, as in renditions/{_PLACE}/**"
    if word and (not word.endswith(("-", "_")) or re.search(r"\d", word)):
        return (
            f"{word!r} directly before the id could be its beginning, so that the file would be another asset's; "
            "write a / or another character that no id has between them (a word such as GettyImages- is fine)"
        )
    if re.match(rf"{_ID_CHARACTERS}|\*", after):
        return (
            f"{after[0]!r} directly after the id could be part of a longer id, whose files it would name too; write "
            f"a character that no id has, as in {_PLACE}.jpg, {_PLACE}.*, {_PLACE}/*"
        )
    return None


def _may_differ(one: KeyTemplate, other: KeyTemplate) -> bool:
    """Say whether a key that `other` names for an asset can be one that `one` names for another asset."""
    if one.before == other.before or not other.before.startswith(one.before):
        return False  # the same beginning gives the same id; of two that differ, no key has both
    between = other.before.removeprefix(one.before)
    word = re.match(f"{_ID_CHARACTERS}*", between)
    read = word[0] if word else ""
    if read == between:  # one reads the id with this before it
        return refusal_of(f"{read}1") is None and _have_common(one.after, other.after)
    return refusal_of(read) is None and _have_common(one.after, f"{between.removeprefix(read)}*{other.after}")


def _have_common(one: str, other: str) -> bool:
    """Say whether some text fits both patterns with stars."""
    first, second = (re.findall(r"\*\*|(?s:.)", each) for each in (one, other))

    @cache
    def fit(i: int, j: int) -> bool:
        if i == len(first) and j == len(second):
            return True
        if i < len(first) and _STARS.fullmatch(first[i]):
            return fit(i + 1, j) or (j < len(second) and (second[j] != "/" or first[i] == "**") and fit(i, j + 1))
        if j < len(second) and _STARS.fullmatch(second[j]):
            return fit(i, j + 1) or (i < len(first) and (first[i] != "/" or second[j] == "**") and fit(i + 1, j))
        return i < len(first) and j < len(second) and first[i] == second[j] and fit(i + 1, j + 1)

    return fit(0, 0)
