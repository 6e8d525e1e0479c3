"""A version of the arrival model as it is served: LightGBM and what it was published with. Does not import Spark."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from spark_jobs.eta import features
from spark_jobs.eta.features import Floats, Lagged

FILES = ("features.json", "p50.txt", "p90.txt", "calibration.json", "lagged.parquet")
"""What :meth:`Model.read` needs of a version's folder."""
EXPECTED = "expected_wait_s"


class ModelError(ValueError):
    """A version cannot be served; the text is one sentence that names it, what is wrong and what to do."""


def lightgbm() -> Any:
    """Return the library LightGBM.

    Raises:
        ModelError: it is not installed, or lacks the system's library for OpenMP.
    """
    try:
        import lightgbm
    except ImportError:
        raise ModelError(
            "LightGBM is not installed here: install requirements/eta.txt, or give the job run the packed environment."
        ) from None
    except OSError as error:
        raise ModelError(f"LightGBM cannot be loaded ({error}): install the system's package libgomp1.") from None
    return lightgbm


def feature_contract() -> str:
    """Return the text of ``features.json``: what the columns of a model's input are."""
    columns = [{"name": name, "type": type_} for name, type_ in features.FEATURES]
    return json.dumps({"contract": features.CONTRACT, "features": columns}, indent=1)


class Model:
    """A model in memory; may be pickled (broadcast) and shared by threads.

    Its trees give what is to be added to ``expected_wait_s``, in seconds; those of the 90th percentile may be over the
    sum of several features.

    Attributes:
        version: its name.
        lagged: the medians that it was published with, for :func:`spark_jobs.eta.features.features`.
    """

    def __init__(
        self, version: str, p50: str, p90: str, offset_s: float, lagged: Lagged, p90_added: Sequence[str] = (EXPECTED,)
    ) -> None:
        """Take the parts of a model.

        Args:
            version: its name.
            p50: the trees of the 50th percentile, LightGBM's text.
            p90: those of the 90th.
            offset_s: is added to the 90th percentile, in seconds.
            lagged: medians.
            p90_added: names of features that are added to the trees of the 90th percentile.

        Raises:
            ValueError: a name or the trees are not of these features, or the trees are cut.
        """
        self.version, self.lagged = version, lagged
        self._texts, self._offset_s = (p50, p90), offset_s
        self._added = ([features.NAMES.index(EXPECTED)], [features.NAMES.index(name) for name in p90_added])
        self._boosters = _boosters(self._texts)

    @classmethod
    def read(cls, version: str, files: Mapping[str, bytes]) -> Self:
        """Read a version from the contents of ``FILES``.

        Raises:
            ModelError: a file is missing or broken, or the feature contract is not the one of this program.
        """
        library = lightgbm()
        if missing := [name for name in FILES if name not in files]:
            raise ModelError(f"Version {version} of the model lacks {missing[0]}: promote another version.")
        part = "features.json"
        try:
            contract = json.loads(files[part])
            if contract != json.loads(feature_contract()):
                raise ModelError(
                    f"Version {version} of the model has another feature contract "
                    f"({_contract_of(contract)}) than this program ({features.CONTRACT}, {len(features.NAMES)} "
                    "features): train a version with this code, or run the code that it was trained with."
                )
            part = "lagged.parquet"
            lagged = Lagged.from_arrow(parquet.read_table(io.BytesIO(files[part])))
            part = "calibration.json"
            calibration = json.loads(files[part])
            offset_s, added = float(calibration["p90_offset_s"]), calibration.get("p90_added", [EXPECTED])
            if not np.isfinite(offset_s):
                raise ValueError("p90_offset_s is not finite")
            part = "p50.txt and p90.txt"
            return cls(version, files["p50.txt"].decode(), files["p90.txt"].decode(), offset_s, lagged, added)
        except ModelError:
            raise
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            IndexError,
            pa.ArrowException,
            library.basic.LightGBMError,
        ) as error:
            raise ModelError(
                f"{part} of version {version} of the model cannot be read ({type(error).__name__}): "
                "promote another version."
            ) from error

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Return the 50th and the 90th percentile of the wait in seconds, 0 ≤ p50 ≤ p90, a pair of arrays.

        Args:
            features: of :func:`spark_jobs.eta.features.features` with this model's ``lagged``.
        """
        if not len(features):
            return np.empty(0), np.empty(0)
        p50, p90 = (
            np.asarray(booster.predict(features, num_threads=1)) + features[:, added].sum(axis=1)
            for booster, added in zip(self._boosters, self._added, strict=True)
        )
        return bounded(p50, p90 + self._offset_s)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_boosters"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._boosters = _boosters(self._texts)


def bounded(p50: Floats, p90: Floats) -> tuple[Floats, Floats]:
    """Return percentiles that are possible: not negative, and the 90th not below the 50th."""
    p50 = np.maximum(p50, 0.0)
    return p50, np.maximum(p90, p50)


def _boosters(texts: tuple[str, str]) -> list[Any]:
    found = []
    for text in texts:
        if "end of trees" not in text:
            raise ValueError("the text of the trees is cut")  # which LightGBM would read as fewer trees
        booster = lightgbm().Booster(model_str=text)
        if booster.num_feature() != len(features.NAMES):
            raise ValueError(f"the trees take {booster.num_feature()} features")
        found.append(booster)
    return found


def _contract_of(contract: Any) -> str:
    try:
        return f"{contract['contract']}, {len(contract['features'])} features"
    except (KeyError, TypeError):
        return "unreadable"
