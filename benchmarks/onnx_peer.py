"""ONNX Runtime and OpenVINO on one LSTM or GRU node with the weights of our cell: x [T, 1, D] to y [T, 1, 1, H].

ONNX stacks gates in another order (i, o, f, g; z, r, n), and its GRU resets after the product when it is told to.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx  # pyright: ignore[reportMissingImports]
import torch
from onnx import TensorProto, helper  # pyright: ignore[reportMissingImports]
from torch import Tensor

from ostinato.recurrent import Cell

from .torch_peer import weights

ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}  # of our gates, as ONNX wants them
STATE = {"lstm": ("h", "c"), "gru": ("h",)}
Run = Callable[[dict[str, Any]], list[Any]]


class Node(NamedTuple):
    """A recurrent node that runs."""

    run: Run  # {"x": [T, 1, D], "h": [1, 1, H], ..} -> [y, h, ..]
    start: dict[str, np.ndarray]  # a state of zeros

    def sequence(self, x: np.ndarray) -> Tensor:
        """y [T, H] of x [T, D] from zeros."""
        return torch.from_numpy(np.array(self.run(self.start | {"x": x[:, None]})[0][:, 0, 0]))


class Stream(NamedTuple):
    """The same node step by step: its state goes out and in again at each call."""

    node: Node
    state: dict[str, np.ndarray]

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """y [T, H] of x [T, D], from where the last call ended."""
        y, *after = self.node.run(self.state | {"x": x[:, None]})
        self.state.update(zip(self.state, after, strict=True))
        return y[:, 0, 0]

    def step(self, x: np.ndarray) -> np.ndarray:
        """y [H] of one step x [D]."""
        return self(x[None])[0]


def onnx_runtime(name: str, cell: Cell[Any], threads: int) -> Node:
    import onnxruntime  # pyright: ignore[reportMissingImports]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    made = onnxruntime.InferenceSession(_model(name, cell), options, providers=["CPUExecutionProvider"])
    return Node(lambda feed: made.run(None, feed), _zeros(name, cell))


def openvino(name: str, cell: Cell[Any], threads: int, precision: str = "f32") -> Node:
    import openvino  # pyright: ignore[reportMissingImports]

    core = openvino.Core()
    hints = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    request = core.compile_model(core.read_model(model=_model(name, cell)), "CPU", hints).create_infer_request()
    return Node(
        lambda feed: list(request.infer(feed, share_inputs=True, share_outputs=True).values()), _zeros(name, cell)
    )


def _zeros(name: str, cell: Cell[Any]) -> dict[str, np.ndarray]:
    return {key: np.zeros((1, 1, weights(cell)[2].shape[1]), np.float32) for key in STATE[name]}


def _model(name: str, cell: Cell[Any]) -> bytes:
    w_in, bias, w_rec = (t.detach() for t in weights(cell))
    hidden, second = w_rec.shape[1], torch.zeros_like(bias)
    if name == "gru":
        second[2 * hidden :] = cell.get_parameter("b_n").detach()
    ordered = [_ordered(name, t) for t in (w_in, w_rec, bias, second)]
    given = {"W": ordered[0], "R": ordered[1], "B": np.concatenate(ordered[2:])}
    constants = [_constant(key, value[None]) for key, value in given.items()]
    after = [f"{key}_after" for key in STATE[name]]
    options = {"linear_before_reset": 1} if name == "gru" else {}
    inputs = ["x", *given, "", *STATE[name]]
    node = helper.make_node(name.upper(), inputs, ["y", *after], hidden_size=hidden, **options)
    states = [[_info(key, [1, 1, hidden]) for key in keys] for keys in (STATE[name], after)]
    ins, outs = [_info("x", ["T", 1, w_in.shape[1]]), *states[0]], [_info("y", ["T", 1, 1, hidden]), *states[1]]
    model = helper.make_model(
        helper.make_graph([node], name, ins, outs, constants), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _ordered(name: str, stacked: Tensor) -> np.ndarray:
    gates = stacked.chunk(len(ORDER[name]))
    return torch.cat([gates[i] for i in ORDER[name]]).numpy()


def _constant(name: str, value: np.ndarray) -> Any:
    return helper.make_tensor(name, TensorProto.FLOAT, value.shape, value.tobytes(), raw=True)


def _info(name: str, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
