"""What must hold of any matching, found out without the matching's own means."""

from collections import defaultdict

from edgeprof.models.optypes import MOVEMENT

HEAVY = {"Conv", "ConvTranspose", "MatMul", "Gemm", "MatMulInteger", "ConvInteger"}
PASSING = MOVEMENT | {"QuantizeLinear", "DequantizeLinear"}


def check(original, executed, identity):
    """All laws."""
    every_layer_once(original, executed, identity)
    both_ways_agree(identity)
    edges_are_kept(original, executed, identity)
    heavy_nodes_run_once(original, identity)


def every_layer_once(original, executed, identity):
    assert [node.node for node in identity.nodes] == [layer.name for layer in original.layers]
    assert [layer.layer for layer in identity.layers] == [layer.name for layer in executed.layers]


def both_ways_agree(identity):
    pairs = {(layer.layer, source) for layer in identity.layers for source in layer.sources}
    assert pairs == {(layer, node.node) for node in identity.nodes for layer in node.layers}
    for node in identity.nodes:
        assert (node.fate == "executed") == bool(node.layers)
        assert node.reason or node.fate in ("executed", "folded")
    for layer in identity.layers:
        assert layer.sources or layer.reason
        assert layer.kind != "inserted" or not layer.sources


def edges_are_kept(original, executed, identity):
    """Where one node feeds another, they run in one layer, or one layer of the first feeds one of the second."""
    feeders, makers = _Feeders(executed, identity), {t: layer for layer in original.layers for t in layer.outputs if t}
    for layer in original.layers:
        carriers = identity.by_node[layer.name].layers
        if layer.parent or layer.op_type == "Transpose":  # a Transpose may be moved past others
            continue
        for tensor in layer.inputs if carriers else ():
            for before in _running(tensor, makers, identity):
                fed = any(c in before or feeders.of(c) & before for c in carriers)
                assert fed, f"{layer.name} runs in {carriers}, what it reads in {before}, which do not feed it"


def _running(tensor, makers, identity):
    """Carriers of the nodes that make a tensor, seen through those that did not run; data movement may run for others only,
    so whoever reads it may read what it reads instead."""
    maker = makers.get(tensor)
    if maker is None or maker.parent:
        return
    node = identity.by_node[maker.name]
    if node.fate == "executed":
        passes = maker.op_type in PASSING
        beyond = list(_running(maker.inputs[0], makers, identity)) if passes else []
        if beyond or not passes:
            yield set(node.layers).union(*beyond)
    elif "the same as" in node.reason:  # there may be more twins than the one that is told
        assert identity.by_node[node.reason.rpartition(" ")[2]].fate in ("executed", "removed")
    elif node.fate == "removed":
        for name in maker.inputs:
            yield from _running(name, makers, identity)


class _Feeders:
    """Executed layers that feed a layer, directly or through layers that carry out nothing."""

    def __init__(self, executed, identity):
        self.makers = {t: layer for layer in executed.layers for t in layer.outputs if t}
        self.layers = {layer.name: layer for layer in executed.layers}
        self.identity, self.known = identity, defaultdict(set)

    def of(self, name):
        if name not in self.known:
            queue = [t for t in self.layers[name].inputs if t in self.makers]
            for tensor in queue:
                feeder = self.makers[tensor]
                if feeder.name not in self.known[name]:
                    self.known[name].add(feeder.name)
                    if not self.identity.by_layer[feeder.name].sources:
                        queue.extend(t for t in feeder.inputs if t in self.makers)
        return self.known[name]


def heavy_nodes_run_once(original, identity):
    """No two layers carry out one convolution, and but for whole attentions no layer carries out two."""
    types = {layer.name: layer.op_type for layer in original.layers}
    for node in identity.nodes:
        assert node.op_type not in HEAVY or len(node.layers) <= 1, node
    for layer in identity.layers:
        heavy = [source for source in layer.sources if types[source] in HEAVY]
        assert len(heavy) <= 1 or "Attention" in layer.op_type, layer


def nothing_is_lost(identity):
    """What holds of ONNX Runtime's rewriting as long as this passes: everything is explained."""
    assert [node for node in identity.nodes if node.fate == "unattributed"] == []
    assert [layer for layer in identity.layers if not layer.sources and layer.kind == "layer"] == []
