"""From the nodes of a file to the layers of a Graph: unique names, nested bodies, functions expanded.

A call of a model-local function becomes a layer, and the nodes of the function become nested layers of it. The
same expansion is done in the protobuf graph, because shape inference tells nothing of the inside of a function.
Inside a function, the formal inputs and outputs are the caller's tensors, and every other tensor is prefixed with
the call's name and ``/``. A tensor of a subgraph keeps its name unless another tensor has it already (both branches of
an If may use one name); then it is prefixed with ``<layer>/<branch>/``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeprof.errors import ModelError, UnsafeModel
from edgeprof.models.graph import AttributeValue, Layer

MOST_LAYERS = 1_000_000
"""More than any exporter writes; functions that call functions could ask for 2**30."""

_DEEPEST_CALLS = 100

FunctionKey = tuple[str, str, str]
"""Domain, name, overload."""


def domain_of(node: Any) -> str:
    """The node's operator domain; the standard one is the empty string."""
    domain = str(node.domain)
    return "" if domain == "ai.onnx" else domain


@dataclass
class _Scope:
    """The tensors that a graph or function body defines, by the names the file uses for them."""

    names: dict[str, str]
    outer: _Scope | None = None
    prefix: str = ""

    def find(self, name: str) -> str | None:
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.outer
        return None


@dataclass
class Expansion:
    """The layers of a model; the model's graph is changed in place so that its names are those of the layers."""

    layers: list[Layer] = field(default_factory=list)
    declared: dict[str, Any] = field(default_factory=dict)  # tensor -> TypeProto, what the file itself says of it


def expand(model: Any) -> Expansion:
    """All layers of a ModelProto, whose graph is rewritten: no calls of local functions, every tensor name unique."""
    return _Expander(model).run()


class _Expander:
    def __init__(self, model: Any) -> None:
        self.graph = model.graph
        self.functions: dict[FunctionKey, Any] = {(domain_of(f), f.name, _overload(f)): f for f in model.functions}
        self.expansion = Expansion()
        self.layer_names: set[str] = set()
        self.tensor_names: set[str] = set()
        self.calls: list[FunctionKey] = []

    def run(self) -> Expansion:
        scope = self._scope_of_graph(self.graph, None, "", "the graph")
        self._graph_body(self.graph, scope, None, None)
        return self.expansion

    # Scopes: which tensors a body defines

    def _scope_of_graph(self, graph: Any, outer: _Scope | None, place: str, what: str) -> _Scope:
        scope = _Scope({}, outer, outer.prefix if outer else "")
        stored = [*(t.name for t in graph.initializer), *(t.values.name for t in graph.sparse_initializer)]
        for name in dict.fromkeys([*(i.name for i in graph.input), *stored]):
            scope.names[name] = self._new_tensor(scope.prefix + name, place)
        self._define_outputs(graph.node, scope, place, what)
        return scope

    def _define_outputs(self, nodes: Iterable[Any], scope: _Scope, place: str, what: str) -> None:
        made: set[str] = set()
        for node in nodes:
            for name in node.output:
                if not name:
                    continue
                if name in made or (name in scope.names and not scope.prefix):
                    raise ModelError(
                        f"In {what} the tensor '{name}' is made twice, the second time by {_title(node)}. Export the model again."
                    )
                made.add(name)
                if name not in scope.names:  # a function's formal output is named already
                    scope.names[name] = self._new_tensor(scope.prefix + name, place)

    def _new_tensor(self, name: str, place: str) -> str:
        unique = _unique(name, self.tensor_names, lambda: place + name)
        self.tensor_names.add(unique)
        return unique

    # Bodies

    def _graph_body(self, graph: Any, scope: _Scope, parent: str | None, branch: str | None) -> None:
        nodes = self._body(graph.node, scope, parent, branch)
        if nodes is not None:
            del graph.node[:]
            graph.node.extend(nodes)
        for value in graph.output:
            if scope.find(value.name) is None:
                where = f"{branch} of layer '{parent}'" if parent else "the graph"
                raise ModelError(f"The output '{value.name}' of {where} is made by no layer. The model is damaged; export it again.")
        for value in [*graph.input, *graph.output, *graph.value_info]:
            value.name = scope.find(value.name) or value.name
        for tensor in graph.initializer:
            tensor.name = scope.names[tensor.name]
        for sparse in graph.sparse_initializer:
            sparse.values.name = scope.names[sparse.values.name]
        for value in [*graph.value_info, *graph.output]:
            if value.type.WhichOneof("value"):
                self.expansion.declared.setdefault(value.name, _copy_of(value.type))

    def _body(self, nodes: Any, scope: _Scope, parent: str | None, branch: str | None) -> list[Any] | None:
        """Layers of a body; the nodes that stand for it when functions were expanded, else None (changed in place)."""
        outer = f"{parent}/{branch}/" if parent is not None else ""
        given = {node.name for node in nodes if node.name}
        replaced: dict[int, list[Any]] = {}
        for position, node in enumerate(nodes):
            name = self._layer_name(node, position, outer, given)
            layer = Layer(
                name,
                node.op_type,
                tuple(self._use(tensor, scope, node) for tensor in node.input),
                tuple(scope.names[tensor] if tensor else "" for tensor in node.output),
                domain_of(node),
                _attributes(node),
                node.name,
                parent,
                branch,
            )
            self._append(layer)
            function = self.functions.get((domain_of(node), node.op_type, _overload(node)))
            if function is not None:
                replaced[position] = self._call(function, node, layer)
                continue
            _rename(node.input, layer.inputs)
            _rename(node.output, layer.outputs)
            for branch_name, body in _subgraphs(node):
                place = f"{name}/{branch_name}/"
                inner = self._scope_of_graph(body, scope, place, f"{branch_name} of {_title(node)}")
                self._graph_body(body, inner, name, branch_name)
        if not replaced:
            return None
        return [new for position, node in enumerate(nodes) for new in replaced.get(position, [node])]

    def _append(self, layer: Layer) -> None:
        if len(self.expansion.layers) >= MOST_LAYERS:
            raise UnsafeModel(f"The model's functions expand to more than {MOST_LAYERS:,} layers; no exporter does that.")
        self.expansion.layers.append(layer)

    def _layer_name(self, node: Any, position: int, outer: str, given: set[str]) -> str:
        plain = f"{node.op_type}_{position}"
        own = node.name or plain
        if not node.name and own in given:
            own = f"{plain}_{position}"
        name = _unique(outer + own, self.layer_names, lambda: outer + plain)
        self.layer_names.add(name)
        return name

    def _use(self, tensor: str, scope: _Scope, node: Any) -> str:
        if not tensor:
            return ""
        found = scope.find(tensor)
        if found is None:
            raise ModelError(
                f"{_title(node)} reads the tensor '{tensor}', which is no input, no initializer and no layer's output. "
                "The model is damaged; export it again."
            )
        return found

    # Calls of model-local functions

    def _call(self, function: Any, node: Any, layer: Layer) -> list[Any]:
        key = (domain_of(function), function.name, _overload(function))
        if key in self.calls or len(self.calls) > _DEEPEST_CALLS:
            raise ModelError(f"The function '{function.name}' of the model calls itself, which ONNX does not allow. Export it again.")
        if len(node.input) > len(function.input) or len(node.output) > len(function.output):
            raise ModelError(
                f"{_title(node)} passes {len(node.input)} inputs and {len(node.output)} outputs to the function '{function.name}', "
                f"which takes {len(function.input)} and {len(function.output)}. Export the model again."
            )
        self.calls.append(key)
        scope, passed_through = self._scope_of_call(function, layer)
        body = _copies(function.node)
        _bind(body, _bindings(function, node))
        self._define_outputs(body, scope, f"{layer.name}/", f"the function '{function.name}'")
        nodes = self._body(body, scope, layer.name, function.name)
        self.calls.pop()
        return [*(body if nodes is None else nodes), *(_identity(node, source, target) for source, target in passed_through)]

    def _scope_of_call(self, function: Any, layer: Layer) -> tuple[_Scope, list[tuple[str, str]]]:
        scope = _Scope({}, None, f"{layer.name}/")
        for i, formal in enumerate(function.input):
            scope.names[formal] = layer.inputs[i] if i < len(layer.inputs) else ""
        passed_through = []
        for formal, actual in zip(function.output, layer.outputs, strict=False):
            if not actual:
                continue
            if formal in scope.names:  # an input (or an earlier output) handed on as it is
                passed_through.append((scope.names[formal], actual))
            else:
                scope.names[formal] = actual
        return scope, passed_through


def _overload(proto: Any) -> str:
    return str(getattr(proto, "overload", ""))  # since IR version 10


def _unique(name: str, taken: set[str], otherwise: Callable[[], str]) -> str:
    if name not in taken:
        return name
    name = otherwise()
    if name not in taken:
        return name
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"


def _title(node: Any) -> str:
    return f"{node.op_type} '{node.name}'" if node.name else f"a nameless {node.op_type}"


def _rename(target: Any, names: tuple[str, ...]) -> None:
    if tuple(target) != names:
        del target[:]
        target.extend(names)


def _subgraphs(node: Any) -> Iterator[tuple[str, Any]]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.name, attribute.g
        for i, graph in enumerate(attribute.graphs):
            yield f"{attribute.name}_{i}", graph


def _copies(nodes: Any) -> list[Any]:
    return [_copy_of(node) for node in nodes]


def _bindings(function: Any, node: Any) -> dict[str, Any]:
    """The function's attribute parameters: what the call gives, else the default."""
    return {a.name: a for a in function.attribute_proto} | {a.name: a for a in node.attribute}


def _bind(nodes: Iterable[Any], bindings: Mapping[str, Any]) -> None:
    """Put the call's attributes in the place of references to them; a reference to nothing means the attribute is absent."""
    for node in nodes:
        if any(attribute.ref_attr_name for attribute in node.attribute):
            bound = []
            for attribute in node.attribute:
                source = bindings.get(attribute.ref_attr_name) if attribute.ref_attr_name else attribute
                if source is not None:
                    bound.append(_copy_of(source))
                    bound[-1].name = attribute.name
            del node.attribute[:]
            node.attribute.extend(bound)
        for _, graph in _subgraphs(node):
            _bind(graph.node, bindings)


def _copy_of(proto: Any) -> Any:
    copy = type(proto)()
    copy.CopyFrom(proto)
    return copy


def _identity(like: Any, source: str, target: str) -> Any:
    node = type(like)()
    node.op_type = "Identity"
    node.input.append(source)
    node.output.append(target)
    return node


def _attributes(node: Any) -> dict[str, AttributeValue]:
    """Attributes by name; tensors, graphs and types are left out."""
    values: dict[str, AttributeValue] = {}
    for attribute in node.attribute:
        value = _attribute(attribute)
        if value is not None:
            values[attribute.name] = value
    return values


def _attribute(attribute: Any) -> AttributeValue | None:
    if attribute.HasField("i"):
        return int(attribute.i)
    if attribute.HasField("f"):
        return float(attribute.f)
    if attribute.HasField("s"):
        return _text(attribute.s)
    if len(attribute.ints):
        return tuple(attribute.ints)
    if len(attribute.floats):
        return tuple(attribute.floats)
    if len(attribute.strings):
        return tuple(str(_text(value, "replace")) for value in attribute.strings)
    return () if attribute.type in (attribute.INTS, attribute.FLOATS, attribute.STRINGS) else None


def _text(value: bytes, errors: str = "strict") -> str | bytes:
    try:
        return value.decode("utf-8", errors)
    except UnicodeDecodeError:
        return value
