"""The life of clusters and their steps: EMR's states and the rules by which they change."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Protocol

from local_aws.emr.model import ENDED_STATES, Cluster, Step
from local_aws.emr.process import Stop
from local_aws.emr.runner import Outcome
from local_aws.emr.store import History

log = logging.getLogger(__name__)

_PULSE_S = 0.1  # between two looks at the clock while a cluster lives


class Runner(Protocol):
    """Runs one step to its end."""

    def run(self, cluster: Cluster, step: Step, stop: Stop) -> Outcome:
        """Run the step; end it early when `stop` is asked."""
        ...


class Clusters:
    """All clusters of the endpoint. Its methods may be called from any thread; they hold `lock`."""

    def __init__(
        self,
        history: History,
        runner: Runner,
        *,
        max_steps: int,
        state_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take over the history; what was under way when the last process ended, ended with it.

        Args:
            history: where clusters and steps are kept.
            runner: runs the steps.
            max_steps: steps that run at once, over all clusters.
            state_s: seconds that STARTING, BOOTSTRAPPING and TERMINATING take each.
            clock: the time, in epoch seconds.
        """
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._history = history
        self._runner = runner
        self._max_steps = max_steps
        self._state_s = state_s
        self._clock = clock
        self._running: dict[str, tuple[Stop, threading.Thread]] = {}
        self._closed = False
        clusters, steps = history.load()
        self.clusters = {cluster.id: cluster for cluster in clusters}
        self.steps: dict[str, list[Step]] = {cluster.id: [] for cluster in clusters}
        for step in steps:
            self.steps[step.cluster_id].append(step)
        self._end_interrupted()
        self._thread = threading.Thread(target=self._live, name="emr", daemon=True)

    def start(self) -> None:
        """Let the clusters live."""
        self._thread.start()

    def close(self) -> None:
        """End all steps and clusters, as a machine that is switched off would; wait for the processes' end."""
        with self.lock:
            self._closed = True
            threads = [thread for _, thread in self._running.values()]
            for stop, _ in self._running.values():
                stop.ask(at_once=True)
            self._changed.notify_all()
        for thread in threads:
            thread.join()
        with self.lock:
            self._end_interrupted()

    def _end_interrupted(self) -> None:
        now, message = self._clock(), "The local endpoint ended while the cluster was running."
        for cluster in self.clusters.values():
            if cluster.state not in ENDED_STATES:
                for step in self.steps[cluster.id]:
                    if step.active:
                        step.end("CANCELLED" if step.state == "PENDING" else "INTERRUPTED", now, message)
                        self._keep(step)
                cluster.ended = now
                cluster.enter("TERMINATED_WITH_ERRORS", now, message, "INTERNAL_ERROR")
                self._keep(cluster)

    # What the API asks for.

    def now(self) -> float:
        """Return the time by the clusters' clock."""
        return self._clock()

    def add(self, cluster: Cluster, steps: list[Step]) -> None:
        """Take in a new cluster with its first steps."""
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
        """Keep a change of a cluster's settings, and act on it."""
        with self.lock:
            self._history.save(cluster)
            self._changed.notify_all()

    def terminate(self, cluster: Cluster) -> None:
        """End a cluster on its user's wish."""
        with self.lock:
            if cluster.live:
                self._terminate(cluster, "USER_REQUEST", "Terminated by user request")
            self._changed.notify_all()

    def cancel(self, step: Step, *, at_once: bool) -> bool:
        """Cancel a step that has not ended; return False if it has."""
        with self.lock:
            if not step.active:
                return False
            if step.state == "PENDING":
                step.end("CANCELLED", self._clock(), "Cancelled by user request")
            else:
                step.state = "CANCEL_PENDING"
                self._running[step.id][0].ask(at_once=at_once)
            self._keep(step)
            self._changed.notify_all()
            return True

    # How time passes.

    def _live(self) -> None:
        with self.lock:
            while not self._closed:
                try:
                    self.advance()
                except Exception:
                    log.exception("EMR's clusters could not be moved on; trying again")
                alive = any(cluster.state not in ENDED_STATES for cluster in self.clusters.values())
                self._changed.wait(_PULSE_S if alive else None)

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
            self._work(cluster, now)
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
            self._keep(cluster)

    def _work(self, cluster: Cluster, now: float) -> None:
        """Start the steps that may run; notice that there is nothing to do."""
        active = self._active(cluster)
        under_way = sum(step.state != "PENDING" for step in active)
        for step in [step for step in active if step.state == "PENDING"]:
            if under_way >= cluster.step_concurrency or len(self._running) >= self._max_steps:
                break
            self._start(cluster, step, now)
            under_way += 1
        if active:
            if under_way and cluster.state == "WAITING":
                cluster.enter("RUNNING", now, "Running step")
            return
        if cluster.state == "RUNNING":
            cluster.enter("WAITING", now, "Cluster ready after last step completed.")
        if cluster.protected:
            return  # protection goes before both ways in which a cluster ends by itself
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

    def _keep(self, record: Cluster | Step) -> None:
        """Save what has changed by itself; a full disk must not stop the clusters' lives."""
        try:
            self._history.save(record)
        except sqlite3.Error as error:
            log.error("%s cannot be kept: %s", record.id, error)

    def _active(self, cluster: Cluster) -> list[Step]:
        return [step for step in self.steps[cluster.id] if step.active]

    def _terminate(self, cluster: Cluster, code: str, message: str) -> None:
        now = self._clock()
        cluster.enter("TERMINATING", now, message, code)
        for step in self._active(cluster):
            if step.state == "PENDING":
                step.end("CANCELLED", now, "The cluster was terminated before the step began.")
                self._keep(step)
            else:
                self._running[step.id][0].ask()
        self._keep(cluster)

    def _start(self, cluster: Cluster, step: Step, now: float) -> None:
        step.state, step.started = "RUNNING", now
        self._keep(step)
        stop = Stop()
        thread = threading.Thread(target=self._run, args=(cluster, step, stop), name=step.id)
        self._running[step.id] = (stop, thread)
        thread.start()

    def _run(self, cluster: Cluster, step: Step, stop: Stop) -> None:
        try:
            outcome = self._runner.run(cluster, step, stop)
        except Exception as error:
            log.exception("step %s failed in the endpoint itself", step.id)
            outcome = Outcome("FAILED", {"Reason": "Internal error.", "Message": repr(error)})
        with self.lock:
            del self._running[step.id]
            self._finish(cluster, step, outcome)
            self._changed.notify_all()

    def _finish(self, cluster: Cluster, step: Step, outcome: Outcome) -> None:
        now = self._clock()
        if outcome.state != "CANCELLED":
            step.end(outcome.state, now, None, outcome.failure)
        elif step.state == "CANCEL_PENDING":
            step.end("CANCELLED", now, "Cancelled by user request")
        else:
            step.end("INTERRUPTED", now, "The cluster was terminated while the step was running.")
        self._keep(step)
        # With several steps at once EMR lets a failed step neither cancel nor end anything.
        if step.state == "FAILED" and cluster.live and cluster.step_concurrency == 1:
            self._act_on_failure(cluster, step, now)

    def _act_on_failure(self, cluster: Cluster, step: Step, now: float) -> None:
        if step.action_on_failure == "CONTINUE":
            return
        if step.action_on_failure in ("TERMINATE_CLUSTER", "TERMINATE_JOB_FLOW") and not cluster.protected:
            self._terminate(cluster, "STEP_FAILURE", "Shut down as step failed")
            return
        for other in self._active(cluster):
            other.end("CANCELLED", now, f"Cancelled because step {step.id} failed")
            self._keep(other)
