"""A broker that is a process of this one: prepared once a folder, started, waited for, ended."""

import base64
import contextlib
import fcntl
import subprocess
import uuid
from pathlib import Path
from typing import IO, Self

from console.errors import UserError
from console.ports import free_port, require_free
from console.processes import run_program, start_program
from local_kafka.topics import wait_for_broker

_HERE = Path(__file__).parent
_JARS = _HERE / "jars.sha256"
_LOGGING = _HERE / "log4j2.properties"
START_S = 120  # on a busy machine; what has ended is not waited for
GRACE_S = 10
RETENTION_BYTES = 256 << 20  # of a partition

# One node, so one copy of everything; what is read again soon, so small segments, kept by size.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
log.retention.bytes={retention}
log.segment.bytes={segment}
log.retention.check.interval.ms=30000
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=4194304
num.network.threads=2
num.io.threads=4
"""


class Broker:
    """Apache Kafka on 127.0.0.1.

    It ends with this process, also where this process is killed (on Linux). Its log is ``kafka.log`` in its folder.

    Args:
        folder: of its data, which it finds again; one broker a folder.
        port: to listen on; 0 takes any free one.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / "kafka.log"
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before the first start if any was to be taken."""
        return self._port

    @property
    def bootstrap(self) -> str:
        """Its address, as clients take it."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """Its process, None where it has ended."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and return once it answers. The first start on a machine downloads Kafka (43 MB).

        Raises:
            UserError: the port is taken, the folder is another broker's or cannot be written, Kafka cannot be
                downloaded, or it did not start.
        """
        self._port = self._port or free_port()
        require_free(self._port, "KAFKA_PORT", "Kafka")
        java, jars = runtime()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._hold()
            config = self.folder / "server.properties"
            config.write_text(
                _PROPERTIES.format(
                    port=self._port,
                    controller=free_port(),
                    data=self.folder / "data",
                    retention=RETENTION_BYTES,
                    segment=RETENTION_BYTES // 4,
                )
            )
            command = [
                str(java), "-Xmx256m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError",
                f"-Dlog4j2.configurationFile={_LOGGING.as_uri()}", "-cp", ":".join(map(str, jars)),
            ]  # fmt: skip
            with self.log.open("wb") as log:
                if not (self.folder / "data" / "meta.properties").is_file():
                    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
                    # Joined, because one in 64 begins with a dash, which would be taken for an option.
                    arguments = ["format", f"--cluster-id={cluster}", "--config", str(config)]
                    prepared = run_program([*command, "kafka.tools.StorageTool", *arguments], stdout=log, stderr=log)
                    if prepared.returncode:
                        raise UserError(f"Kafka could not prepare {self.folder}: {self._reason()}")
                # In a session of its own, so that Ctrl-C at a terminal reaches the process that ends it in order.
                self._process = start_program(
                    [*command, "kafka.Kafka", str(config)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            wait_for_broker(self.bootstrap, START_S, self.require_alive)
        except OSError as error:
            self.stop()
            raise UserError(
                f"The folder {self.folder} cannot be used for Kafka ({error.strerror}): choose another one."
            ) from None
        except BaseException:
            self.stop()
            raise

    def _hold(self) -> None:
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise UserError(f"Another Kafka runs on the folder {self.folder}: end it, or choose another one.") from None

    def require_alive(self) -> None:
        """Raise UserError, with the reason, where it has ended."""
        status = self._process.poll() if self._process else None
        if not self._process or status is not None:
            raise UserError(f"Kafka has ended with status {status}: {self._reason()}")

    def stop(self, grace_s: float = GRACE_S) -> None:
        """End it in order, and after some seconds by SIGKILL; 0 kills it at once. What it stored stays."""
        if self._process:
            if grace_s:
                self._process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(grace_s)
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._lock:
            self._lock.close()
            self._lock = None

    def _reason(self) -> str:
        text = self.log.read_text(errors="replace") if self.log.is_file() else ""
        if "No space left on device" in text:
            return (
                f"the disk that holds {self.folder} is full: free some space and start it again, it goes on from there."
            )
        faults = [line for line in text.splitlines() if " ERROR " in line or "Exception" in line]
        last = (faults or text.strip().splitlines() or ["it gave no reason"])[-1]
        return f"{last.strip()} (see {self.log})."


def runtime() -> tuple[Path, list[Path]]:
    """Return a Java and Kafka's jars; the first call on a machine downloads them.

    Raises:
        UserError: there is no Java, or the jars cannot be downloaded.
    """
    # Not above: topics are created from places that have neither Java nor Spark.
    from local_aws.engines.spark import SparkEngine
    from local_aws.engines.spark_environment import spark_python
    from local_aws.engines.spark_jars import listed_jars
    from local_aws.execution import LaunchError

    again = "python -m local_kafka fetch"
    try:
        engine = SparkEngine(spark_python())
        return engine.java, listed_jars(_JARS, engine.java, engine.own_jars, needed="which Kafka needs", again=again)
    except (LaunchError, ValueError) as error:
        raise UserError(str(error)) from None
