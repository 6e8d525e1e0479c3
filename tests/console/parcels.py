"""A pipeline that is nobody's: what a second one would put below demos/, written into a folder by the tests."""

from pathlib import Path

DECLARATION = '''
"""Counts parcels."""

from datetime import datetime
from pathlib import Path
from typing import Any

from console.demo import Demo, SeenAs
from console.errors import UserError
from console.follow import Goal, Plan, Run
from console.output import Reporter
from console.platform import LocalPlatform, Platform


class Parcels(Demo[list[str]]):
    name = "parcels"
    title = "parcels of two towns"
    option = "NAMES"
    dags = ("parcels_load", "parcels_count")
    pools = ({"name": "scales", "slots": 2, "description": "Scales"},)
    settings = {"TAXIWAY_PARCELS_LIMIT": "3"}
    reports = "reports/parcels"

    def read_input(self, given: str | None, seen_as: SeenAs) -> list[str]:
        if given is None:
            return ["york", "hull"]
        if not Path(given).exists():
            raise UserError(f"NAMES={given} is not there: name a file of towns.")
        return [seen_as(Path(given)), *Path(given).read_text().split()]

    def load(self, platform: Platform, data: list[str]) -> str:
        return "towns: " + platform.run("taxiway.parcels", "put", file=("towns.txt", "\\n".join(data))).strip()

    def plan(self, data: list[str], began: datetime) -> Plan:
        return Plan(
            [Run("parcels_load", f"demo__{began:%Y}", {"towns": data}, "towns")],
            {"parcels_count": lambda airflow, run_id: data},
            frozenset(Goal("parcels_count", "count", town) for town in data),
            ["towns.html"],
        )

    def initial_input(self, platform: LocalPlatform) -> None:
        return None

    def show_summary(self, report: Reporter, lake: Any, data: list[str], since: datetime) -> None:
        report.plain(f"{len(data)} towns")


DEMO = Parcels()
'''
CONTRACT = """
schema:
  - physicalName: parcels
    customProperties:
      - {property: path, value: marts/parcels}
      - {property: publishOrder, value: 1}
      - {property: anchor, value: true}
    properties:
      - {name: town, logicalType: string, physicalType: string}
      - {name: year, logicalType: string, physicalType: string, partitioned: true, partitionKeyPosition: 1}
      - {name: month, logicalType: string, physicalType: string, partitioned: true, partitionKeyPosition: 2}
"""


def declare(folder: Path, name: str = "parcels") -> None:
    """Write the declaration and a contract below ``folder``, which belongs on the path of modules."""
    package = folder / "demos" / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(DECLARATION)
    contract = folder / "contracts" / name / "parcels.yaml"
    contract.parent.mkdir(parents=True)
    contract.write_text(CONTRACT)
