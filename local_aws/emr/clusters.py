"""Clusters and their steps over time: EMR's states and the rules by which they change."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Protocol

from local_aws.emr.model import ENDED_STATES, Cluster, Document, Step
from local_aws.emr.store import History
from local_aws.execution import Failure, Result, Run, State

log = logging.getLogger(__name__)

_TICK_S = 0.1  # between two checks of the clock while a cluster is not terminated


class StepStarter(Protocol):
    """Starts steps."""

    def start(self, cluster: Cluster, step: Step, on_end: Callable[[Result], None]) -> Run | None:
        """Start a step; return None if the machine runs as many programs as it may.

        `on_end` is called with the result, from another thread and after this method.
        """
        ...


class Clusters:
    """All clusters of the endpoint. Its methods may be called from any thread; they hold `lock`."""

    def __init__(
        self,
        history: History,
        starter: StepStarter,
        *,
        state_s: float,
        running_s: float = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Read the history; what was running when the last process ended is recorded as interrupted.

        Args:
            history: where clusters and steps are stored.
            starter: starts the steps.
            state_s: seconds that STARTING, BOOTSTRAPPING and TERMINATING take each.
            running_s: seconds that a cluster is RUNNING or WAITING at least before it ends by itself.
            clock: the time, in epoch seconds.
        """
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._history = history
        self._starter = starter
        self._state_s = state_s
        self._running_s = running_s
        self._clock = clock
        self._running: dict[str, Run] = {}
        self._closed = False
        saved_clusters, saved_steps = history.load()
        self.clusters = {cluster.id: cluster for cluster in saved_clusters}
        self.steps: dict[str, list[Step]] = {cluster.id: [] for cluster in saved_clusters}
        for step in saved_steps:
            self.steps[step.cluster_id].append(step)
        self._end_interrupted()
        self._thread = threading.Thread(target=self._advance_until_closed, name="emr", daemon=True)

    def start(self) -> None:
        """Begin to move clusters through their states."""
        self._thread.start()

    def close(self) -> None:
        """End all steps and clusters, as a machine that is switched off would; wait until their processes are gone."""
        with self.lock:
            self._closed = True
            runs = list(self._running.values())
            for run in runs:
                run.cancel(grace_s=0)
            self._changed.notify_all()
        for run in runs:
            run.wait()
        with self.lock:
            self._end_interrupted()

    def _end_interrupted(self) -> None:
        now, message = self._clock(), "The local endpoint ended while the cluster was running."
        for cluster in self.clusters.values():
            if cluster.state not in ENDED_STATES:
                for step in self.steps[cluster.id]:
                    if step.active:
                        step.end("CANCELLED" if step.state == "PENDING" else "INTERRUPTED", now, message)
                        self._save_or_log(step)
                cluster.ended = now
                cluster.enter("TERMINATED_WITH_ERRORS", now, message, "INTERNAL_ERROR")
                self._save_or_log(cluster)

    # Requests of the API

    def now(self) -> float:
        """Return the time of the clusters' clock, in epoch seconds."""
        return self._clock()

    def add(self, cluster: Cluster, steps: list[Step]) -> None:
        """Add a new cluster with its first steps."""
        with self.lock:
            cluster.since = self._clock()
            self.clusters[cluster.id] = cluster
            self.steps[cluster.id] = []
            self._history.save(cluster)
            self.add_steps(cluster, steps)

    def add_steps(self, cluster: Cluster, steps: list[Step]) -> None:
        """Append steps to a cluster."""
        with self.lock:
            self.steps[cluster.id] += steps
            self._history.save(*steps)
            self._changed.notify_all()

    def save(self, cluster: Cluster) -> None:
        """Store a change of a cluster's settings, and act on it."""
        with self.lock:
            self._history.save(cluster)
            self._changed.notify_all()

    def terminate(self, cluster: Cluster) -> None:
        """Terminate a cluster at its user's request."""
        with self.lock:
            if cluster.live:
                self._terminate(cluster, "USER_REQUEST", "Terminated by user request")
            self._changed.notify_all()

    def cancel(self, step: Step, *, kill: bool) -> bool:
        """Cancel a step that has not ended, without a grace if `kill`; return False if it has ended."""
        with self.lock:
            if not step.active:
                return False
            if step.state == "PENDING":
                step.end("CANCELLED", self._clock(), "Cancelled by user request")
            else:
                step.state = "CANCEL_PENDING"
                self._running[step.id].cancel(grace_s=0 if kill else None)
            self._save_or_log(step)
            self._changed.notify_all()
            return True

    # Changes with time

    def _advance_until_closed(self) -> None:
        with self.lock:
            while not self._closed:
                try:
                    self.advance()
                except Exception:
                    log.exception("the states of EMR's clusters could not be advanced; trying again")
                active = any(cluster.state not in ENDED_STATES for cluster in self.clusters.values())
                self._changed.wait(_TICK_S if active else None)

    def advance(self) -> None:
        """Move every cluster as far as the time and its steps allow."""
        with self.lock:
            for cluster in self.clusters.values():
                if cluster.state not in ENDED_STATES:
                    self._advance(cluster, self._clock())

    def _advance(self, cluster: Cluster, now: float) -> None:
        before, elapsed = cluster.state, now - cluster.since
        if cluster.state == "STARTING" and elapsed >= self._state_s:
            cluster.enter("BOOTSTRAPPING", now)
        elif cluster.state == "BOOTSTRAPPING" and elapsed >= self._state_s:
            cluster.ready = now
            cluster.enter("WAITING", now, "Cluster ready to run steps.")
        if cluster.state in ("RUNNING", "WAITING"):
            self._start_steps(cluster, now)
        elif cluster.state == "TERMINATING" and elapsed >= self._state_s and not self._active(cluster):
            cluster.ended = now
            failed = cluster.reason.get("Code") == "STEP_FAILURE"
            cluster.enter(
                "TERMINATED_WITH_ERRORS" if failed else "TERMINATED",
                now,
                cluster.reason.get("Message"),
                cluster.reason.get("Code"),
            )
        if cluster.state != before:
            self._save_or_log(cluster)

    def _start_steps(self, cluster: Cluster, now: float) -> None:
        """Start the steps that may run; where there are none, see whether the cluster is to end."""
        early = now - (cluster.ready or now) < self._running_s
        if cluster.to_end:
            if not early:
                self._terminate(cluster, **cluster.to_end)
            return
        active = self._active(cluster)
        running = sum(step.state != "PENDING" for step in active)
        for step in [step for step in active if step.state == "PENDING"]:
            if running >= cluster.step_concurrency or not self._start(cluster, step, now):
                break
            running += 1
        if active:
            if running and cluster.state == "WAITING":
                cluster.enter("RUNNING", now, "Running step")
            return
        if early and not cluster.keep_alive:
            return
        if cluster.state == "RUNNING":
            cluster.enter("WAITING", now, "Cluster ready after last step completed.")
        if cluster.protected:
            return  # protection overrides both ways in which a cluster ends by itself
        idle = cluster.auto_termination and cluster.auto_termination.get("IdleTimeout")
        if not cluster.keep_alive:
            failed = any(step.state == "FAILED" for step in self.steps[cluster.id])
            self._terminate(
                cluster, "ALL_STEPS_COMPLETED", "Steps completed with errors" if failed else "Steps completed"
            )
        elif idle and now - cluster.since >= idle:
            self._terminate(
                cluster, "ALL_STEPS_COMPLETED", f"Terminated by the auto-termination policy after {idle} idle seconds"
            )

    def _save_or_log(self, record: Cluster | Step) -> None:
        """Save a change that no request made; a full disk must not stop the clusters."""
        try:
            self._history.save(record)
        except sqlite3.Error as error:
            log.error("%s cannot be saved: %s", record.id, error)

    def _active(self, cluster: Cluster) -> list[Step]:
        return [step for step in self.steps[cluster.id] if step.active]

    def _terminate(self, cluster: Cluster, code: str, message: str) -> None:
        now = self._clock()
        cluster.enter("TERMINATING", now, message, code)
        for step in self._active(cluster):
            if step.state == "PENDING":
                step.end("CANCELLED", now, "The cluster was terminated before the step began.")
                self._save_or_log(step)
            else:
                self._running[step.id].cancel()
        self._save_or_log(cluster)

    def _start(self, cluster: Cluster, step: Step, now: float) -> bool:
        run = self._starter.start(cluster, step, lambda result: self._finish(cluster, step, result))
        if run is None:
            return False
        self._running[step.id] = run
        step.state, step.started = "RUNNING", now
        self._save_or_log(step)
        return True

    def _finish(self, cluster: Cluster, step: Step, result: Result) -> None:
        with self.lock:
            del self._running[step.id]
            self._end(cluster, step, result)
            self._changed.notify_all()

    def _end(self, cluster: Cluster, step: Step, result: Result) -> None:
        now = self._clock()
        if result.state is State.SUCCEEDED:
            step.end("COMPLETED", now)
        elif result.failure:
            step.end("FAILED", now, None, _failure_details(result.failure))
        elif step.state == "CANCEL_PENDING":
            step.end("CANCELLED", now, "Cancelled by user request")
        else:
            step.end("INTERRUPTED", now, "The cluster was terminated while the step was running.")
        self._save_or_log(step)
        # On EMR a failed step has no effect on others or on the cluster where several may run at once.
        if step.state == "FAILED" and cluster.live and cluster.step_concurrency == 1:
            self._act_on_failure(cluster, step, now)

    def _act_on_failure(self, cluster: Cluster, step: Step, now: float) -> None:
        if step.action_on_failure == "CONTINUE":
            return
        if step.action_on_failure in ("TERMINATE_CLUSTER", "TERMINATE_JOB_FLOW") and not cluster.protected:
            if now - (cluster.ready or now) >= self._running_s:
                self._terminate(cluster, "STEP_FAILURE", "Shut down as step failed")
                return
            cluster.to_end = {"code": "STEP_FAILURE", "message": "Shut down as step failed"}
            self._save_or_log(cluster)
        for other in self._active(cluster):
            other.end("CANCELLED", now, f"Cancelled because step {step.id} failed")
            self._save_or_log(other)


def _failure_details(failure: Failure) -> Document:
    return {"Reason": failure.reason, "Message": failure.message, "LogFile": failure.log or None}
