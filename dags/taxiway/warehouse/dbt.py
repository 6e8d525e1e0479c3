"""dbt in tasks: a layer a task, with what passed kept, so that a retry does not build it again.

A run keeps of each layer, below ``<lake>/dbt/<run>/<layer>/``, the project as it was built (``manifest.json``) and the
last result of every node (``run_results.json``); ``try-<n>.json`` are the results of each try. The same of
the newest run is in ``<lake>/dbt/latest/``, with the parsed project, which saves the next task the parsing.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from botocore.exceptions import ClientError

from taxiway.catalogue.checks import Result
from taxiway.core.s3 import split
from taxiway.core.settings import settings
from taxiway.lake import Lake, LakeError, Table, TableSet, open_lake
from taxiway.operations import incidents, lineage, metrics, quality
from taxiway.warehouse import dbt_sources
from taxiway.warehouse.dbt_settings import dbt_settings
from taxiway.warehouse.dbt_sources import PROJECT

log = logging.getLogger(__name__)

PIPELINE = "warehouse"
PLAN = "plan"
LAYERS = ("staging", "intermediate", "marts")
BUILT_FROM = "built_from.json"
PARSED = "partial_parse.msgpack"  # dbt's own name
PASSED = ("success", "pass", "warn", "no-op")
# A retry finds the same.
NO_PROJECT = ("Compilation Error", "Parsing Error")
FINAL = (*NO_PROJECT, "contract", "Contract")
# dbt does not say which nodes it left out because what they need has failed in an earlier layer; they are these.
LEFT_OUT = {"status": "skipped", "timing": [], "thread_id": "", "execution_time": 0, "adapter_response": {},
            "message": "An earlier layer lacks what it needs.", "failures": None, "compiled": None,
            "compiled_code": None, "relation_name": None}  # fmt: skip


class DbtError(RuntimeError):
    """dbt did not build what it should; the text has a sentence for each fault."""


class FinalDbtError(DbtError):
    """The same, and a retry would not help."""


@dataclass(frozen=True)
class Artefacts:
    """What runs keep in the lake.

    Attributes:
        s3: client of boto3.
        root: ``s3://…/dbt``.
    """

    s3: Any
    root: str

    def read(self, *path: str) -> Any:
        """Return an object's JSON; None if there is no such object."""
        found = self._get(path)
        return None if found is None else json.loads(found["Body"].read())

    def write(self, content: Any, *path: str) -> None:
        """Keep JSON."""
        bucket, key = split("/".join([self.root, *path]))
        self.s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(content).encode(), ContentType="application/json")

    def read_parsed(self, of: str) -> bytes | None:
        """Return the parsed project that was kept last; None if it is not one of this state."""
        found = self._get(("latest", PARSED))
        return found["Body"].read() if found and found["Metadata"].get("of") == of else None

    def write_parsed(self, content: bytes, of: str) -> None:
        """Keep the parsed project of a state."""
        bucket, key = split(f"{self.root}/latest/{PARSED}")
        self.s3.put_object(Bucket=bucket, Key=key, Body=content, Metadata={"of": of})

    def forget(self, *path: str) -> None:
        """Delete an object, which may be gone already."""
        bucket, key = split("/".join([self.root, *path]))
        self.s3.delete_object(Bucket=bucket, Key=key)

    def _get(self, path: Sequence[str]) -> Any:
        bucket, key = split("/".join([self.root, *path]))
        try:
            return self.s3.get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None
            raise


def _open() -> tuple[Lake, Artefacts]:
    lake = open_lake(settings(), TableSet(PIPELINE))
    return lake, Artefacts(lake.session.client("s3"), f"{lake.settings.lake}/dbt")


def _run_name(context: Any) -> str:
    return quote(context["dag_run"].run_id, safe="")


# ── Plan ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def plan(context: Any) -> dict[str, Any] | None:
    """Return what the run builds; None if no table is published that the project reads.

    Returns:
        ``absent``: sources of which nothing is published, ``months`` to build anew, None for all.
    """
    lake, artefacts = _open()
    tables = dbt_sources.tables()
    now = dbt_sources.published(lake, tables.values())
    if not now:
        return None
    absent = [name for name, table in tables.items() if table.name not in now]
    for name in absent:
        log.warning("Nothing of %s is published: what depends on it is not built.", name)
    _tell_late(lake, tables.values())

    def months_in(location: str, column: str) -> set[str]:
        try:
            times = lake.read(location, [column])[column]
        except LakeError as error:
            raise LookupError(location) from error
        return {f"{time:%Y-%m}" for time in times.to_pylist() if time is not None}

    before = None if context["params"]["full_refresh"] else artefacts.read(BUILT_FROM)
    months = dbt_sources.changed_months(before, now, tables.values(), months_in)
    if artefacts.read(run := _run_name(context), "inputs.json") not in (None, now):
        # The whole run was cleared: what it has built is of other versions.
        for layer in LAYERS:
            artefacts.forget(run, layer, "run_results.json")
    artefacts.write(now, run, "inputs.json")
    log.info("Months to build: %s.", "all" if months is None else ", ".join(months) or "none has changed")
    return {"absent": absent, "months": months}


def _tell_late(lake: Lake, tables: Iterable[Table]) -> None:
    """Say which sources are older than their contracts say; alerts and incidents on them are platform_metrics'."""
    for table in tables:
        for _, until, due in incidents.due(Lake(lake.settings, lake.session, TableSet(table.pipeline, table))):
            if due < datetime.now(UTC):
                log.warning("%s", incidents.late(table, until, due))


# ── Build ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Results:
    """The results of dbt, with the project that they are of."""

    manifest: Mapping[str, Any]
    results: Sequence[Mapping[str, Any]]

    @cached_property
    def nodes(self) -> Mapping[str, Mapping[str, Any]]:
        """All nodes of the project by their ids."""
        return {**self.manifest["nodes"], **self.manifest.get("exposures", {})}

    def model_of(self, node_id: str) -> str:
        """Return the name of the model that a node is or tests."""
        node = self.nodes.get(node_id, {})
        if node.get("resource_type") == "test":
            models = [each for each in node["depends_on"]["nodes"] if each.startswith("model.")]
            node = self.nodes.get(node.get("attached_node") or (models[0] if models else ""), node)
        return str(node.get("name", node_id))

    def owner_of(self, model: str) -> str:
        """Return who answers for a model: itself says, or the first mart that is made from it."""
        known = {node["name"]: node for node in self.nodes.values() if node.get("resource_type") == "model"}
        queue = deque([model])
        while queue:
            node = known.get(queue.popleft(), {})
            if owner := node.get("config", {}).get("meta", {}).get("owner"):
                return str(owner)
            queue += [each["name"] for each in known.values() if node.get("unique_id") in each["depends_on"]["nodes"]]
        return ""

    @property
    def failed(self) -> list[Mapping[str, Any]]:
        """Those that did not pass, without what was skipped for them."""
        return [each for each in self.results if each["status"] not in (*PASSED, "skipped")]

    def faults(self) -> list[str]:
        """Return a sentence for each that failed: what, whose, why."""
        found = []
        for each in self.failed:
            model, node = self.model_of(each["unique_id"]), self.nodes.get(each["unique_id"], {})
            what = f"the test {node.get('name')} of {model}" if node.get("resource_type") == "test" else f"{model}"
            why = " ".join(str(each.get("message") or each["status"]).split())
            found.append(f"{what} (owner {self.owner_of(model) or 'unknown'}) failed: {why.rstrip('.')}.")
        return found

    def merged(self, later: "Results", left_out: Iterable[str] = ()) -> "Results":
        """Return the last result of every node; ``left_out`` are those that were not tried, though they were due."""
        found = {each["unique_id"]: each for each in self.results}
        found |= {each: {**LEFT_OUT, "unique_id": each} for each in left_out}
        found |= {each["unique_id"]: each for each in later.results}
        return Results(later.manifest, [*found.values()])


def selection(layer: str, *, again: bool) -> list[str]:
    """Return dbt's selectors for a layer: all of it, or what has not passed yet and what was changed since.

    Args:
        layer: a folder of models.
        again: an earlier try has left its state.
    """
    where = f"path:models/{layer}"
    if not again:
        return [where]
    # With a test that failed, its model: it may have been built from rows that are right by now.
    words = ("result:error+", "1+result:fail+", "result:skipped+", "state:modified+")
    return [f"{word},{where}" for word in words]


def build(layer: str, context: Any) -> dict[str, int]:
    """Build and test a layer; return how many nodes have which status.

    Raises:
        DbtError: a model or test failed. What does not depend on it is built.
    """
    planned = context["ti"].xcom_pull(task_ids=PLAN)
    lake, artefacts = _open()
    run, ti = _run_name(context), context["ti"]
    earlier = {each: _kept(artefacts, run, each) for each in LAYERS[: LAYERS.index(layer)]}
    before = _kept(artefacts, run, layer)
    broken = sorted(set().union(*(_missing(kept) if kept else _models(each) for each, kept in earlier.items())))
    exclude = [f"source:{name}+" for name in planned["absent"]] + [f"{name}+" for name in broken]
    if planned["months"] == []:
        exclude.append("config.materialized:incremental")
    for name in broken:
        log.warning("%s has failed, or is not built: what depends on it is not built.", name)
    with tempfile.TemporaryDirectory(prefix="dbt-") as folder:
        words = ["--select", *selection(layer, again=before is not None)]
        words += ["--exclude", *exclude] if exclude else []
        if planned["months"]:
            words += ["--vars", json.dumps({"months": planned["months"]})]
        if before:
            state = Path(folder, "state")
            state.mkdir()
            (state / "manifest.json").write_text(json.dumps(before.manifest))
            (state / "run_results.json").write_text(json.dumps(_as_artefact(before)))
            words += ["--state", str(state)]
        last = _dbt(words, Path(folder), lake, artefacts, ti)
        found = _results(Path(folder))
    if found is None:
        final = any(word in last for word in NO_PROJECT)
        raise (FinalDbtError if final else DbtError)(f"dbt built nothing of {layer}: {last}")
    left_out = _descendants(found, broken, layer) if broken else ()
    merged = (before or Results(found.manifest, [])).merged(found, left_out)
    artefacts.write(_as_artefact(found), run, layer, f"try-{ti.try_number}.json")
    for place in (run, "latest"):
        artefacts.write(merged.manifest, place, layer, "manifest.json")
        artefacts.write(_as_artefact(merged), place, layer, "run_results.json")
    _tell(found, context, layer)
    if layer == "intermediate" and _all_by_month(merged):
        artefacts.write(artefacts.read(run, "inputs.json"), BUILT_FROM)
    if faults := found.faults():
        final = all(_is_final(each) for each in found.failed)
        raise (FinalDbtError if final else DbtError)(" ".join(fault[0].upper() + fault[1:] for fault in faults))
    return dict(Counter(str(each["status"]) for each in found.results))


def _dbt(words: Sequence[str], folder: Path, lake: Lake, artefacts: Artefacts, ti: Any) -> str:
    """Run ``dbt build``; each of its lines is one of the task's log. Return how it ended, and its last lines."""
    told = lineage.for_dbt(ti)
    program = Path(dbt_settings().dbt)
    environment = _environment(lake, program) | told
    state, parsed = _parsed_from(PROJECT, program, environment), folder / "target" / PARSED
    before = artefacts.read_parsed(state)
    if before:
        parsed.parent.mkdir()
        parsed.write_bytes(before)
    command = [
        str(program.with_name("dbt-ol") if told else program), "build", *words, "--target", "athena",
        "--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT),
        "--target-path", str(folder / "target"), "--log-path", str(folder / "logs"),
        "--indirect-selection", "buildable", "--exclude-resource-type", "unit_test", "--no-use-colors",
    ]  # fmt: skip
    try:
        process = subprocess.Popen(
            command, env=environment, cwd=folder, text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        raise FinalDbtError(
            f"{command[0]} cannot be started ({error.strerror}): set TAXIWAY_DBT to the program dbt."
        ) from None
    last: deque[str] = deque(maxlen=6)
    try:
        assert process.stdout
        for line in process.stdout:
            if text := line.rstrip():
                log.info("%s", text)
                last.append(text)
        process.wait()
    finally:  # also when the task is killed: dbt then has Athena stop its queries
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
    if parsed.exists() and (content := parsed.read_bytes()) != before:
        artefacts.write_parsed(content, state)
    return " ".join([f"it ended with status {process.returncode}.", *last])


def _parsed_from(project: Path, program: Path, environment: Mapping[str, str]) -> str:
    """Return a digest of what the parsed project follows from: its files, the variables that they name, dbt's packages.

    dbt itself looks whether its version, the target, ``--vars`` and the files are those of before, and parses anew what
    is not. But it takes a YAML file for the same if only its time is, as that of two checkouts or images may be; and of
    the adapters it does not know the version.
    """
    files = (file for file in project.rglob("*") if file.suffix in (".sql", ".yml"))
    texts = {str(file.relative_to(project)): file.read_text() for file in files}
    named = {name for text in texts.values() for name in re.findall(r"""env_var\(\s*['"]+(\w+)""", text)}
    found = shutil.which(program)
    installed = Path(found).parent.parent.glob("lib/python*/site-packages/*.dist-info") if found else ()
    state = [texts, {name: environment.get(name) for name in named}, sorted(each.name for each in installed)]
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _environment(lake: Lake, program: Path) -> dict[str, str]:
    """Return the variables that dbt gets: the task's, the connection's credentials, and what the profile reads."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    credentials = lake.session.get_credentials().get_frozen_credentials()
    chosen = dbt_settings()
    bucket, _ = split(lake.settings.emr_logs)
    keys = {
        "AWS_ACCESS_KEY_ID": credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
        "AWS_SESSION_TOKEN": credentials.token,
        "AWS_DEFAULT_REGION": lake.session.region_name,
    }
    return {
        **inherited,
        **{name: value for name, value in keys.items() if value},
        "PATH": f"{program.parent}:{os.environ.get('PATH', '')}",  # dbt-ol looks for dbt
        "TAXIWAY_LAKE": lake.settings.lake,
        "TAXIWAY_GLUE_DATABASE": lake.settings.glue_database,
        "TAXIWAY_POLL_S": str(lake.settings.poll_s),
        "TAXIWAY_DBT_THREADS": str(chosen.dbt_threads),
        "TAXIWAY_DBT_WORKGROUP": chosen.dbt_workgroup,
        "TAXIWAY_DBT_RESULTS": f"{chosen.dbt_results or f's3://{bucket}/athena/dbt'}/",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def _results(folder: Path) -> Results | None:
    manifest, results = (folder / "target" / name for name in ("manifest.json", "run_results.json"))
    if not (manifest.exists() and results.exists()):
        return None
    return Results(json.loads(manifest.read_text()), json.loads(results.read_text())["results"])


def _kept(artefacts: Artefacts, run: str, layer: str) -> Results | None:
    manifest = artefacts.read(run, layer, "manifest.json")
    results = artefacts.read(run, layer, "run_results.json")
    return Results(manifest, results["results"]) if manifest and results else None


def _as_artefact(found: Results) -> dict[str, Any]:
    version = {"dbt_schema_version": "https://schemas.getdbt.com/dbt/run-results/v6.json"}
    metadata = {**found.manifest["metadata"], **version}
    return {"metadata": metadata, "results": [*found.results], "elapsed_time": 0.0, "args": {}}


def _models(layer: str) -> set[str]:
    """Return the names of all models of a layer, of one without results: its task was killed, or ran out of time."""
    return {file.stem for file in (PROJECT / "models" / layer).rglob("*.sql")}


def _missing(found: Results) -> set[str]:
    """Return the names of the models that failed or were skipped, and of those of which a test failed."""
    models = {node["name"] for node in found.nodes.values() if node.get("resource_type") == "model"}
    return models & {found.model_of(each["unique_id"]) for each in found.results if each["status"] not in PASSED}


def _descendants(found: Results, broken: Iterable[str], layer: str) -> set[str]:
    """Return the models of a layer that depend on models of these names."""
    children: Mapping[str, Sequence[str]] = found.manifest["child_map"]
    queue = deque(node_id for node_id, node in found.nodes.items() if node["name"] in set(broken))
    seen: set[str] = set()
    while queue:
        for child in children.get(queue.popleft(), ()):
            if child not in seen:
                seen.add(child)
                queue.append(child)
    return {
        each for each in seen
        if each.startswith("model.") and found.nodes[each]["original_file_path"].startswith(f"models/{layer}/")
    }  # fmt: skip


def _all_by_month(found: Results) -> bool:
    """Return whether every model by month is as the run's sources are: built, or none of its months has changed."""
    wanted = {
        node_id for node_id, node in found.nodes.items()
        if node.get("resource_type") == "model" and node["config"]["materialized"] == "incremental"
    }  # fmt: skip
    return not any(
        each["status"] not in PASSED for each in found.results if each["unique_id"] in wanted
    ) and wanted <= {each["unique_id"] for each in found.results}


def _is_final(result: Mapping[str, Any]) -> bool:
    return result["status"] == "fail" or any(word in str(result.get("message")) for word in FINAL)


# ── What is told ────────────────────────────────────────────────────────────────────────────────────────────────────


def _tell(found: Results, context: Any, layer: str) -> None:
    """Send the metrics of a build and record the results of its tests."""
    for status, number in Counter(str(each["status"]) for each in found.results).items():
        metrics.count("warehouse", "dbt", "results", status, value=number)
    failed = {found.model_of(each["unique_id"]) for each in found.failed}
    checks = []
    for each in found.results:
        node, model = found.nodes.get(each["unique_id"], {}), found.model_of(each["unique_id"])
        kind, status = node.get("resource_type"), str(each["status"])
        if status == "skipped" or kind not in ("model", "test"):
            continue
        if kind == "model":
            metrics.gauge("warehouse", "dbt", "seconds", model, value=float(each["execution_time"]))
            metrics.count("warehouse", "dbt", "failed", model, value=int(model in failed))
            if layer == "marts" and status == "success":
                metrics.gauge("warehouse", "dbt", "built", model, value=datetime.now(UTC).timestamp())
        checks.append(
            Result(
                pipeline=PIPELINE,
                table=model,
                check=str(node["name"]) if kind == "test" else "dbt_build",
                passed=status in ("success", "pass"),
                observed="" if status in ("success", "pass") else " ".join(str(each.get("message") or "").split()),
                rows=each.get("failures"),
                severity="warning" if status == "warn" else "error",
                owner=found.owner_of(model),
            )
        )
    quality.record(checks, context)
