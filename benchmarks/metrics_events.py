"""Calls that Airflow 3.3.2 makes of its metrics client; run in its environment by :mod:`benchmarks.metrics`."""

import json
import sys
import time
from datetime import timedelta

from airflow._shared.observability.metrics import stats, statsd_logger
from airflow.configuration import conf
from airflow.observability.metrics.stats_utils import get_stats_factory

STATES = ("scheduled", "queued", "running", "deferred", "awaiting_input")
POOLS = ("default_pool", "emr_steps")
EXECUTORS = ("CeleryExecutor", "KubernetesExecutor")


def day(dags: list[str], tasks: list[str]) -> None:
    """One run of each DAG, and a round of everything else."""
    for dag in dags:
        run = {"dag_id": dag, "run_type": "scheduled"}
        for task in tasks:
            of = {"dag_id": dag, "task_id": task}
            stats.incr("task_instance_created", tags={**run, "task_type": "PythonOperator"})
            for state in STATES[:3]:
                stats.gauge(f"ti.{state}", 1.0, tags={"queue": "default", **of})
                stats.gauge(f"ti.{state}", 0, tags={"queue": "default", **of})
            for name in ("scheduled_duration", "queued_duration"):
                stats.timing(f"task.{name}", timedelta(seconds=1.5), tags={**of, "queue": "default"})
            stats.incr("ti.start", tags=of)
            stats.timing("task.duration", 61250.5, tags=of)
            stats.incr("operator_successes", tags={**of, "operator_name": "PythonOperator"})
            stats.incr("ti_successes", tags=of)
            stats.incr("ti.finish", tags={**of, "state": "success"})
        stats.timing("dagrun.dependency-check", timedelta(milliseconds=3), tags=run)
        stats.timing("dagrun.schedule_delay", timedelta(seconds=1), tags={"dag_id": dag})
        stats.timing(f"dagrun.{dag}.first_task_scheduling_delay", timedelta(seconds=2), tags=run)
        stats.timing("dagrun.first_task_scheduling_delay", timedelta(seconds=2), tags=run)
        stats.timing("dagrun.first_task_start_delay", timedelta(seconds=2), tags=run)
        stats.timing("dagrun.duration.success", timedelta(seconds=600), tags=run)
        file = {"bundle_name": "dags-folder", "file_name": dag}
        stats.timing("dag_processing.last_duration", 0.42, tags=file)
        stats.gauge("dag_processing.last_run.seconds_ago", 3.5, tags={"file_path": f"{dag}.py", **file})
    rounds(1)
    pools()


def rounds(number: int) -> None:
    """Rounds of an idle scheduler, which sends only its own metrics."""
    for _ in range(number):
        stats.incr("scheduler_heartbeat", 1, 1)
        with stats.timer("scheduler.scheduler_loop_duration"):
            with (
                stats.timer("scheduler.critical_section_duration"),
                stats.timer("scheduler.critical_section_query_duration"),
            ):
                pass
            for name in EXECUTORS:
                with stats.timer("scheduler.executor_heartbeat_duration", tags={"executor": name}):
                    for what, status in (
                        ("open_slots", "open"),
                        ("queued_tasks", "queued"),
                        ("running_tasks", "running"),
                    ):
                        tags = {"status": status, "executor_class_name": name}
                        stats.gauge(f"executor.{what}.{name}", 5, tags=tags)
        stats.gauge("scheduler.tasks.starving", 0)
        stats.gauge("scheduler.tasks.executable", 0)


def pools() -> None:
    """Gauges of pools."""
    for name in POOLS:
        for what in ("open", "queued", "running", "deferred", "scheduled"):
            stats.gauge(f"pool.{what}_slots", 16, tags={"pool_name": name})
    stats.gauge("scheduler.dagruns.running", 5.0)


def minute(dags: list[str], tasks: list[str]) -> None:
    """What the scheduler sends in a minute, with one round a second and each task in one state."""
    rounds(60)
    for _ in range(12):
        pools()
    for _ in range(2):
        for dag in dags:
            for task in tasks:
                stats.gauge("ti.running", 1.0, tags={"queue": "default", "dag_id": dag, "task_id": task})


def _prints(lines: list[str]) -> type:
    """Return a client that keeps lines instead of sending them."""
    from statsd import StatsClient

    class Kept(StatsClient):  # type: ignore[misc]
        def _send(self, data: str) -> None:
            lines.append(data)

    return Kept


def main() -> None:
    """Print the lines of a day, or the processor time of a minute."""
    what, (number_of_dags, number_of_tasks) = sys.argv[1], json.loads(sys.argv[2])
    dags = [f"dag_{number:03}" for number in range(number_of_dags)]
    # A quarter of the tasks are in a group.
    tasks = [f"{'group.' * (number % 4 == 0)}task_{number:03}" for number in range(number_of_tasks)]
    legacy = conf.getboolean("metrics", "legacy_names_on")
    if what == "lines":
        lines: list[str] = []
        tags = conf.getboolean("metrics", "statsd_influxdb_enabled")
        logger = statsd_logger.get_statsd_logger(
            stats_class=_prints(lines),
            host="127.0.0.1",
            port=9,
            prefix="airflow",
            influxdb_tags_enabled=tags,
            statsd_influxdb_enabled=tags,
            statsd_disabled_tags=conf.get("metrics", "statsd_disabled_tags"),
        )
        # Airflow's own annotation leaves out the class that its own factory returns.
        stats.initialize(factory=lambda: logger, export_legacy_names=legacy)  # type: ignore[arg-type,return-value]
        day(dags, tasks)
        print("\n".join(lines))
        return
    stats.initialize(factory=get_stats_factory(), export_legacy_names=legacy)
    minute(dags, tasks)  # caches are warm
    began = time.process_time()
    minute(dags, tasks)
    print(time.process_time() - began)


if __name__ == "__main__":
    main()
