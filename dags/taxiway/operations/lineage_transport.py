"""The end of OpenLineage's way in Airflow and dbt: one name for each data set, and events as objects of the lake.

See :mod:`taxiway.operations.lineage`, which is apart because OpenLineage's client takes a second to import. dbt imports
this module in an environment of its own: it needs openlineage-python and boto3, and no Airflow.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import attr
from openlineage.client.event_v2 import RunEvent
from openlineage.client.serde import Serde
from openlineage.client.transport.transform import EventTransformer
from openlineage.client.transport.transport import Config, Transport

from taxiway.core import lineage
from taxiway.core.lineage import Dataset
from taxiway.operations.lineage import keep, lake_address


class TableNames(EventTransformer):
    """Gives every data set of an event its one name, and joins those that are then equal."""

    def transform(self, event: Any) -> Any:
        """Return the event with other names."""
        for side in ("inputs", "outputs"):
            if datasets := getattr(event, side, None):
                setattr(event, side, list(self._renamed(datasets).values()))
        return event

    def _renamed(self, datasets: Sequence[Any]) -> dict[Dataset, Any]:
        found: dict[Dataset, Any] = {}
        for each in datasets:
            name = lineage.canonical(each.namespace, each.name, lake_address())
            each.namespace, each.name = name
            for facet in (each.facets or {}).values():
                for column in (getattr(facet, "fields", None) or {}).values() if _is_columns(facet) else ():
                    for source in column.inputFields:
                        source.namespace, source.name = lineage.canonical(source.namespace, source.name, lake_address())
            if name in found:
                each.facets = {**(found[name].facets or {}), **(each.facets or {})}
            found[name] = each
        return found


def _is_columns(facet: Any) -> bool:
    return type(facet).__name__ == "ColumnLineageDatasetFacet"


@attr.define
class LakeConfig(Config):
    """Where events are kept.

    Attributes:
        lake: ``s3://bucket[/prefix]``; None for that of the settings.
    """

    lake: str | None = None

    @classmethod
    def from_dict(cls, params: dict[str, Any]) -> Self:
        """Read the transport's configuration."""
        return cls(lake=params.get("lake"))


class LakeTransport(Transport):
    """Keeps the newest event of each job and set of data sets as an object of the lake."""

    kind = "lake"
    config_class = LakeConfig

    def __init__(self, config: LakeConfig) -> None:
        self.config = config

    @cached_property
    def _s3(self) -> Any:
        import boto3

        return boto3.client("s3")

    def emit(self, event: Any) -> None:
        """Keep an event that names data sets; one of a run's start says no more than that of its end."""
        if not isinstance(event, RunEvent) or not (event.inputs or event.outputs):
            return
        plain = json.loads(Serde.to_json(event))
        if plain["eventType"] != "START":
            keep(self._s3, plain, self.config.lake or lake_address())
