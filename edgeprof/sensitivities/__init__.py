"""What each decision costs in answers, layer by layer, on real data, and what it saves on a board."""

from edgeprof.sensitivities.result import Sensitivity
from edgeprof.sensitivities.sensitivity import sensitivity
from edgeprof.sensitivities.tensors import TensorError, tensor_error

__all__ = ["Sensitivity", "TensorError", "sensitivity", "tensor_error"]
