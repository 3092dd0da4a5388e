"""MACs of an Einsum, from its equation and the sizes of its operands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

_ELLIPSIS = "..."


def einsum_macs(equation: str, shapes: Sequence[Sequence[float]]) -> float:
    """Multiply-accumulates when operands are contracted pairwise from left to right, as ONNX Runtime does.

    1. One operand: only sums and transposes, 0. 2. A pair that sums no label is an elementwise or outer product, 0. 3. Else the product
    of the sizes of all labels of the pair. Labels that nothing later needs are summed as soon as a pair is made.
    """
    terms, output = _terms(equation, shapes)
    if terms is None or len(terms) != len(shapes):
        return math.nan
    sizes = _sizes(terms, shapes)
    if sizes is None:
        return math.nan
    total, left = 0.0, terms[0]
    for i, right in enumerate(terms[1:], 1):
        together = list(dict.fromkeys(left + right))
        needed = set(output).union(*terms[i + 1 :])
        summed = [label for label in together if label not in needed]
        shared = [label for label in summed if label in left and label in right]
        if shared:
            total += math.prod(sizes[label] for label in together)
        left = [label for label in together if label in needed]
    return total


def _terms(equation: str, shapes: Sequence[Sequence[float]]) -> tuple[list[list[str]] | None, list[str]]:
    """Labels of each operand and of the output; the axes of an ellipsis are named ``...0``, from the right."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    if len(texts) != len(shapes):
        return None, []
    terms = [_labels(text, len(shape)) for text, shape in zip(texts, shapes, strict=True)]
    if any(term is None for term in terms):
        return None, []
    known = [term for term in terms if term is not None]
    longest = max((sum(label.startswith(_ELLIPSIS) for label in term) for term in known), default=0)
    ellipsis = [f"{_ELLIPSIS}{i}" for i in reversed(range(longest))]
    if arrow:
        before, dots, after = right.partition(_ELLIPSIS)
        return known, [*before, *(ellipsis if dots else []), *after]
    letters = [label for term in known for label in term if not label.startswith(_ELLIPSIS)]
    return known, [*ellipsis, *sorted(label for label in set(letters) if letters.count(label) == 1)]


def _labels(text: str, rank: int) -> list[str] | None:
    before, dots, after = text.partition(_ELLIPSIS)
    hidden = rank - len(before) - len(after)
    if hidden < 0 or (hidden and not dots):
        return None
    return [*before, *(f"{_ELLIPSIS}{i}" for i in reversed(range(hidden))), *after]


def _sizes(terms: Sequence[Sequence[str]], shapes: Sequence[Sequence[float]]) -> Mapping[str, float] | None:
    sizes: dict[str, float] = {}
    for labels, shape in zip(terms, shapes, strict=True):
        for label, size in zip(labels, shape, strict=True):
            if sizes.get(label, 1) == 1:
                sizes[label] = size
    return sizes
