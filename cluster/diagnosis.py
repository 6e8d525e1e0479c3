"""Why pods do not come up: read from what Kubernetes says of them, in words of which pod, why, and what to do."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cluster.kubectl import Kubectl
from console.errors import UserError

Object = dict[str, Any]

IMAGE_REASONS = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"}
LOG_LINES = 8
MAKE_IMAGE = "load it (make images on kind), or check IMAGE_REGISTRY and IMAGE_TAG"
MAKE_SECRET = "make secrets makes those that Airflow needs; then repeat the command"  # noqa: S105 - no secret
# What git says of a repository that is unavailable, and the remedy.
GIT_FAULTS = (
    (
        r"Permission denied \(publickey|Load key .*error in libcrypto|invalid format",
        "the Git host does not accept the SSH key: check the secret git-ssh-key (key gitSshKey, with its last newline)",
    ),
    (
        r"Host key verification failed",
        "the Git host's key is not in knownHosts: add what ssh-keyscan -p PORT HOST prints to dags.gitSync.knownHosts",
    ),
    (
        r"Authentication failed|could not read Username|HTTP Basic: Access denied|invalid credentials",
        "the Git host does not accept the name and password: check the secret git-credentials",
    ),
    (
        r"[Cc]ouldn't find remote ref|Remote branch .* not found|unknown revision|unable to resolve|invalid refspec",
        "the repository has no such branch or tag: check dags.gitSync.ref (on kind: make dags-push makes the branch)",
    ),
    (
        r"not found|does not appear to be a git repo|access denied or repository not exported|no such repository",
        "there is no such repository, or it may not be read: check dags.gitSync.repo (on kind: make dags-push)",
    ),
    (
        r"[Cc]ould not (resolve|connect)|unable to (look up|connect)|not known|refused|timed out|No route to host",
        "the Git host is out of reach: check dags.gitSync.repo, DNS, and the ports of networkPolicies (helm/platform)",
    ),
)


@dataclass(frozen=True)
class Problem:
    """What keeps a pod, or the controller that would make one, from being ready.

    Attributes:
        who: pod or controller.
        what: container and state, in one line.
        hint: what to do; empty where only the log shows it.
        unrecoverable: waiting longer changes nothing.
        log: container whose log explains it.
        previous: it is the log of the container's last, ended run.
    """

    who: str
    what: str
    hint: str = ""
    unrecoverable: bool = False
    log: str | None = None
    previous: bool = False


def pod_problems(pods: Iterable[Object]) -> list[Problem]:
    """Return what is wrong with pods that should be ready; causes before those who only wait for them."""
    problems = [problem for pod in _relevant(pods) for problem in _pod(pod)]
    return sorted(problems, key=lambda problem: (not problem.unrecoverable, not problem.log, problem.who))


def event_problems(events: Iterable[Object]) -> list[Problem]:
    """Return what keeps controllers from making pods, or pods from starting, from a namespace's warnings."""
    found: dict[tuple[str, str], Problem] = {}
    for event in sorted(events, key=_when):
        about = event.get("involvedObject") or {}
        reason, message = event.get("reason") or "", " ".join((event.get("message") or "").split())
        who = f"{about.get('kind', '?')} {about.get('name', '?')}"
        if reason == "FailedCreate" and "exceeded quota" in message:
            name = match[1] if (match := re.search(r"exceeded quota: ([\w.-]+)", message)) else "of the namespace"
            hint = f"the quota {name} is too small: raise it, or ask for less (kubectl describe resourcequota)"
            found[who, "quota"] = Problem(who, f"FailedCreate: {message}", hint, unrecoverable=True)
        elif reason == "FailedCreate" and "violates PodSecurity" in message:
            hint = "the namespace admits restricted pods only: give the pod the security context that the message names"
            found[who, "security"] = Problem(who, f"FailedCreate: {message}", hint, unrecoverable=True)
        elif reason == "FailedCreate":
            found[who, reason] = Problem(who, f"FailedCreate: {message}")
        elif reason == "FailedMount" and (match := re.search(r'(secret|configmap) "([^"]+)" not found', message)):
            hint = MAKE_SECRET if match[1] == "secret" else "deploy again: a release makes its config maps itself"
            found[who, reason] = Problem(
                who, f"FailedMount: {match[1]} {match[2]!r} not found", hint, unrecoverable=True
            )
        elif reason == "FailedMount":
            found[who, reason] = Problem(who, f"FailedMount: {message}")
    return list(found.values())


def waiting_for(pods: Iterable[Object]) -> str:
    """Return in one line which pods are not ready and what each does; empty if all are."""
    words = []
    for pod in _relevant(pods):
        if ready(pod):
            continue
        name, status = pod["metadata"]["name"], pod.get("status", {})
        words.append(f"{name} ({_doing(status)})")
    return ", ".join(words)


def ready(pod: Object) -> bool:
    """Return whether a pod does what it should: it is ready, or was to end and has ended well."""
    status = pod.get("status", {})
    if status.get("phase") == "Succeeded":
        return True
    return any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or [])


def is_task(pod: Object) -> bool:
    """Return whether a pod runs one task of Airflow's Kubernetes executor."""
    labels = pod["metadata"].get("labels") or {}
    return "task_id" in labels or "kubernetes_executor" in labels


def git_fault(log: str) -> str:
    """Return what to do about git-sync's failure, from its log; empty if it says nothing that is known."""
    return next((remedy for pattern, remedy in GIT_FAULTS if re.search(pattern, log)), "")


def explain(problems: Iterable[Problem], read_log: Callable[[str, str, bool], str]) -> str:
    """Return problems as text for people.

    Args:
        problems: to explain.
        read_log: gives the last lines of a pod's container; arguments are pod, container, previous run.
    """
    parts = []
    for problem in problems:
        lines, hint = [f"• {problem.who}: {problem.what}"], problem.hint
        if problem.log:
            log = read_log(problem.who, problem.log, problem.previous)
            lines += [f"    {line}" for line in log.strip().splitlines()[-LOG_LINES:]] or ["    (its log is empty)"]
            if problem.log.startswith("git-sync"):
                hint = git_fault(log) or hint
        if hint:
            lines.append(f"  → {hint}.")
        parts.append("\n".join(lines))
    return "\n".join(parts)


@dataclass(frozen=True)
class Look:
    """What a namespace holds at one moment."""

    pods: list[Object]
    problems: list[Problem]

    @property
    def unrecoverable(self) -> set[str]:
        """What waiting longer will not fix, each in one line."""
        return {f"{problem.who}: {problem.what}" for problem in self.problems if problem.unrecoverable}


def look(kubectl: Kubectl) -> Look:
    """Look at all of a namespace at once."""
    return read(kubectl.items("deployments,statefulsets,jobs,replicasets,pods,events"))


def read(objects: Iterable[Object]) -> Look:
    """Return pods and problems from the objects of a namespace: controllers, pods and events."""
    listed = list(objects)
    pods = [each for each in listed if each["kind"] == "Pod"]
    lacking = {(each["kind"], each["metadata"]["name"]) for each in listed if lacks_pods(each)}
    events = [
        each
        for each in listed
        if each["kind"] == "Event"
        and each.get("type") == "Warning"
        and (each["involvedObject"].get("kind"), each["involvedObject"].get("name")) in lacking
    ]
    return Look(pods, [*event_problems(events), *pod_problems(pods)])


def diagnose(kubectl: Kubectl) -> str:
    """Return why the namespace's pods are not ready, with events and last log lines; empty if nothing is wrong."""
    try:
        problems = look(kubectl).problems
    except UserError as error:
        return f"The reason cannot be found: {error}"

    def read_log(pod: str, container: str, previous: bool) -> str:
        words = ["logs", pod, "-c", container, f"--tail={LOG_LINES}", *(["--previous"] if previous else [])]
        result = kubectl.try_run(*words, seconds=30)
        return result.stdout if result.returncode == 0 else result.stderr

    return explain(problems, read_log)


def lacks_pods(thing: Object) -> bool:
    """Return whether a controller has fewer pods than it wants, or a pod has not started: its events still matter."""
    spec, status = thing.get("spec") or {}, thing.get("status") or {}
    if thing["kind"] == "Pod":
        return status.get("phase") == "Pending" and not is_task(thing)
    if thing["kind"] == "Job":
        return not status.get("succeeded") and not status.get("active")
    if thing["kind"] in ("ReplicaSet", "StatefulSet", "Deployment"):
        return int(status.get("replicas") or 0) < int(1 if spec.get("replicas") is None else spec["replicas"])
    return False


def _relevant(pods: Iterable[Object]) -> Iterator[Object]:
    """Yield the pods that matter: no task's, none that is ending, and of a job only what it has come to."""
    listed = [pod for pod in pods if not is_task(pod) and not pod["metadata"].get("deletionTimestamp")]
    jobs: dict[str, list[Object]] = {}
    for pod in listed:
        owner = next((each for each in pod["metadata"].get("ownerReferences") or [] if each["kind"] == "Job"), None)
        if owner is None:
            yield pod
        else:
            jobs.setdefault(owner["name"], []).append(pod)
    for tries in jobs.values():
        if not any(pod.get("status", {}).get("phase") == "Succeeded" for pod in tries):
            yield max(tries, key=lambda pod: str(pod["metadata"].get("creationTimestamp") or ""))


def _pod(pod: Object) -> Iterator[Problem]:
    if ready(pod):
        return
    name, status = pod["metadata"]["name"], pod.get("status", {})
    if status.get("reason") == "Evicted":
        yield Problem(name, f"Evicted: {status.get('message', '')}", "the node lacks memory or disk: make room on it")
        return
    if refused := _unscheduled(status):
        yield Problem(name, f"no node takes it: {refused}", _scheduling_hint(refused))
        return
    for init, key in ((True, "initContainerStatuses"), (False, "containerStatuses")):
        found = [problem for each in status.get(key) or [] if (problem := _container(name, each, init=init))]
        yield from found
        if found:
            return


def _container(pod: str, status: Object, *, init: bool) -> Problem | None:
    name, state, last = status["name"], status.get("state") or {}, status.get("lastState") or {}
    label = f"{'init container' if init else 'container'} {name}"
    if waiting := state.get("waiting"):
        reason, message = waiting.get("reason") or "", " ".join((waiting.get("message") or "").split())
        if reason in IMAGE_REASONS:
            return Problem(pod, f"{label}: {reason}: {status.get('image')}", MAKE_IMAGE, unrecoverable=True)
        if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
            secret = re.search(r'secret "[^"]*" not found|find key \S+ in Secret', message)
            return Problem(
                pod, f"{label}: {reason}: {message}", MAKE_SECRET if secret else "", unrecoverable=bool(secret)
            )
        if reason == "CrashLoopBackOff":
            ended = last.get("terminated") or {}
            # Only the first failures can be fixed by what it waits for, such as a database that is still starting.
            repeated = int(status.get("restartCount") or 0) >= 4
            return _ended(pod, label, name, ended, unrecoverable=repeated, previous=True)
        return None
    if (ended := state.get("terminated")) and ended.get("exitCode"):
        return _ended(pod, label, name, ended, unrecoverable=False, previous=False)
    if "running" in state and not init and not status.get("ready"):
        restarts = int(status.get("restartCount") or 0)
        again = f", {restarts} restart{'s' * (restarts != 1)}" if restarts else ""
        return Problem(pod, f"{label} runs, but is not ready{again}", log=name)
    if "running" in state and init and not status.get("ready") and int(status.get("restartCount") or 0):
        return Problem(pod, f"{label} has failed before and runs again", log=name)
    return None


def _ended(pod: str, label: str, name: str, ended: Object, *, unrecoverable: bool, previous: bool) -> Problem:
    if ended.get("reason") == "OOMKilled":
        hint = "it needs more memory than its limit: raise resources.limits.memory in the values"
        return Problem(
            pod, f"{label} was ended for its memory (OOMKilled)", hint, unrecoverable, log=name, previous=previous
        )
    code = ended.get("exitCode", "unknown")
    return Problem(pod, f"{label} ended with status {code}:", "", unrecoverable, log=name, previous=previous)


def _scheduling_hint(message: str) -> str:
    if "Insufficient" in message:
        return "the cluster has not enough free processors or memory: add a node, or lower requests in the values"
    if "PersistentVolumeClaim" in message or "volume" in message:
        return "its volume is not there: check the StorageClass (kubectl get storageclass,pvc)"
    return "kubectl describe node shows what nodes offer"


def _doing(status: Object) -> str:
    for key, word in (("initContainerStatuses", "init "), ("containerStatuses", "")):
        for each in status.get(key) or []:
            state = each.get("state") or {}
            if "waiting" in state:
                reason = state["waiting"].get("reason") or "waits"
                if reason in ("PodInitializing", "ContainerCreating"):
                    continue
                return f"{word}{each['name']}: {reason}"
            if "running" in state and not each.get("ready"):
                return f"{word}{each['name']} runs" if word else f"{each['name']} is not ready yet"
            if state.get("terminated", {}).get("exitCode"):
                return f"{word}{each['name']} failed"
    if refused := _unscheduled(status):
        return f"no node takes it: {refused.removesuffix('.')}"
    return str(status.get("phase") or "new").lower()


def _unscheduled(status: Object) -> str:
    """Return why no node takes a pod, without what the scheduler says of preemption; empty if one does."""
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            message = str(condition.get("message") or condition.get("reason") or "no reason is given")
            return re.split(r"\.? (?:no new claims|preemption:)", message)[0]
    return ""


def _when(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
