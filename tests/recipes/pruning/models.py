"""Small models with random weights, built op by op: for laws, a strategy that draws them."""

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

SIDE = 6


class Net:
    """A graph that is built from its input on. Methods take and give names of tensors."""

    def __init__(self, seed=0, opset=17, **inputs):
        self.random = np.random.default_rng(seed)
        self.opset = opset
        self.inputs, self.nodes, self.weights, self.shapes = inputs, [], {}, dict(inputs)

    def const(self, array, name=""):
        name = name or f"c{len(self.weights)}"
        self.weights[name] = np.asarray(array)
        return name

    def normal(self, *shape, name=""):
        return self.const(self.random.normal(size=shape).astype(np.float32), name)

    def op(self, kind, *inputs, shape=None, name="", outputs=1, **attributes):
        name = name or f"{kind.lower()}{len(self.nodes)}"
        outs = [name] if outputs == 1 else [f"{name}:{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), outs, name=name, **attributes))
        if outputs == 1:
            self.shapes[name] = tuple(shape if shape is not None else self.shapes.get(inputs[0], ()) if inputs else ())
            return name
        return outs

    def conv(self, x, channels, kernel=1, stride=1, group=1, bias=True, name=""):
        n, c, h, w = self.shapes[x]
        weights = [self.normal(channels, c // group, kernel, kernel), *([self.normal(channels)] if bias else [])]
        size = [(side + 2 * (kernel // 2) - kernel) // stride + 1 for side in (h, w)]
        return self.op(
            "Conv", x, *weights, name=name, shape=(n, channels, *size),
            kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4, group=group,
        )  # fmt: skip

    def norm(self, x):
        c = self.shapes[x][1]
        variance = self.const((0.5 + self.random.random(c)).astype(np.float32))
        return self.op("BatchNormalization", x, self.normal(c), self.normal(c), self.normal(c), variance)

    def dense(self, x, neurons, name=""):
        """MatMul and Add."""
        *lead, c = self.shapes[x]
        made = self.op("MatMul", x, self.normal(c, neurons), name=name, shape=(*lead, neurons))
        return self.op("Add", made, self.normal(neurons))

    def gemm(self, x, neurons, name=""):
        n, c = self.shapes[x]
        return self.op("Gemm", x, self.normal(neurons, c), self.normal(neurons), transB=1, name=name, shape=(n, neurons))

    def reshape(self, x, *shape, zero=True):
        known = [dim if dim != -1 else -1 for dim in shape]
        sizes = [self.shapes[x][at] if dim == 0 else dim for at, dim in enumerate(known)]
        if -1 in sizes:
            sizes[sizes.index(-1)] = int(np.prod(self.shapes[x]) // -np.prod(sizes))
        return self.op("Reshape", x, self.const(np.array(known, np.int64)), shape=sizes)

    def transpose(self, x, *perm):
        return self.op("Transpose", x, perm=list(perm), shape=[self.shapes[x][at] for at in perm])

    def attention(self, x, heads, size, name="attention"):
        """Self-attention with a projection for each of queries, keys and values, on (n, tokens, channels)."""
        n, tokens, channels = self.shapes[x]

        def split(part, *perm):
            made = self.dense(x, heads * size, name=f"{name}/{part}")
            return self.transpose(self.reshape(made, -1, tokens, heads, size), *perm)

        query, key, value = split("query", 0, 2, 1, 3), split("key", 0, 2, 3, 1), split("value", 0, 2, 1, 3)
        scores = self.op("MatMul", query, key, shape=(n, heads, tokens, tokens))
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), value, shape=(n, heads, tokens, size))
        joined = self.reshape(self.transpose(mixed, 0, 2, 1, 3), -1, tokens, heads * size)
        return self.dense(joined, channels, name=f"{name}/out")

    def model(self, *outputs, ir=8):
        infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in self.inputs.items()]
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        stored = [numpy_helper.from_array(value, name) for name, value in self.weights.items()]
        graph = helper.make_graph(self.nodes, "net", infos, results, stored)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=ir)
        made = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        onnx.checker.check_model(made, full_check=True)
        return made


class Blocks:
    """What is drawn from: each takes a net and an image and gives an image. All give 0 for channels that are 0."""

    @staticmethod
    def conv(net, x, draw):
        made = net.conv(x, draw(st.sampled_from([4, 6, 8, 12])), draw(st.sampled_from([1, 3])), bias=draw(st.booleans()))
        return net.op("Relu", made)

    @staticmethod
    def grouped(net, x, draw):
        groups = 2 if net.shapes[x][1] % 2 == 0 else 1
        return net.op("Tanh", net.conv(x, draw(st.sampled_from([4, 8])), 3, group=groups))

    @staticmethod
    def normalised(net, x, draw):
        made = net.norm(net.conv(x, draw(st.sampled_from([5, 8])), 3, bias=False))
        return net.op("Clip", made, net.const(np.float32(0)), net.const(np.float32(6)))

    @staticmethod
    def depthwise(net, x, draw):
        c = net.shapes[x][1]
        return net.op("Relu", net.conv(x, c * draw(st.sampled_from([1, 2])), 3, group=c))

    @staticmethod
    def residual(net, x, draw):
        c = net.shapes[x][1]
        made = net.conv(net.op("Relu", net.conv(x, draw(st.sampled_from([4, 8])), 1)), c, 3)
        return net.op(draw(st.sampled_from(["Add", "Sum"])), made, x)

    @staticmethod
    def concat(net, x, draw):
        parts = [net.conv(x, draw(st.sampled_from([4, 6])), 1), x]
        if draw(st.booleans()):
            parts.reverse()
        n, _, h, w = net.shapes[x]
        return net.op("Concat", *parts, axis=1, shape=(n, sum(net.shapes[part][1] for part in parts), h, w))

    @staticmethod
    def squeeze_and_excite(net, x, draw):
        n, c, _, _ = net.shapes[x]
        pooled = net.op("GlobalAveragePool", x, shape=(n, c, 1, 1))
        gate = net.op("Sigmoid", net.conv(net.op("Relu", net.conv(pooled, 4)), c))
        return net.op("Mul", x, gate)

    @staticmethod
    def shuffle(net, x, draw):
        n, c, h, w = net.shapes[x]
        if c % 2:
            return x
        apart = net.transpose(net.reshape(x, n, 2, c // 2, h, w), 0, 2, 1, 3, 4)
        return net.reshape(apart, 0, -1, h, w)

    @staticmethod
    def halves(net, x, draw):
        """Split in the middle, one half convolved, joined again."""
        n, c, h, w = net.shapes[x]
        if c < 4:
            return x
        first, second = net.op("Split", x, net.const(np.array([c // 2, c - c // 2], np.int64)), axis=1, outputs=2)
        net.shapes[first], net.shapes[second] = (n, c // 2, h, w), (n, c - c // 2, h, w)
        made = net.op("Relu", net.conv(second, c - c // 2, 3))
        return net.op("Concat", first, made, axis=1, shape=(n, c, h, w))

    @staticmethod
    def cut_off(net, x, draw):
        n, c, h, w = net.shapes[x]
        if c < 4:
            return x
        ends = [net.const(np.array(value, np.int64)) for value in ([1], [c - 1], [1])]
        return net.op("Slice", x, *ends, shape=(n, c - 2, h, w))

    @staticmethod
    def per_channel(net, x, draw):
        c = net.shapes[x][1]
        return net.op(draw(st.sampled_from(["Mul", "Add", "PRelu"])), x, net.normal(c, 1, 1))

    @staticmethod
    def moved(net, x, draw):
        """To channels last and back, with padding of height and width between."""
        n, c, h, w = net.shapes[x]
        last = net.transpose(x, 0, 2, 3, 1)
        padded = net.op("Pad", last, net.const(np.array([0, 1, 1, 0, 0, 0, 0, 0], np.int64)), shape=(n, h + 1, w + 1, c))
        pooled = net.op("MaxPool", net.transpose(padded, 0, 3, 1, 2), kernel_shape=[2, 2], shape=(n, c, h, w))
        return net.op("Resize", pooled, "", net.const(np.array([1, 1, 1, 1], np.float32)))


class Heads:
    """From an image to (n, 3)."""

    @staticmethod
    def pooled(net, x, draw):
        n, c, _, _ = net.shapes[x]
        pooled = net.op("GlobalAveragePool", x, shape=(n, c, 1, 1))
        return net.gemm(net.op("Flatten", pooled, shape=(n, c)), 3)

    @staticmethod
    def flattened(net, x, draw):
        n = net.shapes[x][0]
        flat = net.op("Flatten", x, shape=(n, int(np.prod(net.shapes[x][1:]))))
        return net.gemm(net.op("Relu", net.gemm(flat, 10)), 3)

    @staticmethod
    def perceptron(net, x, draw):
        n = net.shapes[x][0]
        hidden = net.op("Tanh", net.dense(net.reshape(x, n, -1), 8))
        return net.dense(hidden, 3)

    @staticmethod
    def tokens(net, x, draw):
        n, c, h, w = net.shapes[x]
        tokens = net.transpose(net.reshape(x, n, c, h * w), 0, 2, 1)
        mixed = net.op("Add", net.attention(tokens, draw(st.sampled_from([2, 4])), 4), tokens)
        mean = net.op("ReduceMean", mixed, axes=[1], keepdims=0, shape=(n, c))
        return net.gemm(mean, 3)


BLOCKS = [value.__func__ for name, value in vars(Blocks).items() if not name.startswith("_")]
HEADS = [value.__func__ for name, value in vars(Heads).items() if not name.startswith("_")]


@st.composite
def models(draw):
    """An image goes through one to six blocks and a head. The weights are random, but none is 0."""
    net = Net(draw(st.integers(0, 999)), image=(1, 3, SIDE, SIDE))
    x = net.conv("image", draw(st.sampled_from([4, 8, 12])), 3)
    for block in draw(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=6)):
        x = block(net, x, draw)
    return net.model(draw(st.sampled_from(HEADS))(net, x, draw))
