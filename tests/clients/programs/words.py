"""A job of mrjob that counts words on Spark."""

from mrjob.job import MRJob


class Words(MRJob):  # type: ignore[misc]
    """Counts the words of its input."""

    def spark(self, input_path: str, output_path: str) -> None:
        """Run on the cluster."""
        from pyspark.sql import SparkSession

        with SparkSession.builder.getOrCreate() as spark:
            words = spark.read.text(input_path).selectExpr("explode(split(value, ' ')) AS word")
            words.groupBy("word").count().selectExpr("concat(word, ' ', count) AS value").write.text(output_path)


if __name__ == "__main__":
    Words.run()
