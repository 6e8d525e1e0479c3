"""The two candidates: gradient-boosted trees of LightGBM and of Spark ML, both as texts that LightGBM serves.

Both learn what is to be added to ``expected_wait_s``. An absolute error is least with a median, and waits have a long
tail: LightGBM learns the median and the 90th percentile themselves. Spark ML's trees learn means, so they learn from
errors cut at ``CUT_S``, are then shifted to the median, and the 90th percentile is the same plus a constant.
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
LIGHTGBM_TREES = 150
SPARK_ML: dict[str, Any] = {
    "maxIter": 40,
    "maxDepth": 5,
    "stepSize": 0.15,
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
    """

    p50: str
    p90: str
    importance: tuple[float, ...]


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
        return with_lightgbm(*store.learning_rows(folder, list(months)))
    frames = [tables.read(spark, f"{folder.place}/{month}") for month in months]
    return with_spark_ml(reduce(DataFrame.unionByName, frames))


def with_lightgbm(features: Any, wait_s: Any) -> Trees:
    """Train with LightGBM.

    Args:
        features: (rows, ``len(NAMES)``); binned, and not kept.
        wait_s: seconds.
    """
    library = model.lightgbm()
    label = wait_s - features[:, model.EXPECTED]
    data = library.Dataset(features, label, feature_name=list(NAMES), params={"verbose": -1})
    median, bound = (
        library.train(LIGHTGBM | objective, data, LIGHTGBM_TREES)
        for objective in ({"objective": "regression_l1"}, {"objective": "quantile", "alpha": 0.9})
    )
    gain = median.feature_importance("gain")
    return Trees(median.model_to_string(), bound.model_to_string(), tuple(map(float, gain / max(gain.sum(), 1e-9))))


def with_spark_ml(rows: DataFrame) -> Trees:
    """Train with Spark ML.

    Args:
        rows: of :func:`spark_jobs.eta.frames.with_features`.
    """
    fitted = fit_spark_ml(rows)
    error = F.col("wait_s") - F.col("expected_wait_s") - F.col("prediction")
    # Exact enough, and the same each time: to a thousandth of the rows.
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
