"""The operations of the EMR Serverless API, as the SDKs call them."""

import base64
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import TypeVar
from urllib.parse import parse_qs

from local_aws.emr_serverless import dashboard
from local_aws.emr_serverless.applications import Applications, invalid
from local_aws.emr_serverless.job_runs import JobRuns
from local_aws.emr_serverless.model import Application, Attempt, Document, JobRun
from local_aws.emr_serverless.programs import JobStarter
from local_aws.protocols.errors import AwsError
from local_aws.protocols.rest_json import RestJsonService
from local_aws.protocols.wsgi import Environ, Response, StartResponse, response

_PAGE = 50  # entries of a list in one response

Record = TypeVar("Record")


class EmrServerless(RestJsonService):
    """EMR Serverless, for job runs on this machine; sessions and Hive are not offered."""

    service = "emr-serverless"

    def __init__(self, applications: Applications, runs: JobRuns, starter: JobStarter, endpoint: str) -> None:
        """Answer for these.

        Args:
            applications: all applications.
            runs: all job runs.
            starter: knows where their logs are.
            endpoint: the URL under which dashboards are found.
        """
        self._applications = applications
        self._runs = runs
        self._starter = starter
        self._endpoint = endpoint

    def close(self) -> None:
        """End every job run and application."""
        self._runs.close()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request: of the API, or for a dashboard."""
        if environ["PATH_INFO"].startswith(dashboard.PREFIX):
            return self._dashboard(environ).send(start_response)
        return super().__call__(environ, start_response)

    def _dashboard(self, environ: Environ) -> Response:
        parts = environ["PATH_INFO"].removeprefix(dashboard.PREFIX).strip("/").split("/")
        number = parse_qs(environ.get("QUERY_STRING", "")).get("attempt", [""])[0]
        try:
            with self._applications.lock:
                application, now = self._applications.get(parts[1] if len(parts) > 1 else ""), self._runs.now()
                if len(parts) < 4:
                    return dashboard.application_usage(application, self._runs.of(application), now)
                run = self._runs.get(application, parts[3])
                attempt = _attempt(run, int(number) if number.isdecimal() else None)
            logs = [self._starter.tail(application, run, attempt, name) for name in ("stdout", "stderr")]
            return dashboard.page(application, run, attempt, now, *logs)
        except AwsError as error:
            return response("404 Not Found", "text/plain; charset=utf-8", error.message.encode())

    # Applications

    def create_application(self, request: Document) -> Document:
        """Create an application."""
        application = self._applications.create(request)
        self._runs.wake()
        return {"applicationId": application.id, "name": application.name, "arn": application.arn}

    def get_application(self, request: Document) -> Document:
        """Describe an application."""
        with self._applications.lock:
            return {"application": self._applications.get(request["applicationId"]).description()}

    def list_applications(self, request: Document) -> Document:
        """List applications, newest first."""
        states = request.get("states")
        with self._applications.lock:
            found = [
                ([-place], application)
                for place, application in enumerate(self._applications.all.values())
                if not states or application.state in states
            ]
            page, token = _page(found, request)
            return {"applications": [application.summary() for application in page], "nextToken": token}

    def update_application(self, request: Document) -> Document:
        """Change an application that is not started."""
        with self._applications.lock:
            application = self._applications.get(request["applicationId"])
            self._applications.update(application, request)
            return {"application": application.description()}

    def start_application(self, request: Document) -> Document:
        """Start an application."""
        with self._applications.lock:
            self._applications.start(self._applications.get(request["applicationId"]))
            self._runs.wake()
        return {}

    def stop_application(self, request: Document) -> Document:
        """Stop an application that runs nothing."""
        with self._applications.lock:
            application = self._applications.get(request["applicationId"])
            self._require_no_runs(application, "stopped")
            self._applications.stop(application)
            self._runs.wake()
        return {}

    def delete_application(self, request: Document) -> Document:
        """Delete an application that is not started."""
        with self._applications.lock:
            application = self._applications.get(request["applicationId"])
            self._require_no_runs(application, "deleted")
            self._applications.delete(application)
        return {}

    def _require_no_runs(self, application: Application, changed: str) -> None:
        if active := self._runs.active(application):
            raise invalid(
                f"Application {application.id} cannot be {changed}: all its job runs must be completed or cancelled,"
                f" and {len(active)} of them (such as {active[0].id}, {active[0].state}) are not."
            )

    # Job runs

    def start_job_run(self, request: Document) -> Document:
        """Submit a job run."""
        with self._applications.lock:
            run = self._runs.submit(self._applications.get(request["applicationId"]), request)
        return {"applicationId": run.application_id, "jobRunId": run.id, "arn": run.arn}

    def get_job_run(self, request: Document) -> Document:
        """Describe a job run, or one of its attempts."""
        with self._applications.lock:
            application, run = self._run(request)
            attempt = _attempt(run, request.get("attempt"))
            return {"jobRun": run.description(application, self._runs.now(), attempt)}

    def list_job_runs(self, request: Document) -> Document:
        """List the job runs of an application, newest first; grouped by state if several are asked for."""
        states, mode = request.get("states"), request.get("mode")
        after, before = request.get("createdAtAfter", 0), request.get("createdAtBefore", float("inf"))
        with self._applications.lock:
            found = [
                ([states.index(run.state) if states else 0, -place], run)
                for place, run in enumerate(self._runs.of(self._applications.get(request["applicationId"])))
                if (not states or run.state in states) and mode in (None, run.mode) and after <= run.created <= before
            ]
            page, token = _page(found, request)
            return {"jobRuns": [run.summary() for run in page], "nextToken": token}

    def list_job_run_attempts(self, request: Document) -> Document:
        """List the attempts of a job run, newest first."""
        with self._applications.lock:
            _, run = self._run(request)
            page, token = _page([([-attempt.number], attempt) for attempt in run.attempts], request)
            return {"jobRunAttempts": [run.attempt_summary(attempt) for attempt in page], "nextToken": token}

    def cancel_job_run(self, request: Document) -> Document:
        """Cancel a job run that has not ended."""
        with self._applications.lock:
            _, run = self._run(request)
            self._runs.cancel(run, request.get("shutdownGracePeriodInSeconds"))
        return {"applicationId": run.application_id, "jobRunId": run.id}

    def get_dashboard_for_job_run(self, request: Document) -> Document:
        """Return the address of a page about a job run."""
        with self._applications.lock:
            _, run = self._run(request)
            return {"url": self._endpoint + dashboard.path(run, _attempt(run, request.get("attempt")))}

    # Tags

    def list_tags_for_resource(self, request: Document) -> Document:
        """List the tags of an application or a job run."""
        with self._applications.lock:
            return {"tags": self._resource(request["resourceArn"]).tags}

    def tag_resource(self, request: Document) -> Document:
        """Add tags to an application or a job run."""
        with self._applications.lock:
            resource = self._resource(request["resourceArn"])
            tags = resource.tags | request["tags"]
            if len(tags) > 200:
                raise invalid(f"A resource can have 200 tags, not {len(tags)}.")
            self._set_tags(resource, tags)
        return {}

    def untag_resource(self, request: Document) -> Document:
        """Remove tags from an application or a job run."""
        with self._applications.lock:
            resource = self._resource(request["resourceArn"])
            self._set_tags(
                resource, {key: value for key, value in resource.tags.items() if key not in request["tagKeys"]}
            )
        return {}

    def _set_tags(self, resource: Application | JobRun, tags: dict[str, str]) -> None:
        if isinstance(resource, JobRun):
            self._runs.set_tags(resource, tags)
        else:
            self._applications.set_tags(resource, tags)

    # Lookups

    def _run(self, request: Document) -> tuple[Application, JobRun]:
        application = self._applications.get(request["applicationId"])
        return application, self._runs.get(application, request["jobRunId"])

    def _resource(self, arn: str) -> Application | JobRun:
        parts = arn.split("/")  # …:/applications/<id> or …:/applications/<id>/jobruns/<id>
        application = self._applications.get(parts[2])
        resource = application if len(parts) == 3 else self._runs.get(application, parts[-1])
        if resource.arn != arn:
            raise AwsError("ResourceNotFoundException", f"Resource {arn} does not exist", 404)
        return resource


def _attempt(run: JobRun, number: int | None) -> Attempt:
    if number is None:
        return run.attempt
    if not 1 <= number <= len(run.attempts):
        raise AwsError("ResourceNotFoundException", f"Attempt {number} of JobRun {run.id} does not exist", 404)
    return run.attempts[number - 1]


def _page(records: Iterable[tuple[Sequence[int], Record]], request: Document) -> tuple[list[Record], str | None]:
    """Return the page that a request asks for by maxResults and nextToken, and the token of the next page.

    Args:
        records: with the key by which each is sorted; a token is a key, so that it is good for a list that changes.
        request: of a list.
    """
    size, after = request.get("maxResults", _PAGE), None
    if token := request.get("nextToken"):
        try:
            after = [int(part) for part in base64.urlsafe_b64decode(token).decode("ascii").split()]
        except ValueError:  # binascii's and Unicode's errors are such
            raise invalid("Invalid nextToken.") from None
    rest = sorted(((list(key), record) for key, record in records), key=itemgetter(0))
    page = [(key, record) for key, record in rest if after is None or key > after][: size + 1]
    last = " ".join(map(str, page[size - 1][0])) if len(page) > size else None
    return [record for _, record in page[:size]], last and base64.urlsafe_b64encode(last.encode()).decode()
