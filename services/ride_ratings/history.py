"""What happens in the service: a history that is the same for the same seed, and changes to it."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from services.ride_ratings.schema import experiment_assignments, experiment_exposures, metadata, ride_ratings
from taxiway.core.taxi_zones import shapes

EXPERIMENT = "driver_photo"
# Shares of one to five stars.
CONTROL = (0.04, 0.05, 0.11, 0.25, 0.55)
TREATMENT = (0.03, 0.04, 0.08, 0.23, 0.62)  # of exposed riders, from their exposure on
COMPANIES = {"uber": 0.72, "lyft": 0.28}
EXPOSED = 0.7  # of the riders who are assigned

_NEW_YORK, _UTC = ZoneInfo("America/New_York"), ZoneInfo("UTC")
Row = dict[str, Any]


class HistoryError(ValueError):
    """The history cannot be made, or changed; the text is one sentence with the remedy."""


def true_lift() -> float:
    """Return what the treatment adds to the mean of the stars of an exposed rider's rides, in stars."""
    return sum(stars * (new - old) for stars, new, old in zip(range(1, 6), TREATMENT, CONTROL, strict=True))


def create(engine: sa.Engine, *, seed: int, rows: int, first: datetime, last: datetime) -> Mapping[str, int]:
    """Make the tables anew, with a history; return their numbers of rows.

    Args:
        engine: of the service's database.
        seed: the same makes the same rows.
        rows: ratings; a tenth as many riders.
        first: start of the time in which the rides are, UTC.
        last: its end.
    """
    random = Random(seed)  # noqa: S311 - nothing is secret
    riders = max(rows // 10, 1)
    seconds = (last - first).total_seconds()
    assigned, exposed = [], {}
    for rider in range(1, riders + 1):
        at = first + timedelta(seconds=random.random() * min(seconds / 10, 14 * 86400))
        variant = random.choice(("control", "treatment"))
        assigned.append(
            {"rider_id": rider, "experiment": EXPERIMENT, "variant": variant, "assigned_at": at} | _born(at)
        )
        if random.random() < EXPOSED:
            exposed[rider] = variant, at + timedelta(seconds=random.random() * 7 * 86400)
    exposures = [
        {"exposure_id": number, "rider_id": rider, "experiment": EXPERIMENT, "exposed_at": at} | _born(at)
        for number, (rider, (_, at)) in enumerate(sorted(exposed.items()), 1)
    ]
    ratings = _ratings(random, 1, sorted(random.random() * seconds for _ in range(rows)), first, riders, exposed)
    metadata.drop_all(engine)
    metadata.create_all(engine)
    made = {}
    for table, new in (
        (experiment_assignments, iter(assigned)),
        (experiment_exposures, iter(exposures)),
        (ride_ratings, (_aged(random, row, last) for row in ratings)),
    ):
        made[table.name] = _insert(engine, table, new)
    return made


def play(engine: sa.Engine, *, seed: int, changes: int, until: datetime | None = None) -> Mapping[str, int]:
    """Go on with the history; return how many rows were changed in which way.

    ``inserted`` and ``late`` rows (stored by a phone in an earlier month, and sent now), ``updated`` ones, ``deleted``
    (they stay, marked), ``removed`` (they are gone), and ``silent``: changed by hand, without a new ``modified_at``.

    Args:
        engine: of the service's database, which :func:`create` has filled.
        seed: the same makes the same changes to the same rows.
        changes: number of changes.
        until: end of the time in which they happen, UTC; by default a day after the last change.

    Raises:
        HistoryError: there is no history, or it does not end before that time.
    """
    if not sa.inspect(engine).has_table(ride_ratings.name):
        raise HistoryError("The database has no ratings: run python -m services.ride_ratings create first.")
    ratings = ride_ratings.c
    with engine.connect() as connection:
        span = sa.select(
            sa.func.min(ratings.created_at), sa.func.max(ratings.modified_at), sa.func.max(ratings.rating_id)
        )
        first, last, newest = connection.execute(span).one()
        keys = list(connection.scalars(sa.select(ratings.rating_id).order_by(ratings.rating_id)))
        variants = sa.select(experiment_assignments.c.rider_id, experiment_assignments.c.variant)
        assigned = {row[0]: row[1] for row in connection.execute(variants)}
        seen = connection.execute(sa.select(experiment_exposures.c.rider_id, experiment_exposures.c.exposed_at)).all()
        exposed = {rider: (assigned[rider], at) for rider, at in seen if rider in assigned}
    if not keys:
        raise HistoryError("The database has no ratings: run python -m services.ride_ratings create first.")
    until = until or last + timedelta(days=1)
    if until <= last:
        raise HistoryError(f"The history goes on to {last:%Y-%m-%d %H:%M:%S}: give a later --until than {until}.")
    random = Random(f"{seed} {last}")  # noqa: S311
    kinds = random.choices(
        ("inserted", "late", "updated", "deleted", "removed", "silent"), (50, 5, 28, 8, 6, 3), k=changes
    )
    counts, length = Counter(kinds), (until - last).total_seconds()
    offsets = sorted(length * (0.01 + 0.98 * random.random()) for _ in range(counts["inserted"] + counts["late"]))
    born = list(_ratings(random, newest + 1, offsets, last, max(assigned, default=1), exposed))
    for row in random.sample(born, counts["late"]):
        row["created_at"] = first + (row["created_at"] - first) * random.random()
        row["requested_at"] = _new_york(row["created_at"] - timedelta(minutes=30))
    touched = random.sample(keys, min(len(keys), changes - len(born)))
    changing = [kind for kind in kinds if kind not in ("inserted", "late")]
    with engine.begin() as connection:
        for key, kind in zip(touched, changing, strict=False):
            at = last + timedelta(seconds=length * (0.01 + 0.98 * random.random()))
            values = {
                "updated": {"stars": random.randint(1, 5), "modified_at": at},
                "deleted": {"deleted_at": at, "modified_at": at},
                "silent": {"stars": sa.case((ratings.stars == 1, 5), else_=1)},
            }
            where = ratings.rating_id == key
            if kind == "removed":
                connection.execute(ride_ratings.delete().where(where))
            else:
                connection.execute(ride_ratings.update().where(where).values(values[kind]))
        if born:
            connection.execute(ride_ratings.insert(), born)
    return {**counts}


def _ratings(
    random: Random,
    number: int,
    offsets: Sequence[float],
    start: datetime,
    riders: int,
    exposed: Mapping[int, tuple[str, datetime]],
) -> Iterator[Row]:
    """Yield ratings, one for each number of seconds after the start; one in a thousand has no valid stars."""
    zones = sorted(each["properties"]["zone_id"] for each in json.loads(shapes())["features"])
    weights = [Random(f"zone {zone}").paretovariate(1.2) for zone in zones]  # noqa: S311
    companies, shares = list(COMPANIES), list(COMPANIES.values())
    picked = random.choices(zones, weights, k=len(offsets))
    for rating, (offset, zone) in enumerate(zip(offsets, picked, strict=True), number):
        at, rider = start + timedelta(seconds=offset), random.randint(1, riders)
        variant, since = exposed.get(rider, ("control", at))
        shown = TREATMENT if variant == "treatment" and since < at else CONTROL
        stars = random.choices(range(1, 6), shown)[0] if random.random() > 0.001 else 0
        yield {
            "rating_id": rating,
            "rider_id": rider,
            "company": random.choices(companies, shares)[0],
            "pickup_zone_id": zone,
            "requested_at": _new_york(at - timedelta(minutes=30)),
            "stars": stars,
        } | _born(at)


def _aged(random: Random, row: Row, end: datetime) -> Row:
    """Change a rating as time has: a few in a hundred were corrected, one in a hundred was deleted."""
    chance, later = random.random(), row["created_at"] + (end - row["created_at"]) * random.random()
    if chance < 0.03:
        row |= {"modified_at": later}
    elif chance < 0.04:
        row |= {"modified_at": later, "deleted_at": later}
    return row


def _born(at: datetime) -> Row:
    return {"created_at": at, "modified_at": at, "deleted_at": None}


def _new_york(at: datetime) -> datetime:
    return at.replace(tzinfo=_UTC).astimezone(_NEW_YORK).replace(tzinfo=None)


def _insert(engine: sa.Engine, table: sa.Table, rows: Iterator[Row]) -> int:
    count = 0
    with engine.begin() as connection:
        while some := list(islice(rows, 10_000)):
            connection.execute(table.insert(), some)
            count += len(some)
    return count
