"""The two candidates: gradient-boosted trees of LightGBM and of Spark ML, both as texts that LightGBM serves.

Both learn what is to be added to ``expected_wait_s``. An absolute error is least with a median, and waits have a long
tail: LightGBM learns the median and the 90th percentile themselves, the latter over a base that rises with the live
waits of the city, so that it holds in months in which everybody waits longer than in those that were learnt. Spark ML's
trees learn means, so they learn from errors cut at ``CUT_S`` and are then shifted to the median; their 90th percentile
is the same plus a constant, the conformal offset of the validation month. LightGBM's needs none, and one month's does
not carry over to the next (benchmarks/eta_model.py), so it learns ``PERCENTILE``, which covers 90 % of unseen months.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spark_jobs.common import tables
from spark_jobs.eta import model, store, trees
from spark_jobs.eta.features import NAMES
from spark_jobs.eta.trees import Node

CANDIDATES = ("spark-ml", "lightgbm")
CUT_S = 400
PERCENTILE = 0.903
P90_ADDED = ("expected_wait_s", "live_city_20_excess_s")
LIGHTGBM: dict[str, Any] = {
    "learning_rate": 0.06,
    "num_leaves": 31,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}
LIGHTGBM_TREES = 80
SPARK_ML: dict[str, Any] = {
    "maxIter": 25,
    "maxDepth": 5,
    "stepSize": 0.2,
    "maxBins": 64,
    "minInstancesPerNode": 50,
    "seed": 1,
}


@dataclass(frozen=True)
class Trees:
    """A trained candidate.

    Attributes:
        p50, p90: LightGBM's texts.
        importance: share of each feature in the gain, in the order of ``NAMES``; their sum is 1.
        p90_added: features that are added to the trees of the 90th percentile.
        calibrated: the 90th percentile needs no offset.
    """

    p50: str
    p90: str
    importance: tuple[float, ...]
    p90_added: tuple[str, ...] = ("expected_wait_s",)
    calibrated: bool = False


def train(name: str, spark: SparkSession, folder: store.Folder, months: Sequence[str]) -> Trees:
    """Train a candidate.

    Args:
        name: of ``CANDIDATES``.
        spark: session.
        folder: has the rows of :func:`spark_jobs.eta.frames.with_features` of each month.
        months: names of its tables to learn from.

    Raises:
        ModelError: LightGBM is missing.
    """
    if name == "lightgbm":
        return with_lightgbm(folder, months)
    frames = [tables.read(spark, f"{folder.place}/{month}") for month in months]
    return with_spark_ml(reduce(DataFrame.unionByName, frames))


def with_lightgbm(folder: store.Folder, months: Sequence[str]) -> Trees:
    """Train with LightGBM; arguments as of :func:`train`."""
    library = model.lightgbm()
    features, wait_s = store.learning_rows(folder, months)
    expected, excess = (features[:, NAMES.index(name)].copy() for name in P90_ADDED)
    data = library.Dataset(features, wait_s - expected, feature_name=list(NAMES), params=LIGHTGBM).construct()
    del features  # a byte a number is kept
    median = library.train(LIGHTGBM | {"objective": "regression_l1"}, data.set_label(wait_s - expected), LIGHTGBM_TREES)
    bound = library.train(
        LIGHTGBM | {"objective": "quantile", "alpha": PERCENTILE},
        data.set_label(wait_s - expected - excess),
        LIGHTGBM_TREES,
    )
    gain = median.feature_importance("gain")
    importance = tuple(map(float, gain / max(gain.sum(), 1e-9)))
    return Trees(median.model_to_string(), bound.model_to_string(), importance, P90_ADDED, calibrated=True)


def with_spark_ml(rows: DataFrame) -> Trees:
    """Train with Spark ML.

    Args:
        rows: of :func:`spark_jobs.eta.frames.with_features`.
    """
    fitted = fit_spark_ml(rows)
    error = F.col("wait_s") - F.col("expected_wait_s") - F.col("prediction")
    # Exact enough: to a thousandth of the rows.
    shift = fitted.transform(assembled(rows)).select(error.alias("error")).approxQuantile("error", [0.5], 0.001)[0]
    text = trees.text(ensemble(fitted), NAMES, shift)
    return Trees(text, text, tuple(map(float, fitted.featureImportances.toArray())))


def fit_spark_ml(rows: DataFrame) -> Any:
    """Return Spark ML's model of the errors of ``expected_wait_s``, a ``GBTRegressionModel``."""
    from pyspark.ml.regression import GBTRegressor

    label = F.greatest(F.lit(-CUT_S), F.least(F.lit(CUT_S), F.col("wait_s") - F.col("expected_wait_s")))
    learner = GBTRegressor(featuresCol="features", labelCol="label", **SPARK_ML)
    return learner.fit(assembled(rows).withColumn("label", label).select("features", "label"))


def assembled(rows: DataFrame) -> DataFrame:
    """Return rows with their features as a vector, ``features``."""
    from pyspark.ml.feature import VectorAssembler

    return VectorAssembler(inputCols=list(NAMES), outputCol="features").transform(rows)


def ensemble(fitted: Any) -> list[tuple[float, dict[int, Node]]]:
    """Return the trees of Spark ML's model: weight, and nodes by id."""
    found: list[tuple[float, dict[int, Node]]] = []
    for tree, weight in zip(fitted.trees, fitted.treeWeights, strict=True):
        nodes: dict[int, Node] = {}
        _collect(tree._java_obj.rootNode(), nodes)
        found.append((weight, nodes))
    return found


def _collect(java: Any, nodes: dict[int, Node]) -> int:
    id_ = len(nodes)
    prediction = java.prediction()
    nodes[id_] = Node(prediction, -1, -1, 0, 0.0)
    if java.subtreeDepth() > 0:
        split = java.split()
        left, right = _collect(java.leftChild(), nodes), _collect(java.rightChild(), nodes)
        nodes[id_] = Node(prediction, left, right, split.featureIndex(), split.threshold())
    return id_
