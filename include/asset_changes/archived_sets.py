"""What the archive's names say: which objects are the deliveries of one change set, and when they came."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter

STAMP = "%Y%m%dT%H%M%S%f"
NAME = re.compile(r"(?P<stamp>\d{8}T\d{12})Z-(?P<id>[A-Za-z0-9_-]{1,64})(?:\.(?P<later>\d{8}T\d{12})Z)?\.json\.gz")
UNREADABLE = re.compile(r"(?P<stamp>\d{8}T\d{12})Z\.unreadable\.gz")
DAY = re.compile(r"fetched_date=(\d{4}-\d\d-\d\d)")
CHANNEL = re.compile(r"channel_id=([1-9]\d{0,9})")
PLACE = re.compile(r"/(channel_id=\d+/fetched_date=[\d-]+/[^/\s]+|prepared/[^/\s]+)$")

REACH = timedelta(days=31)
"""How far apart the objects of one change set may be: Getty drops what is not read for 14 days."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchivedObject:
    """One delivery of a change set.

    `first_at` is when the first delivery came under whose name it is kept, `received_at` when it
    came itself.
    """

    first_at: datetime
    received_at: datetime
    is_first: bool
    uri: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchivedSet:
    """One change set in the archive: all of its objects, the earliest first delivery first."""

    channel_id: int
    change_set_id: str
    objects: tuple[ArchivedObject, ...]

    @property
    def fetched_at(self) -> datetime:
        """When the earliest delivery came that was taken for the first."""
        return self.objects[0].first_at

    @property
    def uri(self) -> str:
        """Where the earliest first delivery is kept, or was."""
        return first_uri(self.objects[0])

    @property
    def missing(self) -> tuple[ArchivedObject, ...]:
        """The first deliveries that are gone although longer ones of the same name are there."""
        there = {each.first_at for each in self.objects if each.is_first}
        gone = {each.first_at: first_uri(each) for each in self.objects if each.first_at not in there}
        return tuple(
            ArchivedObject(first_at=at, received_at=at, is_first=True, uri=uri) for at, uri in sorted(gone.items())
        )

    def in_order(self, first_at: datetime | None = None) -> tuple[ArchivedObject, ...]:
        """Return the objects as the deliveries of one set: the first, then the others as they came.

        `first_at` is the time of the first delivery by ledger or log; where the archive does not
        have that one, the earliest counts as the first.
        """
        firsts = sorted((each for each in self.objects if each.is_first), key=attrgetter("received_at"))
        first = next((each for each in firsts if each.first_at == first_at), firsts[0] if firsts else None)
        others = sorted((each for each in self.objects if each is not first), key=attrgetter("received_at"))
        return (first, *others) if first else tuple(others)

    def has_object_in(self, since: datetime | None, until: datetime | None) -> bool:
        """Say whether one of its deliveries came with `since <= received_at < until`."""
        return any(is_within(each.received_at, since, until) for each in self.objects)


@dataclass(frozen=True, kw_only=True, slots=True)
class UnreadableBody:
    """A body whose structure was not understood when it came."""

    channel_id: int
    received_at: datetime
    uri: str


def is_within(at: datetime, since: datetime | None, until: datetime | None) -> bool:
    """Say whether `since <= at < until`, of which either end may be open."""
    return (since is None or at >= since) and (until is None or at < until)


def first_uri(archived: ArchivedObject) -> str:
    """Return where the first delivery is kept, or was, under whose name an object is."""
    if archived.is_first:
        return archived.uri
    folder, _, name = archived.uri.rpartition("/")
    return f"{folder}/{name.partition('.')[0]}.json.gz"


def place_of(uri: str) -> str:
    """Return an object's place below the root, the same wherever the archive was moved."""
    found = PLACE.search(uri)
    return found[1] if found else uri


def archived_set(channel_id: int, change_set_id: str, objects: list[ArchivedObject]) -> ArchivedSet:
    """Return a change set of its objects, in whatever order they were found."""
    ordered = sorted(objects, key=lambda each: (each.first_at, each.received_at))
    return ArchivedSet(channel_id=channel_id, change_set_id=change_set_id, objects=tuple(ordered))


def stamp(at: datetime) -> str:
    """Return a time as names have it."""
    return at.astimezone(UTC).strftime(STAMP)


def time_of(text: str | None) -> datetime | None:
    """Return the time that a name says; None where it says none, as in a name that somebody else made up."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(f"{text[:15]}.{text[15:]}+00:00")  # a tenth of the time that strptime takes
    except ValueError:
        return None


def day_of(text: str) -> date | None:
    """Return the day that a folder's name says, None where it says none."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
