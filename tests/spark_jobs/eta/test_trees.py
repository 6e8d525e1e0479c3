"""Trees in LightGBM's format give what their nodes say, at thresholds too."""

import lightgbm
import numpy as np
import pytest

from spark_jobs.eta.trees import Node, text


def leaf(value: float) -> Node:
    return Node(value, -1, -1, 0, 0.0)


def evaluated(nodes: dict[int, Node], row: np.ndarray, id_: int = 0) -> float:
    node = nodes[id_]
    if node.left < 0:
        return node.prediction
    return evaluated(nodes, row, node.left if row[node.feature] <= node.threshold else node.right)


def grown(draw: np.random.Generator, thresholds: np.ndarray, depth: int) -> dict[int, Node]:
    nodes: dict[int, Node] = {}

    def grow(depth: int) -> int:
        id_ = len(nodes)
        nodes[id_] = leaf(float(draw.normal()))
        if depth and draw.random() < 0.8:
            left, right = grow(depth - 1), grow(depth - 1)
            nodes[id_] = Node(0.0, left, right, int(draw.integers(3)), float(draw.choice(thresholds)))
        return id_

    grow(depth)
    return nodes


@pytest.mark.parametrize("seed", range(5))
def test_an_ensemble_is_evaluated_as_its_nodes_say(seed: int) -> None:
    draw = np.random.default_rng(seed)
    thresholds = np.array([-1.5, 1e-30, 0.1, 0.1 + 0.2, 1e9 / 3])
    trees = [(float(draw.random()), grown(draw, thresholds, 5)) for _ in range(12)]
    rows = draw.choice([*thresholds, *np.nextafter(thresholds, 2e9), -7.0, 0.0, 4e9], (300, 3))
    expected = [sum(weight * evaluated(nodes, row) for weight, nodes in trees) + 3.25 for row in rows]
    booster = lightgbm.Booster(model_str=text(trees, ("a", "b", "c"), 3.25))
    assert booster.num_trees() == 13
    assert booster.feature_name() == ["a", "b", "c"]
    np.testing.assert_allclose(booster.predict(rows), expected, rtol=0, atol=1e-12)


def test_a_tree_of_one_leaf() -> None:
    booster = lightgbm.Booster(model_str=text([(0.5, {0: leaf(8.0)})], ("a",)))
    assert list(booster.predict(np.zeros((2, 1)))) == [4.0, 4.0]
