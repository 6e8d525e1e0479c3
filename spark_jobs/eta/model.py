"""A version of the arrival model as it is served: LightGBM and what it was published with. Does not import Spark."""

from collections.abc import Mapping
from typing import Self

from spark_jobs.eta.features import Floats, Lagged

FILES = ("features.json", "p50.txt", "p90.txt", "calibration.json", "lagged.parquet")
"""What :meth:`Model.read` needs of a version's folder."""


class ModelError(ValueError):
    """A version cannot be served; the text is one sentence that names it, what is wrong and what to do."""


class Model:
    """A model in memory; may be pickled (broadcast) and shared by threads.

    Attributes:
        version: its name.
        lagged: the medians that it was published with, for :func:`spark_jobs.eta.features.features`.
    """

    version: str
    lagged: Lagged

    @classmethod
    def read(cls, version: str, files: Mapping[str, bytes]) -> Self:
        """Read a version from the contents of ``FILES``.

        Raises:
            ModelError: a file is missing or broken, or the feature contract is not the one of this program.
        """
        raise NotImplementedError

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Return the 50th and the 90th percentile of the wait in seconds, 0 ≤ p50 ≤ p90, a pair of arrays.

        Args:
            features: of :func:`spark_jobs.eta.features.features` with this model's ``lagged``.
        """
        raise NotImplementedError
