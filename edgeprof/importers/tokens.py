"""Names that ONNX Runtime makes up anew in each session: ``ReorderOutput_token_177`` here is ``ReorderOutput_token_193`` there.

What its optimiser inserts it names with a running number, in an order that differs from session to session though the graph is the
same. The order of execution does not differ. So a trace is told apart by a reference: one run of the very session whose optimised
graph was saved. The first event with such a name there is the first here, and so on, base name by base name.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from edgeprof.records.trace import EventKind, Spans

_TOKEN = re.compile(r"(.+)_token_\d+$", re.DOTALL)


def with_names_of(spans: Spans, reference: Spans) -> Spans:
    """``spans`` with the made-up names of ``reference``; unchanged where the two do not run the same made-up layers in the same order."""
    own, known = _first_run(spans), _first_run(reference)
    names: dict[int, str] = {}
    for base, kinds in _by_base(spans.kinds, own).items():
        others = _by_base(reference.kinds, known).get(base, [])
        if len(kinds) == len(others) and all(_alike(spans.kinds[a], reference.kinds[b]) for a, b in zip(kinds, others, strict=True)):
            names.update((a, reference.kinds[b].name) for a, b in zip(kinds, others, strict=True))
    if not names:
        return spans
    return replace(spans, kinds=tuple(replace(kind, name=names.get(i, kind.name)) for i, kind in enumerate(spans.kinds)))


def _first_run(spans: Spans) -> list[int]:
    """Kinds of the events of the first whole run, in the order they started."""
    return spans.kind[spans.run == 0].tolist() if len(spans) else []


def _by_base(kinds: Sequence[EventKind], run: Sequence[int]) -> dict[tuple[str, str], list[int]]:
    """For each base name and op type the kinds with a made-up name, each once, in the order they first ran.

    The first that is made has the base name itself.
    """
    bases = {kind: _TOKEN.sub(r"\1", kinds[kind].name) for kind in dict.fromkeys(run)}
    made_up = {base for kind, base in bases.items() if base != kinds[kind].name}
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for kind, base in bases.items():
        if base in made_up:
            found[base, kinds[kind].op_type].append(kind)
    return found


def _alike(a: EventKind, b: EventKind) -> bool:
    return a.input_types == b.input_types and a.output_types == b.output_types
