"""Writes the alert rules of the objectives: ``python -m monitoring.slo``.

Reads ``helm/monitoring/slo/<dag_id>.yaml``, writes ``helm/monitoring/rules/slo.yaml``. The owner of a pipeline's DAG,
its tables and how old their data may be are defined in the data contracts, ``contracts/<pipeline>/*.yaml``. With
``--check`` nothing is written: the exit status says whether the file is up to date.

An objective leaves a budget: with a target of 0.95, 5 % of the runs of its window may fail. A burn rate of 1 spends
exactly that; the alerts are those of the Site Reliability Workbook, their windows in proportion to the objective's.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

ROOT = Path(__file__).resolve().parents[1]
OBJECTIVES = ROOT / "helm/monitoring/slo"
CONTRACTS = ROOT / "contracts"
RULES = ROOT / "helm/monitoring/rules/slo.yaml"
HEAD = """# Written by `python -m monitoring.slo` from helm/monitoring/slo/*.yaml; do not edit.
# An alert ends as soon as its shorter window is good again, those on runs also when a later run of the DAG succeeds.
"""

UNITS = {"m": 60, "h": 3600, "d": 86400}
# Burn, and the objective's window divided by the alert's: 14.4 spends 2 % of a budget in a 720th of its window.
FAST = ((14.4, 720), (6.0, 120))
SLOW = ((1.0, 10),)
SHORTER = 12  # the shorter window is this part of the longer one


class SloError(ValueError):
    """An objective cannot be used; the text names the file, the fault and the remedy."""


def _known_duration(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*[mhd]", text):
        raise ValueError(f"{text!r} is not a duration such as 30m, 6h or 90d")
    return text


Duration = Annotated[str, AfterValidator(_known_duration)]
Target = Annotated[float, Field(ge=0.94, lt=1)]  # below, even total failure would not burn 14.4 times


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Success(_Part):
    """Which share of the runs that end in ``window`` succeed; ``every``: how often the DAG runs at least."""

    target: Target
    window: Duration
    every: Duration


class Freshness(_Part):
    """In which share of ``window`` every table of the pipeline is as fresh as its contract says."""

    target: Target
    window: Duration


class EmrHours(_Part):
    """How many hours the DAG's clusters may live in ``window``, all together."""

    limit: float = Field(gt=0)
    window: Duration


class Slo(_Part):
    """The objectives of a DAG. With ``page``, somebody is woken when a budget burns fast; else it is a ticket.

    Attributes:
        owner: the team that is notified; of a pipeline's DAG, the one of the pipeline's contracts.
        pipeline: folder of ``contracts/``; empty for a DAG of the platform itself.
        max_ages: of the pipeline's tables that have a service level on freshness: how old their data may be.
    """

    dag_id: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    owner: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    pipeline: str = ""
    page: bool
    max_ages: dict[str, Duration] = {}
    success: Success | None = None
    freshness: Freshness | None = None
    emr_hours: EmrHours | None = None

    @model_validator(mode="after")
    def _has_one(self) -> "Slo":
        if not (self.success or self.freshness or self.emr_hours):
            raise ValueError("it has no objective: name success, freshness or emr_hours")
        if self.freshness and not self.max_ages:
            raise ValueError("freshness needs a pipeline with a service level on freshness in a contract")
        return self


def seconds(duration: str) -> int:
    """Return the seconds of a duration such as ``90d``."""
    return int(duration[:-1]) * UNITS[duration[-1]]


def duration(wanted: float) -> str:
    """Write seconds as Prometheus does, in whole minutes, at least one: 5400 is ``90m``."""
    minutes = max(1, round(wanted / 60))
    for unit, size in (("d", 1440), ("h", 60)):
        if minutes % size == 0:
            return f"{minutes // size}{unit}"
    return f"{minutes}m"


def read(folder: Path = OBJECTIVES, contracts: Path = CONTRACTS) -> list[Slo]:
    """Return the objectives of a folder, by DAG.

    Raises:
        SloError: a file is not an objective, or has another name than its DAG; its pipeline has no contracts.
    """
    found = []
    for file in sorted(folder.glob("*.yaml")):
        try:
            given = yaml.safe_load(file.read_text(encoding="utf-8"))
            if isinstance(given, dict) and "pipeline" in given:
                given |= promised(contracts / str(given["pipeline"]))
            slo = Slo.model_validate(given)
        except yaml.YAMLError as error:
            raise SloError(f"{file.name} is not YAML: {' '.join(str(error).split())}") from None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the file"
            raise SloError(f"{file.name}: {place}: {first['msg'].removeprefix('Value error, ')}.") from None
        if file.stem != slo.dag_id:
            raise SloError(f"{file.name} has the objectives of {slo.dag_id!r}: call it {slo.dag_id}.yaml.")
        found.append(slo)
    if not found:
        raise SloError(f"{folder} has no objectives: write one file a DAG, <dag_id>.yaml.")
    return found


def promised(folder: Path) -> dict[str, Any]:
    """Return what a pipeline's data contracts promise: ``owner``, and ``max_ages`` by table.

    Raises:
        SloError: there are no contracts, one cannot be read, or they name several teams.
    """
    owners, max_ages = set(), {}
    for file in sorted(folder.glob("*.yaml")):
        try:
            contract = yaml.safe_load(file.read_text(encoding="utf-8"))
            owners.add(contract["team"]["name"])
            for level in contract.get("slaProperties", []):
                if level["property"] == "freshness":
                    max_ages[contract["schema"][0]["physicalName"]] = f"{level['value']}{level['unit']}"
        except (KeyError, TypeError, yaml.YAMLError) as error:
            fault = "no YAML" if isinstance(error, yaml.YAMLError) else f"no data contract: {error}"
            raise SloError(f"contracts/{folder.name}/{file.name} is {fault}. Check it by make contracts.") from None
    if len(owners) != 1:
        raise SloError(f"The contracts of the pipeline {folder.name} name {len(owners)} teams: name exactly one.")
    return {"owner": owners.pop(), "max_ages": max_ages}


def groups(slos: Sequence[Slo]) -> list[dict[str, Any]]:
    """Return the rule groups of some objectives, as Prometheus reads them."""
    return [{"name": f"slo-{slo.dag_id}", "interval": "1m", "rules": list(_rules(slo))} for slo in slos]


def render(slos: Sequence[Slo]) -> str:
    """Return the text of ``rules/slo.yaml``."""
    return HEAD + yaml.dump({"groups": groups(slos)}, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)


def _rules(slo: Slo) -> Iterator[dict[str, Any]]:
    if slo.success:
        yield from _success(slo, slo.success)
    if slo.freshness:
        yield from _freshness(slo, slo.freshness)
    if slo.emr_hours:
        window = slo.emr_hours.window
        used = f'dag_id:taxiway_emr_cluster_seconds:new{{dag_id="{slo.dag_id}"}}'
        spent = f"sum by (dag_id) (sum_over_time({used}[{window}]))"
        yield _alert(
            slo, "EmrHoursOverLimit", "ticket", f"{spent} / 3600 > {slo.emr_hours.limit:g}",
            f"EMR clusters of {slo.dag_id} lived {{{{ $value | printf \"%.1f\" }}}} hours in the last {window}, "
            f"{slo.emr_hours.limit:g} are agreed.",
            f"Counted when a cluster ends. The limit is set in helm/monitoring/slo/{slo.dag_id}.yaml.",
        )  # fmt: skip


def _success(slo: Slo, success: Success) -> Iterator[dict[str, Any]]:
    ended = f'dag_outcome:airflow_dagruns_ended:new{{dag_id="{slo.dag_id}"}}'
    failed = f'dag_outcome:airflow_dagruns_ended:new{{dag_id="{slo.dag_id}", outcome="failed"}}'
    share = "dag_id:airflow_dagruns_failed:share"
    for window in _all_windows(success.window, success.every):
        yield _record(
            slo, share, window,
            f"sum by (dag_id) (sum_over_time({failed}[{window}]))\n"
            f"/ sum by (dag_id) (sum_over_time({ended}[{window}]))",
        )  # fmt: skip
    for name, burns in (("DagSuccessBurnsFast", FAST), ("DagSuccessBurnsSlowly", SLOW)):
        burning, longest = _burning(slo, share, burns, success.target, success.window, success.every)
        last = [
            f'max by (dag_id) (max_over_time(dag_outcome:airflow_dagruns_ended:time{{dag_id="{slo.dag_id}", '
            f'outcome="{outcome}"}}[{longest}]))'
            for outcome in ("success", "failed")
        ]
        yield _alert(
            slo, name, "page" if slo.page and burns is FAST else "ticket",
            f"({_indent(burning)}\n)\nunless on (dag_id) (\n  {last[0]}\n  > {last[1]}\n)",
            f"{{{{ $value | humanizePercentage }}}} of the runs of {slo.dag_id} that ended lately failed; "
            f"{_percent(1 - success.target)} may.",
            f"Objective: {_percent(success.target)} of the runs in {success.window} succeed "
            f"(helm/monitoring/slo/{slo.dag_id}.yaml). Looks back {longest} at most.",
        )  # fmt: skip


def _freshness(slo: Slo, freshness: Freshness) -> Iterator[dict[str, Any]]:
    ends = {table: f'table:taxiway_data_freshness_timestamp_seconds:last{{table="{table}"}}' for table in slo.max_ages}
    ages = "\nor ".join(f"time() - {end}" for end in ends.values())
    late = "\nor ".join(f"time() - {end} > bool {seconds(slo.max_ages[table])}" for table, end in ends.items())
    by_age = sorted(slo.max_ages.values(), key=seconds)
    agreed = " to ".join(dict.fromkeys((by_age[0], by_age[-1])))
    age, stale, share = (
        f"dag_id:taxiway_data_{name}" for name in ("age_seconds:max", "stale:bool", "stale:share")
    )  # fmt: skip
    yield _record(slo, age, None, f"max(\n  {_indent(ages)}\n)")
    yield _record(slo, stale, None, f"max(\n  {_indent(late)}\n)")
    for window in _all_windows(freshness.window, "1m"):
        yield _record(slo, share, window, f'avg_over_time({stale}{{dag_id="{slo.dag_id}"}}[{window}])')
    for name, burns in (("DataFreshnessBurnsFast", FAST), ("DataFreshnessBurnsSlowly", SLOW)):
        burning, _ = _burning(slo, share, burns, freshness.target, freshness.window, "1m")
        yield _alert(
            slo, name, "page" if slo.page and burns is FAST else "ticket",
            f'{age}{{dag_id="{slo.dag_id}"}}\nand on (dag_id) ({_indent(burning)}\n)',
            f"The least recent table of {slo.dag_id} has data that is {{{{ $value | humanizeDuration }}}} old; "
            f"{agreed} is agreed.",
            f"Objective: as fresh as contracts/{slo.pipeline} promises in {_percent(freshness.target)} of "
            f"{freshness.window} (helm/monitoring/slo/{slo.dag_id}.yaml).",
        )  # fmt: skip
    yield _alert(
        slo, "DataFreshnessUnknown", "ticket",
        f"{len(ends)} - (\n  count(\n    " + _indent(_indent("\nor ".join(ends.values())))
        + "\n  )\n  or vector(0)\n) > 0",
        f"Of {{{{ $value }}}} of the {len(ends)} tables of {slo.dag_id} it is unknown how recent their data is.",
        "Either nothing was published yet, or the DAG platform_metrics does not run.",
        wait="6h",
    )  # fmt: skip


def _burning(
    slo: Slo, share: str, burns: Sequence[tuple[float, int]], target: float, window: str, every: str
) -> tuple[str, str]:
    """Return the condition that a budget burns, with the bad share as its value, and the longest window in it."""
    limits: dict[tuple[str, str], float] = {}
    for burn, part in burns:  # equal windows, where runs are rare: the lower limit is reached first
        pair = _windows(window, part, every)
        limits[pair] = min(burn * (1 - target), limits.get(pair, 1))
    terms = []
    for pair, limit in limits.items():
        both = [
            f'sum by (dag_id) ({share}{{dag_id="{slo.dag_id}", window="{each}"}}) > {limit:.4g}'
            for each in dict.fromkeys(pair)
        ]
        terms.append("\n" + "\nand ".join(both))
    text = terms[0] if len(terms) == 1 else "\nor ".join(f"({_indent(term)}\n)" for term in terms)
    return (text if text.startswith("\n") else "\n" + text), max((long_ for long_, _ in limits), key=seconds)


def _all_windows(window: str, every: str) -> list[str]:
    found = {each for _, part in (*FAST, *SLOW) for each in _windows(window, part, every)}
    return sorted(found, key=seconds)


def _windows(window: str, part: int, at_least: str) -> tuple[str, str]:
    """Return the longer and the shorter window of an alert; neither is shorter than the DAG's interval."""
    longer = max(seconds(window) / part, seconds(at_least))
    return duration(longer), duration(max(longer / SHORTER, seconds(at_least)))


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _indent(text: str) -> str:
    return text.replace("\n", "\n  ")


def _record(slo: Slo, name: str, window: str | None, expr: str) -> dict[str, Any]:
    labels = {"dag_id": slo.dag_id} | ({"window": window} if window else {})
    return {"record": name, "labels": labels, "expr": expr}


def _alert(
    slo: Slo, name: str, severity: str, expr: str, summary: str, description: str, wait: str | None = None
) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expr,
        **({"for": wait} if wait else {}),
        "labels": {"severity": severity, "team": slo.owner, "dag_id": slo.dag_id},
        "annotations": {
            "summary": summary,
            "description": description,
            "runbook_url": f"docs/runbooks/{name}.md",
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and lists indented."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the rules; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.slo", description="Alert rules from the objectives.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the file is not up to date")
    given = parser.parse_args(arguments)
    try:
        text = render(read())
    except SloError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if not given.check:
        RULES.write_text(text, encoding="utf-8")
    elif not RULES.exists() or RULES.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"{RULES.relative_to(ROOT)} is not up to date: run python -m monitoring.slo.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
