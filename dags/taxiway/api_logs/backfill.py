"""Which published hours differ from the objects that arrived; see ``taxiway.operations.backfill``."""

from collections.abc import Mapping, Sequence

from taxiway.api_logs.plan import digest_of, list_objects
from taxiway.lake import Lake, Partition


def changed(found: Lake, published: Mapping[str, Partition], periods: Sequence[str]) -> dict[str, str]:
    """Return the hours whose objects are not those that they were built from, with the reason."""
    s3, reasons = found.session.client("s3"), {}
    for hour in periods:
        listing, _ = list_objects(s3, found.settings.lake, hour)
        if listing.uris and listing.digest not in {digest_of(each) for each in published[hour].processed_inputs}:
            reasons[hour] = f"{len(listing.uris):,} objects that differ from those that it was built from"
    return reasons
