"""The rules of applications and job runs over hours, by a clock of the test's own and programs that it ends."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local_aws.database import Database
from local_aws.emr_serverless.applications import Applications
from local_aws.emr_serverless.job_runs import JobRuns
from local_aws.emr_serverless.model import Application, JobRun
from local_aws.emr_serverless.store import History
from local_aws.execution import Failure, Result, Run, State
from local_aws.execution.process import Cancellation
from local_aws.protocols.errors import AwsError
from tests.waiting import eventually

ROLE = "arn:aws:iam::123456789012:role/jobs"
SUCCEEDED = Result(State.SUCCEEDED, 0)
FAILED = Result(State.FAILED, 1, Failure("Exit status 1.", "ValueError: no trips"))
MINUTE = 60
SMALL = "--driver-cores 1 --driver-memory 1g --executor-cores 1 --executor-memory 1g --num-executors 2"


class Clock:
    def __init__(self) -> None:
        self.time = 1_000_000.0

    def __call__(self) -> float:
        return self.time


class Starter:
    """Starts programs that end when the test says so, or when they are cancelled."""

    def __init__(self) -> None:
        self.may_start = True
        self.started: list[str] = []
        self.graces: list[float] = []
        self._results: dict[str, Result] = {}

    def end(self, run: JobRun, result: Result) -> None:
        number = run.attempt.number
        self._results[run.id] = result
        eventually(lambda: not run.active or run.attempt.number > number)
        del self._results[run.id]

    def start(self, application: Application, run: JobRun, on_end: Callable[[Result], None]) -> Run | None:
        if not self.may_start:
            return None
        self.started.append(run.id)
        cancellation = Cancellation(grace_s=10)

        def wait() -> None:
            while run.id not in self._results and not cancellation.requested:
                threading.Event().wait(0.005)
            if cancellation.requested:
                self.graces.append(cancellation.grace_s)
            on_end(self._results.get(run.id, Result(State.CANCELLED)))

        thread = threading.Thread(target=wait)
        thread.start()
        return Run(cancellation, thread)


class Service:
    """Applications and job runs that only move when the test says so."""

    def __init__(self, path: Path) -> None:
        self.clock, self.starter, self.path = Clock(), Starter(), path
        self.open()

    def open(self) -> None:
        self.database = Database(self.path)
        history = History(self.database)
        applications, runs = history.load()
        self.applications = Applications(history, applications, region="us-east-1", state_s=10, clock=self.clock)
        self.runs = JobRuns(self.applications, history, runs, self.starter, default_engine="sail", clock=self.clock)

    def close(self) -> None:
        self.runs.close()
        self.database.close()

    def pass_time(self, seconds: float, ticks: int = 1) -> None:
        self.clock.time += seconds
        for _ in range(ticks):
            self.runs.advance()

    def create(self, **settings: Any) -> Application:
        request = {"releaseLabel": "emr-7.9.0", "type": "SPARK", "clientToken": str(len(self.applications.all))}
        application = self.applications.create(request | settings)
        self.pass_time(10)
        assert application.state == "CREATED"
        return application

    def started(self, **settings: Any) -> Application:
        application = self.create(**settings)
        self.applications.start(application)
        self.pass_time(10)
        assert application.state == "STARTED"
        return application

    def submit(self, application: Application, parameters: str = SMALL, **request: Any) -> JobRun:
        given = {
            "applicationId": application.id,
            "executionRoleArn": ROLE,
            "clientToken": str(len(self.runs.all)),
            "jobDriver": {"sparkSubmit": {"entryPoint": "s3://jobs/a.py", "sparkSubmitParameters": parameters}},
        }
        with self.applications.lock:
            return self.runs.submit(application, given | request)

    def cancel(self, run: JobRun, grace_s: int | None) -> None:
        with self.applications.lock:
            self.runs.cancel(run, grace_s)

    def running(self, application: Application, **request: Any) -> JobRun:
        run = self.submit(application, **request)
        self.pass_time(0, ticks=3)
        assert run.state == "RUNNING"
        return run


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "state.db")
    yield service
    service.close()


def refusal(call: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    with pytest.raises(AwsError) as raised:
        call(*arguments, **named)
    assert raised.value.code == "ValidationException"
    return raised.value.message


def test_the_states_of_an_application(service: Service) -> None:
    application = service.applications.create({"releaseLabel": "emr-7.9.0", "type": "SPARK", "clientToken": "a"})
    seen = [application.state]
    assert "[CREATED, STOPPED]" in refusal(service.applications.start, application)
    service.pass_time(9)
    assert application.state == "CREATING"
    for change in (service.applications.start, service.applications.stop, service.applications.delete):
        service.pass_time(10)
        seen.append(application.state)
        change(application)
        seen.append(application.state)
        if change == service.applications.stop:
            assert "Current status: STOPPING" in refusal(service.applications.delete, application)
            assert "Current status: STOPPING" in refusal(service.applications.start, application)
    assert seen == ["CREATING", "CREATED", "STARTING", "STARTED", "STOPPING", "STOPPED", "TERMINATED"]


@pytest.mark.parametrize("state", ["CREATED", "TERMINATED"])
def test_what_is_not_started_cannot_be_stopped(service: Service, state: str) -> None:
    application = service.create()
    if state == "TERMINATED":
        service.applications.delete(application)
    assert refusal(service.applications.stop, application) == (
        "Application cannot be STOPPED. Applications must be in one of the following statuses: [STARTING, STARTED]"
    )


def test_starting_and_stopping_twice(service: Service) -> None:
    application = service.started()
    service.applications.start(application)
    assert application.state == "STARTED"
    service.applications.stop(application)
    service.pass_time(10)
    service.applications.stop(application)
    assert application.state == "STOPPED"


def test_a_started_application_is_not_changed(service: Service) -> None:
    application = service.started()
    update = {"clientToken": "u", "autoStopConfiguration": {"idleTimeoutMinutes": 5}}
    assert refusal(service.applications.update, application, update) == (
        f"Application {application.id} must be in one of the statuses to be updated: [STOPPED, CREATED]. "
        "Current status: STARTED"
    )
    service.applications.stop(application)
    service.pass_time(10)
    service.applications.update(application, update)
    assert application.settings["autoStopConfiguration"] == {"enabled": True, "idleTimeoutMinutes": 5}
    assert application.settings["releaseLabel"] == "emr-7.9.0"


def test_auto_stop_counts_from_the_end_of_the_last_run(service: Service) -> None:
    application = service.started(autoStopConfiguration={"idleTimeoutMinutes": 5})
    service.pass_time(4 * MINUTE)
    run = service.running(application)
    service.pass_time(60 * MINUTE)
    assert application.state == "STARTED"
    service.starter.end(run, SUCCEEDED)
    service.pass_time(5 * MINUTE - 1)
    assert application.state == "STARTED"
    service.pass_time(1)
    assert (application.state, application.details) == ("STOPPING", "Stopped automatically after 5 idle minutes.")
    service.pass_time(10)
    assert application.state == "STOPPED"


def test_auto_stop_can_be_switched_off_and_is_15_minutes(service: Service) -> None:
    always, default = service.started(autoStopConfiguration={"enabled": False}), service.started()
    service.pass_time(15 * MINUTE)
    assert (always.state, default.state) == ("STARTED", "STOPPING")


def test_the_states_of_a_job_run(service: Service) -> None:
    application = service.started()
    run = service.submit(application)
    seen = [run.state]
    for _ in range(3):
        service.pass_time(1)
        seen.append(run.state)
    service.starter.end(run, SUCCEEDED)
    assert [*seen, run.state] == ["SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "SUCCESS"]


def test_a_job_run_starts_its_application(service: Service) -> None:
    application = service.create()
    run = service.submit(application)
    service.pass_time(1)
    assert (application.state, run.state) == ("STARTING", "SUBMITTED")
    service.pass_time(10, ticks=3)
    assert (application.state, run.state) == ("STARTED", "RUNNING")


def test_without_auto_start_a_job_run_is_refused(service: Service) -> None:
    application = service.create(autoStartConfiguration={"enabled": False})
    assert "Current status: CREATED" in refusal(service.submit, application)
    service.applications.start(application)
    service.submit(application)


def test_a_machine_that_is_full_keeps_a_run_scheduled(service: Service) -> None:
    service.starter.may_start = False
    run = service.submit(service.started())
    service.pass_time(0, ticks=5)
    assert run.state == "SCHEDULED"
    service.starter.may_start = True
    service.pass_time(0)
    assert run.state == "RUNNING"


def test_a_failure_has_the_programs_own_words(service: Service) -> None:
    run = service.running(service.started())
    service.starter.end(run, FAILED)
    assert run.state == "FAILED"
    assert run.attempt.details == (
        "Job failed, please check complete logs in configured logging destination. ExitCode: 1. "
        "Last few exceptions: ValueError: no trips"
    )
    other = service.running(service.started())
    service.starter.end(other, Result(State.FAILED, 1, Failure("Exit status 1.", "x" * 500)))
    assert len(other.attempt.details) == 256
    missing = service.running(service.started())
    service.starter.end(missing, Result(State.FAILED, None, Failure("It could not be started.", "s3://a is missing.")))
    assert missing.attempt.details == "It could not be started. s3://a is missing."


def test_a_batch_run_is_retried_up_to_its_attempts(service: Service) -> None:
    run = service.running(service.started(), retryPolicy={"maxAttempts": 3})
    for number in (1, 2):
        service.starter.end(run, FAILED)
        assert (run.state, run.attempt.number) == ("PENDING", number + 1)
        service.pass_time(1, ticks=2)
        assert run.state == "RUNNING"
    service.starter.end(run, FAILED)
    assert [attempt.state for attempt in run.attempts] == ["FAILED"] * 3
    assert run.state == "FAILED"
    once = service.running(service.started())
    service.starter.end(once, FAILED)
    assert len(once.attempts) == 1


def test_a_streaming_run_is_restarted_unless_it_fails_too_often_in_an_hour(service: Service) -> None:
    run = service.running(service.started(), mode="STREAMING", retryPolicy={"maxFailedAttemptsPerHour": 2})
    assert (run.engine, run.timeout_minutes) == ("spark", 0)
    for _ in range(4):
        service.pass_time(61 * MINUTE)
        service.starter.end(run, FAILED)
        service.pass_time(0, ticks=2)
        assert run.state == "RUNNING"
    service.pass_time(59 * MINUTE)
    service.starter.end(run, FAILED)
    assert (run.state, len(run.attempts)) == ("FAILED", 5)


def test_a_run_times_out(service: Service) -> None:
    application = service.started()
    run, default = service.running(application, executionTimeoutMinutes=5), service.running(application)
    service.pass_time(5 * MINUTE - 1)
    assert run.state == "RUNNING"
    service.pass_time(1)
    assert run.attempt.details == "Job run timed out: it took longer than its 5 minutes."
    assert run.state in ("CANCELLING", "CANCELLED")
    eventually(lambda: run.state == "CANCELLED")
    assert run.attempt.details == "Job run timed out: it took longer than its 5 minutes."
    assert default.state == "RUNNING"
    service.pass_time(715 * MINUTE)
    eventually(lambda: default.state == "CANCELLED")


def test_a_run_that_waits_times_out(service: Service) -> None:
    service.starter.may_start = False
    run = service.submit(service.started(), executionTimeoutMinutes=5)
    service.pass_time(5 * MINUTE)
    service.pass_time(0)
    assert (run.state, run.attempt.started) == ("CANCELLED", None)


def test_queued_runs_start_in_order(service: Service) -> None:
    application = service.started(schedulerConfiguration={"maxConcurrentRuns": 1})
    first, second, third = (service.submit(application) for _ in range(3))
    service.pass_time(1, ticks=4)
    assert [run.state for run in (first, second, third)] == ["RUNNING", "QUEUED", "QUEUED"]
    service.pass_time(7)
    service.starter.end(first, SUCCEEDED)
    service.pass_time(0, ticks=3)
    assert [run.state for run in (second, third)] == ["RUNNING", "QUEUED"]
    assert second.queued_s == 7
    service.cancel(third, None)
    service.pass_time(0)
    assert third.state == "CANCELLED"
    assert service.starter.started == [first.id, second.id]


def test_a_queued_run_times_out_after_the_queues_time(service: Service) -> None:
    application = service.started(schedulerConfiguration={"maxConcurrentRuns": 1, "queueTimeoutMinutes": 15})
    service.running(application)
    queued = service.submit(application, executionTimeoutMinutes=5)
    service.pass_time(1)
    service.pass_time(15 * MINUTE - 1)
    assert queued.state == "QUEUED"
    service.pass_time(1, ticks=2)
    assert queued.state == "CANCELLED"
    assert queued.attempt.details == "Job run timed out: it was queued for longer than 15 minutes."


def test_without_a_scheduler_nothing_is_queued(service: Service) -> None:
    application = service.started()
    runs = [service.submit(application) for _ in range(20)]
    service.pass_time(0, ticks=3)
    assert {run.state for run in runs} == {"RUNNING"}


def test_the_maximum_capacity(service: Service) -> None:
    application = service.started(maximumCapacity={"cpu": "4 vCPU", "memory": "8 GB"})
    first, second = service.submit(application), service.submit(application)
    service.pass_time(0, ticks=3)
    assert (first.state, second.state) == ("RUNNING", "PENDING")  # 3 of 4 vCPU are taken
    service.starter.end(first, SUCCEEDED)
    service.pass_time(0, ticks=2)
    assert second.state == "RUNNING"
    too_large = service.submit(application, parameters="")
    service.pass_time(0, ticks=2)
    assert too_large.state == "FAILED"
    assert too_large.attempt.details.startswith(
        "Worker could not be allocated as the application has exceeded maximumCapacity settings: "
        "[cpu: 4 vCPU, memory: 8 GB]"
    )


def test_a_run_gets_fewer_executors_where_not_all_fit(service: Service) -> None:
    application = service.started(maximumCapacity={"cpu": "10 vCPU", "memory": "100 GB"})
    run = service.submit(application, parameters="--num-executors 5 --executor-cores 2 --executor-memory 4g")
    service.pass_time(0, ticks=3)
    driver, executors = run.attempt.workers
    assert (driver[1], executors[1], executors[4]) == (4, 2, 3)  # 4 + 3 × 2 = 10 vCPU


@pytest.mark.parametrize(("mode", "asked", "grace"), [
    ("BATCH", None, 0), ("BATCH", 30, 30), ("STREAMING", None, 120), ("STREAMING", 0, 0),
])  # fmt: skip
def test_cancelling_gives_the_grace_that_is_asked_for(
    service: Service, mode: str, asked: int | None, grace: float
) -> None:
    run = service.running(service.started(), mode=mode)
    service.cancel(run, asked)
    eventually(lambda: run.state == "CANCELLED")
    assert service.starter.graces == [grace]
    assert refusal(service.cancel, run, None) == (
        f"JobRun {run.id} is not in a cancellable state. Current status: CANCELLED"
    )


def test_a_cancelled_run_is_not_retried(service: Service) -> None:
    run = service.running(service.started(), mode="STREAMING")
    service.cancel(run, 0)
    eventually(lambda: run.state == "CANCELLED")
    service.pass_time(1, ticks=3)
    assert len(run.attempts) == 1


def test_the_use_of_a_run(service: Service) -> None:
    application = service.started()
    run = service.running(application)  # three workers of 1 vCPU, 2 GB (1 GB and the overhead), 20 GB of disk
    service.pass_time(29.2)
    service.starter.end(run, SUCCEEDED)
    described = run.description(application, service.clock())
    assert described["totalResourceUtilization"] == {
        "vCPUHour": round(3 * 30 / 3600, 3),
        "memoryGBHour": round(6 * 30 / 3600, 3),
        "storageGBHour": round(60 * 30 / 3600, 3),
    }
    assert described["billedResourceUtilization"] == {"vCPUHour": 0.05, "memoryGBHour": 0.1, "storageGBHour": 0}
    assert described["totalExecutionDurationSeconds"] == 29


def test_the_use_of_all_attempts_is_added(service: Service) -> None:
    application = service.started()
    run = service.running(application, retryPolicy={"maxAttempts": 2})
    for _ in range(2):
        service.pass_time(1200)
        service.starter.end(run, FAILED)
        service.pass_time(0, ticks=2)
    described = run.description(application, service.clock())
    assert described["totalResourceUtilization"]["vCPUHour"] == 2.0
    assert described["billedResourceUtilization"]["vCPUHour"] == 2.0


def test_idle_pre_initialised_workers_are_kept_apart(service: Service) -> None:
    size = {"cpu": "1 vCPU", "memory": "2 GB"}
    capacity = {
        "DRIVER": {"workerCount": 1, "workerConfiguration": size},
        "EXECUTOR": {"workerCount": 4, "workerConfiguration": size},
    }
    application = service.started(initialCapacity=capacity)
    run = service.running(application)
    service.pass_time(1800)
    assert [workers[-1] for workers in run.attempt.workers] == [1, 2]
    beside = service.running(application)
    assert [workers[-1] for workers in beside.attempt.workers] == [0, 2]  # the driver is taken
    service.starter.end(run, SUCCEEDED)
    service.starter.end(beside, SUCCEEDED)
    service.applications.stop(application)
    service.pass_time(3600)

    from local_aws.emr_serverless.dashboard import application_usage

    usage = application_usage(application, [run, beside], service.clock()).body.decode()
    assert '"preInitializedResourceUtilization": {"vCPUHour": 2.5' in usage
    assert '"idlePreInitializedResourceUtilization": {"vCPUHour": 1.0' in usage  # 5 − 3 workers, half an hour


def test_history_survives_and_what_was_active_has_failed(service: Service) -> None:
    application = service.started(tags={"team": "data"})
    done, active = service.running(application), service.running(application, mode="STREAMING")
    service.starter.end(done, SUCCEEDED)
    service.pass_time(100)
    service.close()
    service.open()
    restored = service.applications.get(application.id)
    assert (restored.state, restored.tags) == ("STOPPED", {"team": "data"})
    assert service.runs.get(restored, done.id) == done
    after = service.runs.get(restored, active.id)
    assert (after.state, after.attempt.details) == ("FAILED", "The local endpoint ended before the job run did.")
    repeated = service.applications.create({"releaseLabel": "emr-7.9.0", "type": "SPARK", "clientToken": "0",
                                            "tags": {"team": "data"}})  # fmt: skip
    assert repeated.id == application.id
    service.running(restored_started(service, restored))


def restored_started(service: Service, application: Application) -> Application:
    service.applications.start(application)
    service.pass_time(10)
    return application
