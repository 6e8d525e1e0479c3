"""Days built one by one, in any order and again, have the sessions of all days computed at once."""

from datetime import date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from taxiway.access_logs.sessions_plan import SessionsPlan, plan

FIRST = date(2015, 5, 1)
DAYS = [FIRST + timedelta(days=number) for number in range(6)]
PAUSE = timedelta(minutes=30)

Session = tuple[int, datetime, datetime, int]  # client, start, end, requests


def _sessions(requests: set[tuple[int, datetime]]) -> list[Session]:
    found: list[Session] = []
    for client, at in sorted(requests):
        if found and found[-1][0] == client and at - found[-1][2] <= PAUSE:
            found[-1] = (client, found[-1][1], at, found[-1][3] + 1)
        else:
            found.append((client, at, at, 1))
    return found


def _began_on(sessions: list[Session], day: date) -> list[Session]:
    return [session for session in sessions if session[1].date() == day]


def _instant(day: int, minute: int) -> datetime:
    return datetime.combine(FIRST, datetime.min.time()) + timedelta(days=day, minutes=minute)


def _noon(day: int) -> datetime:
    """Return noon of a day of May."""
    return _instant(day - 1, 720)


# Around midnight, all through the day, and anywhere.
_REQUESTS = st.one_of(
    st.tuples(
        st.integers(0, 2), st.builds(_instant, st.integers(0, 5), st.sampled_from([0, 15, 29, 1411, 1430, 1439]))
    ).map(lambda request: {request}),
    st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(1, 3)).map(
        lambda each: {
            (each[0], _instant(each[1], minute))
            for minute in range(0, 24 * 60 * each[2], 30)
            if each[1] * 1440 + minute < 6 * 1440
        }
    ),
    st.tuples(st.integers(0, 2), st.builds(_instant, st.integers(0, 5), st.integers(0, 1439))).map(
        lambda request: {request}
    ),
)
_LOG = st.lists(_REQUESTS, max_size=12).map(lambda parts: set().union(*parts))


@given(early=_LOG, late=_LOG, order=st.lists(st.sampled_from(DAYS), min_size=6, max_size=12))
def test_days_built_one_by_one(
    early: set[tuple[int, datetime]], late: set[tuple[int, datetime]], order: list[date]
) -> None:
    curated: dict[date, set[tuple[int, datetime]]] = {}
    published: dict[date, list[Session]] = {}
    for number, day in enumerate(order):
        # Late requests have arrived when the second half of the runs begins; a day may be built twice.
        arrived = early | (late if number >= len(order) // 2 else set())
        curated[day] = {request for request in arrived if request[1].date() == day}
        others = plan(
            day, {each: max((end for _, _, end, _ in found), default=None) for each, found in published.items()}
        )
        assert set(others.rebuilt) <= set(others.read) <= set(curated) - {day}
        found = _sessions(set().union(curated[day], *(curated[other] for other in others.read)))
        for written in (day, *others.rebuilt):
            published[written] = _began_on(found, written)
    expected = _sessions(set().union(*curated.values()))
    assert published == {day: _began_on(expected, day) for day in curated}


def test_a_new_day_takes_the_day_before() -> None:
    ends = {date(2015, 5, day): _noon(day) for day in (1, 2, 3)}
    assert plan(date(2015, 5, 4), ends) == SessionsPlan((date(2015, 5, 3),), (date(2015, 5, 2), date(2015, 5, 3)))


def test_a_session_of_many_days() -> None:
    ends = {date(2015, 5, day): _noon(day) for day in (1, 2, 3, 4)}
    ends[date(2015, 5, 2)] = _instant(3, 1425)
    found = plan(date(2015, 5, 5), ends)
    assert found.rebuilt == tuple(date(2015, 5, day) for day in (2, 3, 4))
    assert found.read == tuple(date(2015, 5, day) for day in (1, 2, 3, 4))


def test_the_first_day() -> None:
    assert plan(FIRST, {}) == SessionsPlan((), ())
    assert plan(FIRST, {FIRST: None, FIRST - timedelta(days=9): _noon(1) - timedelta(days=9)}) == SessionsPlan((), ())
