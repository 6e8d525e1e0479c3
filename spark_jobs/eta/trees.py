"""Writes the trees of Spark ML's gradient-boosted trees in LightGBM's text format, so that one library serves both.

Both send a value to the left where it is at most the threshold. LightGBM adds up the trees' values, which are weighted
here, and takes values closer to 0 than 1e-35 as 0. The format: ``src/boosting/gbdt_model_text.cpp`` and
``src/io/tree.cpp`` of LightGBM 4.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """A node of a tree as Spark ML stores it.

    Attributes:
        prediction: the value of a leaf.
        left, right: ids of the children; −1 for a leaf.
        feature: place of the feature that is compared.
        threshold: at most which goes left.
    """

    prediction: float
    left: int
    right: int
    feature: int
    threshold: float


def text(trees: Sequence[tuple[float, Mapping[int, Node]]], names: Sequence[str], added: float = 0.0) -> str:
    """Return an ensemble in LightGBM's format.

    Args:
        trees: weight, and nodes by id; the root has id 0.
        names: of the features.
        added: is added to each prediction.
    """
    header = {
        "version": "v4",
        "num_class": 1,
        "num_tree_per_iteration": 1,
        "label_index": 0,
        "max_feature_idx": len(names) - 1,
        "objective": "regression",
        "feature_names": " ".join(names),
        "feature_infos": " ".join(["[-1e308:1e308]"] * len(names)),
    }
    blocks = ["\n".join(["tree", *(f"{key}={value}" for key, value in header.items())])]
    constant: tuple[float, Mapping[int, Node]] = (1.0, {0: Node(added, -1, -1, 0, 0.0)})
    for number, (weight, nodes) in enumerate([constant, *trees] if added else trees):
        blocks.append(_tree(number, weight, nodes))
    return "\n\n".join([*blocks, "end of trees\n"])


def _tree(number: int, weight: float, nodes: Mapping[int, Node]) -> str:
    order = list(_from_root(nodes))
    splits = [id_ for id_ in order if nodes[id_].left >= 0]
    leaves = [id_ for id_ in order if nodes[id_].left < 0]
    place = {id_: index for index, id_ in enumerate(splits)} | {id_: ~index for index, id_ in enumerate(leaves)}
    lines: dict[str, object] = {"Tree": number, "num_leaves": len(leaves), "num_cat": 0}
    if splits:
        lines |= {
            "split_feature": _joined(nodes[id_].feature for id_ in splits),
            "split_gain": _joined(0 for _ in splits),
            "threshold": _joined(repr(float(nodes[id_].threshold)) for id_ in splits),
            "decision_type": _joined(2 for _ in splits),  # a number, none of which is missing
            "left_child": _joined(place[nodes[id_].left] for id_ in splits),
            "right_child": _joined(place[nodes[id_].right] for id_ in splits),
        }
    lines |= {"leaf_value": _joined(repr(float(weight * nodes[id_].prediction)) for id_ in leaves)}
    if splits:
        lines |= {
            "leaf_weight": _joined(1 for _ in leaves),
            "leaf_count": _joined(1 for _ in leaves),
            "internal_value": _joined(0 for _ in splits),
            "internal_weight": _joined(1 for _ in splits),
            "internal_count": _joined(1 for _ in splits),
        }
    lines |= {"is_linear": 0, "shrinkage": 1}
    return "\n".join(f"{key}={value}" for key, value in lines.items())


def _from_root(nodes: Mapping[int, Node]) -> Iterable[int]:
    waiting = [0]
    while waiting:
        id_ = waiting.pop()
        yield id_
        if nodes[id_].left >= 0:
            waiting += [nodes[id_].right, nodes[id_].left]


def _joined(values: Iterable[object]) -> str:
    return " ".join(map(str, values))
