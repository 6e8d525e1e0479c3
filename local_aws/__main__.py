"""`python -m local_aws`: the command line of the endpoint."""

import argparse
import errno
import fcntl
import ipaddress
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO

from local_aws.context import REGION, Context
from local_aws.database import Database
from local_aws.engines import Engines, engine
from local_aws.execution import Limits, Runner
from local_aws.moto_backend import open_moto
from local_aws.server import Router, Server, listen
from local_aws.services import open_services

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


class _RefusedError(Exception):
    """The endpoint cannot start; the text is one clear sentence."""


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg]?)b?", text.strip().lower())
    if not match or float(match[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 6g or 800m")
    return int(float(match[1]) * _UNITS[match[2]])


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535; 0 takes any free one)")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 3600")
    return value


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local_aws",
        description="AWS on this machine: S3, Glue, Secrets Manager and so on by moto, and EMR that runs its steps.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--listen-beyond-loopback",
        action="store_true",
        help="allow a --host that other machines can reach; whoever reaches it can run programs here",
    )
    parser.add_argument("--port", type=_port, default=4566, help="port to listen on")
    parser.add_argument("--data", type=Path, default=Path(".local/aws"), help="folder of everything that is stored")
    parser.add_argument("--engine", choices=("sail", "spark"), default="sail", help="runs Spark programs")
    parser.add_argument("--spark-python", type=Path, help="python of an environment with PySpark, for --engine spark")
    parser.add_argument("--max-steps", type=_count, default=2, help="steps and job runs that run at once, all together")
    parser.add_argument("--step-memory", type=_size, default="6g", help="memory that one step or job run may use")
    parser.add_argument("--max-queries", type=_count, default=4, help="Athena queries that run at once")
    parser.add_argument("--query-memory", type=_size, default="4g", help="memory that one Athena query may use")
    parser.add_argument(
        "--state-seconds", type=_seconds, default=0.5, help="how long STARTING, BOOTSTRAPPING, TERMINATING take each"
    )
    parser.add_argument(
        "--running-seconds",
        type=_seconds,
        default=0.0,
        help="how long a cluster is at least RUNNING or WAITING before it ends by itself",
    )
    parser.add_argument(
        "--grace-seconds", type=_seconds, default=10.0, help="from SIGTERM to SIGKILL for a step that is cancelled"
    )
    parser.add_argument(
        "--allow-reset",
        action="store_true",
        help="let POST /_local_aws/reset end and delete everything, for tests; needs an empty --data, and loopback",
    )
    return parser.parse_args(arguments)


def _check_host(host: str, beyond_loopback: bool, allow_reset: bool) -> None:
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise _RefusedError(f"--host {host!r} is not an IP address.") from None
    if not loopback and allow_reset:
        raise _RefusedError(f"--allow-reset lets everybody who reaches --host {host} delete everything: use loopback.")
    if not loopback and not beyond_loopback:
        raise _RefusedError(
            f"--host {host} can be reached by other machines, and there is no password: "
            "add --listen-beyond-loopback if you want that."
        )


def _lock(data: Path) -> IO[str]:
    """Lock the data folder for this process; the lock is released when it ends."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        file = (data / "lock").open("a+")
    except OSError as error:
        raise _RefusedError(f"The data folder {data} cannot be used: {error.strerror}.") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        owner = file.read().strip()
        raise _RefusedError(
            f"The data folder {data} is in use by another local_aws (process {owner}): "
            "stop that one, or choose another folder with --data."
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _mark(data: Path, allow_reset: bool) -> None:
    """Let a reset delete only what was stored by endpoints that allow it."""
    mark = data / "may-be-reset"
    if not allow_reset:
        mark.unlink(missing_ok=True)
    elif (data / "state.db").exists() and not mark.exists():
        raise _RefusedError(
            f"The data folder {data} has what was stored without --allow-reset, which a reset would delete: "
            "choose an empty folder with --data."
        )
    else:
        mark.touch()


def _serve(arguments: argparse.Namespace) -> None:
    _check_host(arguments.host, arguments.listen_beyond_loopback, arguments.allow_reset)
    data = arguments.data.absolute()
    try:
        spark = engine(arguments.engine, spark_python=arguments.spark_python)
    except ValueError as error:
        raise _RefusedError(str(error)) from None
    lock = _lock(data)
    _mark(data, arguments.allow_reset)
    try:
        listener = listen(arguments.host, arguments.port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _RefusedError(
                f"Port {arguments.port} on {arguments.host} is in use by another program: "
                "stop that one, or choose another port with --port."
            ) from None
        raise _RefusedError(f"Cannot listen on {arguments.host} port {arguments.port}: {error.strerror}.") from None
    port = listener.getsockname()[1]
    here = "127.0.0.1" if arguments.host in ("0.0.0.0", "::", "localhost") else arguments.host  # noqa: S104
    endpoint = f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"

    # A pipe: a signal just before the wait for a lock begins would not end that wait.
    signal_pipe, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    scratch = data / "tmp"  # for request bodies; /tmp may be small, or in memory
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    tempfile.tempdir = str(scratch)
    database = Database(data / "state.db")
    limits = Limits(programs=arguments.max_steps, memory=arguments.step_memory, grace_s=arguments.grace_seconds)
    runner = Runner(endpoint, REGION, limits)
    engines = Engines(spark, spark_python=arguments.spark_python)
    moto, s3, forget = open_moto(data, database)
    context = Context(
        data=data,
        database=database,
        engines=engines,
        runner=runner,
        moto=moto,
        s3=s3,
        state_s=arguments.state_seconds,
        running_s=arguments.running_seconds,
        query_memory=arguments.query_memory,
        max_queries=arguments.max_queries,
    )
    services = open_services(context)
    resetting = threading.Lock()

    def reset() -> None:
        with resetting:
            for service in services.values():
                service.close()
            database.clear()
            forget()
            for name in ("emr", "emr-serverless"):  # logs that are not on S3
                shutil.rmtree(data / name, ignore_errors=True)
            services.update(open_services(context))

    health = {"status": "ok", "endpoint": endpoint, "engine": spark.name, "services": ["moto", *services]}
    server = Server(listener, Router(services, moto, health, reset if arguments.allow_reset else None))
    server.start()
    threading.Thread(target=spark.warm, name="warm", daemon=True).start()
    name = {"sail": "Sail", "spark": "Apache Spark"}[spark.name]
    print(  # noqa: T201
        f"AWS on this machine: {endpoint} (S3, Glue, Secrets Manager, SNS, SQS, …; EMR runs steps on {name}); "
        f"data in {arguments.data}; Ctrl-C ends it.",
        flush=True,
    )
    os.read(signal_pipe, 1)
    for service in services.values():
        service.close()
    server.close()
    engines.close()
    database.close()
    lock.close()


def main(arguments: list[str] | None = None) -> int:
    """Run the endpoint until SIGTERM or Ctrl-C; return the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns about every request that waits for a thread
    try:
        _serve(_arguments(arguments))
    except _RefusedError as error:
        print(f"local_aws: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
