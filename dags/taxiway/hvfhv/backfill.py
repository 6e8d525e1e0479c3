"""Which published months differ from the files that are collected now; see ``taxiway.operations.backfill``."""

from collections.abc import Mapping, Sequence

from taxiway.lake import Lake, Partition, join_inputs


def changed(found: Lake, published: Mapping[str, Partition], periods: Sequence[str]) -> dict[str, str]:  # noqa: ARG001
    """Return the months that were built from other files than the catalogue has as complete, with the reason."""
    from taxiway import catalogue

    complete = catalogue.complete_months(catalogue.open_catalogue())
    return {
        month: "its files were collected anew since"
        for month in periods
        if month in complete
        and join_inputs([file.sha256 for file in complete[month]]) not in published[month].processed_inputs
    }
