"""What is output of pods that do not come up."""

from typing import Any

from cluster import diagnosis
from cluster.diagnosis import explain, git_fault, pod_problems, read, waiting_for
from tests.cluster.kubernetes import event, pod, running, waiting, well


def explained(*pods: dict[str, Any], log: str = "") -> str:
    return explain(pod_problems(pods), lambda *_: log)


def test_nothing_is_reported_of_what_is_well() -> None:
    done = pod("job-1", phase="Succeeded")
    assert explained(well("a"), done) == ""
    assert waiting_for([well("a"), done]) == ""


def test_an_image_that_is_not_there() -> None:
    for reason in ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"):
        output = explained(pod("scheduler-1", containers=[waiting("scheduler", reason, image="taxiway/airflow:gone")]))
        assert "scheduler-1: container scheduler" in output
        assert f"{reason}: taxiway/airflow:gone" in output
        assert "IMAGE_TAG" in output


def test_a_missing_secret_and_a_missing_key() -> None:
    for message in ('secret "airflow-fernet-key" not found', "couldn't find key fernet-key in Secret taxiway/x"):
        problems = pod_problems([pod("p", containers=[waiting("c", "CreateContainerConfigError", message)])])
        assert message in problems[0].what
        assert "make secrets" in problems[0].hint
        assert problems[0].unrecoverable


def test_a_failing_init_container_is_shown_with_its_log_and_what_to_do() -> None:
    ended = {"exitCode": 128}
    broken = pod(
        "airflow-worker-1",
        init=[waiting("git-sync-init", "CrashLoopBackOff", restarts=5, ended=ended)],
        containers=[waiting("worker", "PodInitializing")],
    )
    log = "git@host: Permission denied (publickey).\nfatal: Could not read from remote repository."
    output = explained(broken, log=log)
    assert "init container git-sync-init ended with status 128" in output
    assert "Permission denied (publickey)" in output
    assert "→ the Git host does not accept the SSH key: check the secret git-ssh-key" in output
    assert "container worker" not in output, "it only waits"
    assert pod_problems([broken])[0].unrecoverable


def test_the_faults_of_git_have_their_remedies() -> None:
    unknown = git_fault("Host key verification failed.\nfatal: Could not read from remote repository.")
    assert "ssh-keyscan -p PORT HOST prints to dags.gitSync.knownHosts" in unknown
    timed_out = git_fault("ssh: connect to host git.example.org port 7999: Connection timed out")
    assert "ports of networkPolicies (helm/platform)" in timed_out
    assert "is out of reach" in git_fault("ssh: Could not resolve hostname git.example.com")
    assert "is out of reach" in git_fault("fatal: unable to connect to git-server: Connection refused")
    assert "git-credentials" in git_fault("fatal: Authentication failed for 'https://example.com/r.git/'")
    assert "dags.gitSync.ref" in git_fault("fatal: couldn't find remote ref main")
    assert "dags.gitSync.repo" in git_fault("remote: Repository not found.")
    assert git_fault("something else") == ""


def test_memory_and_crashes() -> None:
    killed = {"exitCode": 137, "reason": "OOMKilled"}
    output = explained(pod("p", containers=[waiting("c", "CrashLoopBackOff", restarts=1, ended=killed)]))
    assert "OOMKilled" in output
    assert "resources.limits.memory" in output
    problem = pod_problems([pod("p", containers=[waiting("c", "CrashLoopBackOff", restarts=1, ended={"exitCode": 1})])])
    assert problem[0].previous, "the log of the run that failed"
    assert not problem[0].unrecoverable, "a database that starts meanwhile fixes it"


def test_no_room_on_the_node() -> None:
    message = (
        "0/1 nodes are available: 1 Insufficient memory. no new claims to deallocate, preemption: 0/1 nodes are "
        "available: 1 No preemption victims found for incoming pod."
    )
    crowded = pod("p", phase="Pending", conditions=[{"type": "PodScheduled", "status": "False", "message": message}])
    output = explained(crowded)
    assert "no node takes it: 0/1 nodes are available: 1 Insufficient memory\n" in output
    assert "lower requests" in output
    assert waiting_for([crowded]) == "p (no node takes it: 0/1 nodes are available: 1 Insufficient memory)"


def test_causes_come_before_those_who_wait() -> None:
    migrating = pod("a-waits", init=[running("wait-for-airflow-migrations")])
    broken = pod("z-breaks", containers=[waiting("c", "ErrImagePull")])
    unready = pod("m-slow", containers=[running("c")], phase="Running")
    assert [problem.who for problem in pod_problems([migrating, unready, broken])] == ["z-breaks", "m-slow"]
    assert "a-waits (init wait-for-airflow-migrations runs)" in waiting_for([migrating])


def test_pods_of_tasks_and_failures_that_were_made_good_do_not_count() -> None:
    task = pod("t", containers=[waiting("base", "ErrImagePull")], labels={"task_id": "x"})
    first = pod(
        "job-1", phase="Failed", containers=[{"name": "c", "state": {"terminated": {"exitCode": 1}}}], owner="j"
    )
    assert explained(task) == ""
    assert "status 1" in explained(first)
    assert explained(first, pod("job-2", phase="Succeeded", owner="j", created="2")) == ""


def controller(kind: str, name: str, wanted: int, there: int) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name}, "spec": {"replicas": wanted}, "status": {"replicas": there}}


QUOTA = 'pods "airflow-worker-x" is forbidden: exceeded quota: taxiway, requested: limits.memory=4Gi, used: …'


def test_a_quota_that_is_too_small() -> None:
    look = read([controller("ReplicaSet", "worker-5", 1, 0), event("ReplicaSet", "worker-5", "FailedCreate", QUOTA)])
    assert look.unrecoverable
    assert "the quota taxiway is too small" in look.problems[0].hint


def test_events_of_what_is_there_by_now_are_old_news() -> None:
    assert not read([controller("ReplicaSet", "w", 1, 1), event("ReplicaSet", "w", "FailedCreate", QUOTA)]).problems
    assert not read([event("ReplicaSet", "gone", "FailedCreate", QUOTA)]).problems
    normal = {**event("ReplicaSet", "w", "FailedCreate", QUOTA), "type": "Normal"}
    assert not read([controller("ReplicaSet", "w", 1, 0), normal]).problems


def test_a_pod_that_is_not_restricted() -> None:
    message = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'
    found = read([controller("StatefulSet", "db", 1, 0), event("StatefulSet", "db", "FailedCreate", message)])
    assert "runAsNonRoot" in found.problems[0].what
    assert "restricted" in found.problems[0].hint


def test_a_volume_of_a_missing_secret() -> None:
    message = 'MountVolume.SetUp failed for volume "k" : secret "git-ssh-key" not found'
    found = read([pod("p", containers=[waiting("c", "ContainerCreating")]), event("Pod", "p", "FailedMount", message)])
    assert "secret 'git-ssh-key' not found" in found.problems[0].what
    assert found.problems[0].hint == diagnosis.MAKE_SECRET
