"""What holds for any model: it stays a model, members of a group agree, and what does nothing can go without a trace."""

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from edgeprof.datasets import Dataset
from edgeprof.recipes.build import prune_recipe
from edgeprof.recipes.pruning.groups import couple, graph_of
from edgeprof.recipes.pruning.widths import width, wishes
from tests.laws import examples
from tests.recipes.pruning.models import SIDE, models
from tests.recipes.pruning.running import outputs, parameters, pruned, width_of, work_for


@given(model=models(), ratio=st.sampled_from([0.1, 0.25, 0.5, 0.9]))
@examples(0.8)
def test_what_is_pruned_is_a_smaller_model_that_runs(model, ratio):
    done = pruned(model, ratio)
    onnx.checker.check_model(done.model, full_check=True)
    onnx.shape_inference.infer_shapes(done.model, strict_mode=True, data_prop=True)
    before, after = outputs(model), outputs(done.model)
    assert [one.shape for one in after] == [one.shape for one in before]
    changed = any(change.done for change in done.changes)
    assert (parameters(done.model) < parameters(model)) == changed
    assert {node.name for node in done.model.graph.node} == {node.name for node in model.graph.node}


def is_the_block_alone(labels: np.ndarray, units: tuple[int, ...]) -> bool:
    """Whether a layer makes all channels of the block, each as often, and no others."""
    found, counts = np.unique(labels, return_counts=True)
    return found.tolist() == sorted(units) and len(set(counts.tolist())) == 1


@given(model=models(), ratio=st.sampled_from([0.25, 0.5]))
@examples(0.5)
def test_members_of_a_group_keep_the_same_part_of_their_channels(model, ratio):
    done = pruned(model, ratio)
    told = {change.layer: change.done for change in done.changes}
    coupling = couple(graph_of(model))
    assert sorted(told) == sorted(layer for group in coupling.groups for layer in group.layers)
    for group in coupling.groups:
        widths = {layer: (width_of(model, layer), width_of(done.model, layer)) for layer in group.layers}
        for layer, (before, after) in widths.items():
            assert 1 <= after <= before
            assert (after < before) == bool(told[layer])
            if told[layer]:
                assert told[layer].startswith(f"{before} to {after} channels")
        if len(coupling.blocks[group.name]) == 1:
            alike = [layer for layer in group.layers if is_the_block_alone(coupling.made[layer], coupling.blocks[group.name][0].units)]
            assert len({widths[layer][1] / widths[layer][0] for layer in alike}) <= 1
        if group.reason:
            assert all(before == after for before, after in widths.values())


@given(model=models(), ratio=st.sampled_from([0.25, 0.5]), data=st.data())
@examples(0.8)
def test_channels_that_are_zero_go_without_a_trace(model, ratio, data):
    work = work_for(model, *prune_recipe(ratio).decisions)
    coupling = couple(work.graph)
    zeroed = set()
    for name, wish in wishes(coupling, work.choices).items():
        for block in coupling.blocks[name]:
            one = width(coupling, block, wish, work.target.channel_multiple)
            zeroed.update(data.draw(st.permutations(block.units))[: one.total - one.stay])
    silent = without_values(model, coupling, zeroed)
    done = pruned(silent, ratio)
    assert bool(zeroed) == any(change.done for change in done.changes)
    for before, after in zip(outputs(silent), outputs(done.model), strict=True):
        assert np.allclose(before, after, rtol=1e-4, atol=1e-4 * max(1.0, float(np.abs(before).max())))


@given(model=models(), ratio=st.sampled_from([0.25, 0.5]), samples=st.integers(1, 12))
@examples(0.5)
def test_what_is_fitted_is_a_model_that_runs(model, ratio, samples):
    images = np.random.default_rng(samples).normal(size=(samples, 3, SIDE, SIDE)).astype(np.float32)
    done = pruned(model, ratio, data=Dataset({"image": images}))
    onnx.checker.check_model(done.model, full_check=True)
    plain = pruned(model, ratio)
    assert done.changes == plain.changes
    assert len(done.notes) == len(plain.notes) == any(change.done for change in done.changes)
    for before, after in zip(outputs(model), outputs(done.model), strict=True):
        assert before.shape == after.shape and np.isfinite(after).all()


def without_values(model, coupling, labels):
    """The model with zeros in all that makes these channels."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    stored = {tensor.name: tensor for tensor in changed.graph.initializer}
    nodes = {node.name: node for node in changed.graph.node}
    for edit in coupling.flow.sliced:
        if edit.role != "takes":
            tensor = stored[nodes[edit.layer].input[edit.input]]
            value = numpy_helper.to_array(tensor).copy()
            np.moveaxis(value, edit.axis, 0)[~coupling.kept(edit.ids, labels)] = 0
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    return changed
