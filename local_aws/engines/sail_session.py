"""What PySpark programs expect of a session and Spark Connect does not have: a small SparkContext, `with`, a master.

sail_program.py runs this by its path, in the process of the program. RDDs are not here: who asks for one is told to use
Apache Spark.
"""

# The names are PySpark's, and documented there.
# ruff: noqa: ARG001, ARG002, D102, N802, N803, N815

import os
import sys
import time
import types
from typing import Any

import pyspark
import pyspark.sql
import pyspark.sql.context
from pyspark.sql.connect.dataframe import DataFrame
from pyspark.sql.connect.session import SparkSession
from pyspark.sql.session import SparkSession as ClassicSession


class EngineError(NotImplementedError):
    """Something that only Apache Spark has."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} needs RDDs or Java, which Sail does not have: run it with --engine spark.")


class SparkContext:
    """The part of a SparkContext that needs neither RDDs nor Java."""

    master = "local[*]"
    pythonVer = f"{sys.version_info.major}.{sys.version_info.minor}"
    defaultParallelism = defaultMinPartitions = os.cpu_count() or 1
    uiWebUrl = None

    def __init__(self, master: object = None, appName: str | None = None, *_: object, conf: Any = None, **__: object):
        self._session: Any
        builder = ClassicSession.builder
        for key, value in conf.getAll() if conf else ():
            builder = builder.config(key, value)
        self._session = (builder.appName(appName) if appName else builder).getOrCreate()
        self.startTime = int(time.time() * 1000)

    @classmethod
    def getOrCreate(cls, conf: Any = None) -> "SparkContext":
        return cls(conf=conf)

    @classmethod
    def setSystemProperty(cls, key: str, value: str) -> None:
        """Without effect: there is no Java."""

    @property
    def version(self) -> str:
        return str(self._session.version)

    @property
    def appName(self) -> str:
        return str(self._session.conf.get("spark.app.name", "") or "")

    @property
    def applicationId(self) -> str:
        return f"local-{self._session.session_id}"

    def getConf(self) -> pyspark.SparkConf:
        return pyspark.SparkConf().setAll([("spark.app.name", self.appName), ("spark.master", self.master)])

    def sparkUser(self) -> str:
        return "hadoop"

    def _without_effect(self, *_: object, **__: object) -> None:
        """Set what has no meaning on one machine."""

    setLogLevel = setJobGroup = setJobDescription = setLocalProperty = setCheckpointDir = _without_effect
    addJobTag = removeJobTag = clearJobTags = setInterruptOnCancel = _without_effect

    def stop(self) -> None:
        self._session.stop()

    def __enter__(self) -> "SparkContext":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise EngineError(f"SparkContext.{name}")


def _context(session: SparkSession) -> SparkContext:
    context = object.__new__(SparkContext)
    context._session = session
    context.startTime = int(time.time() * 1000)
    return context


def _not_here(name: str) -> Any:
    if name in pyspark.__all__:
        raise EngineError(f"pyspark.{name}")
    raise AttributeError(f"module 'pyspark' has no attribute {name!r}")


def _no_rdd(_: DataFrame) -> Any:
    raise EngineError("DataFrame.rdd")


def _of_context(*arguments: Any, **_: Any) -> Any:
    """Return the session, where programs make an SQLContext or SparkSession of a SparkContext."""
    return ClassicSession.builder.getOrCreate()


def install(properties: dict[str, str]) -> None:
    """Add it all to PySpark.

    Args:
        properties: that the program was submitted with.
    """
    module: Any = types.ModuleType("pyspark.context")
    module.SparkContext = SparkContext
    sys.modules["pyspark.context"] = module
    spark: Any = pyspark
    spark.SparkContext, spark.__getattr__ = SparkContext, _not_here
    for each in (pyspark, pyspark.sql, pyspark.sql.context):
        each.SQLContext = each.HiveContext = _of_context  # type: ignore[attr-defined]
    classic: Any = ClassicSession
    classic.__new__ = lambda _, *arguments, **options: _of_context(*arguments, **options)
    classic.Builder._validate_startup_urls = lambda _: None  # which refuses a master beside a Connect server
    session: Any = SparkSession
    session.sparkContext = property(_context)
    # Of what a program was submitted with, PySpark gives the session spark.sql.… alone: a program may read the others.
    builder, apply = session.builder.__class__, session.builder.__class__._apply_options

    def apply_options(self: Any, made: Any) -> None:
        made.conf._set_all(configs=properties, silent=True)
        apply(self, made)

    builder._apply_options = apply_options
    session.newSession = lambda _: SparkSession.builder.create()
    session.__enter__ = lambda self: self
    session.__exit__ = lambda self, *_: self.stop()
    session.builder.__class__.enableHiveSupport = lambda self: self
    frame: Any = DataFrame
    frame.rdd = property(_no_rdd)
