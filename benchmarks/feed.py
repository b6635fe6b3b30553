"""A feed of full change sets over assets that are stored already, the same for all programs.

Asset ids are numbers of one length, so that their text sorts as they do.
"""

import random
from datetime import UTC, datetime, timedelta

FULL = 2200
FIRST_ID = 1_000_000_000
SPREADS = ("newest", "uniform")
_NEWEST_SHARE = 0.02  # of the stored assets: what a news desk changes
_APART = 5_000_000  # two feeds over one warehouse must not bring the same new assets
_STEP = timedelta(milliseconds=20)
_SHARES = {"New": 0.40, "Update": 0.51, "Delete": 0.09}


def bodies(sets: int, *, stored: int, spread: str, seed: int = 1, first: int = FIRST_ID) -> list[bytes]:
    """Return the messages of so many sets, each as the inside of a JSON list.

    Four in ten bring a new asset, half update one, one in eleven deletes one. `stored` assets from
    the id `first` on are there already.
    """
    draw = random.Random(seed)
    at = datetime.now(UTC) - timedelta(days=10)
    following = stored if spread == "newest" else stored + _APART
    made = []
    for _ in range(sets):
        messages = []
        for lifecycle in draw.choices(list(_SHARES), weights=list(_SHARES.values()), k=FULL):
            at += _STEP
            if lifecycle == "New":
                number, following = following, following + 1
            else:
                number = draw.randrange(stored) if spread == "uniform" else _newest(draw, following)
            messages.append(_message(first + number, lifecycle, at))
        made.append(",".join(messages).encode())
    return made


def _newest(draw: random.Random, following: int) -> int:
    return max(following - 1 - draw.randrange(max(int(following * _NEWEST_SHARE), FULL)), 0)


def _message(asset_id: int, lifecycle: str, at: datetime) -> str:
    return (
        f'{{"id":"{asset_id}","asset_lifecycle":"{lifecycle}","asset_type":"Image",'
        f'"asset_changed_utc_datetime":"{at:%Y-%m-%dT%H:%M:%S.%f}Z",'
        f'"uri":"https://api.gettyimages.com/v3/images/{asset_id}"}}'
    )
