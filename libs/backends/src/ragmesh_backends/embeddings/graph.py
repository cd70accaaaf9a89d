"""MiniLM's encoder as an ONNX graph, written node by node from its weights and quantised to int8.

Written here because no exporter is at hand: the export needs PyTorch, gigabytes for a 23 MB result. The model is
BERT with 6 layers of 12 heads (Devlin et al. 2018; the sizes are those of the model's config.json) under the mean
of its tokens and an L2 norm (modules.json of sentence-transformers/all-MiniLM-L6-v2).

One text at a time: input `input_ids`, int64 (tokens,), [CLS] and [SEP] included; output `embedding`, float32 (384,)
of length 1. There is no batch and so no padding and no mask, on purpose. Dynamic quantisation scales a whole
activation tensor by its extremes, so in a batch a text's vector moves with its company (cosine down to .989,
measured in batches of 16); alone it is the same bit for bit, and two runs side by side are faster than one batch
on two threads: see `onnx.py`.

Only this module imports onnx, and only when there is something to build.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from ragmesh_backends.embeddings.weights import DIMENSION, MODEL_NAME

OPSET = 20
"""The first with Gelu (20); LayerNormalization came with 17."""
IR_VERSION = 9

LAYERS = 6
HEADS = 12
HEAD_SIZE = DIMENSION // HEADS
LAYER_NORM_EPSILON = 1e-12

Tensors = Mapping[str, NDArray[np.float32]]


class _Encoder:
    """Collects nodes and constants; each method appends one step and returns the name of its output."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: NDArray[np.float32] | NDArray[np.int64]) -> str:
        self.constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, op: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def dense(self, source: str, weights: list[str], name: str) -> str:
        """source x W^T + b; several weights give their outputs side by side in one multiplication."""
        matrix = np.concatenate([self._tensors[f"{weight}.weight"].T for weight in weights], axis=1)
        bias = np.concatenate([self._tensors[f"{weight}.bias"] for weight in weights])
        product = self.node("MatMul", [source, self.constant(f"{name}.weight", matrix)], f"{name}.product")
        return self.node("Add", [product, self.constant(f"{name}.bias", bias)], name)

    def layer_norm(self, source: str, weight: str, name: str) -> str:
        scale = self.constant(f"{weight}.scale", self._tensors[f"{weight}.weight"])
        bias = self.constant(f"{weight}.bias", self._tensors[f"{weight}.bias"])
        return self.node("LayerNormalization", [source, scale, bias], name, axis=-1, epsilon=LAYER_NORM_EPSILON)

    def embeddings(self) -> str:
        """Word + position + segment, (tokens, 384); the segment is always the first, so the positions carry it."""
        words = self.constant("words", self._tensors["embeddings.word_embeddings.weight"])
        table = self._tensors["embeddings.position_embeddings.weight"]
        segment = self._tensors["embeddings.token_type_embeddings.weight"][0]
        positions = self.constant("positions", table + segment)
        word = self.node("Gather", [words, "input_ids"], "word")
        length = self.node("Shape", ["input_ids"], "length")
        zero = self.constant("zero", np.array([0]))
        position = self.node("Slice", [positions, zero, length, zero], "position")
        return self.layer_norm(self.node("Add", [word, position], "embedded"), "embeddings.LayerNorm", "embeddings")

    def layer(self, source: str, index: int) -> str:
        prefix, own = f"encoder.layer.{index}", f"layer_{index}"
        mixed = self._attention(source, prefix, own)
        attended = self.dense(mixed, [f"{prefix}.attention.output.dense"], f"{own}.attended")
        residual = self.node("Add", [attended, source], f"{own}.attended_residual")
        attention = self.layer_norm(residual, f"{prefix}.attention.output.LayerNorm", f"{own}.attention")
        wide = self.dense(attention, [f"{prefix}.intermediate.dense"], f"{own}.wide")
        narrow = self.dense(self.node("Gelu", [wide], f"{own}.gelu"), [f"{prefix}.output.dense"], f"{own}.narrow")
        residual = self.node("Add", [narrow, attention], f"{own}.narrow_residual")
        return self.layer_norm(residual, f"{prefix}.output.LayerNorm", own)

    def _attention(self, source: str, prefix: str, own: str) -> str:
        """softmax(Q K^T / sqrt(32)) V in each head, the heads joined again: (tokens, 384)."""
        query, keys, values = self._heads(source, prefix, own)
        scale = self.constant("head_scale", np.array(HEAD_SIZE**-0.5, np.float32))
        scores = self.node("MatMul", [self.node("Mul", [query, scale], f"{own}.scaled"), keys], f"{own}.scores")
        shares = self.node("Softmax", [scores], f"{own}.shares", axis=-1)
        mixed = self.node("MatMul", [shares, values], f"{own}.mixed")
        by_token = self.node("Transpose", [mixed], f"{own}.by_token", perm=[1, 0, 2])
        return self.node("Reshape", [by_token, self.constant("joined", np.array([0, DIMENSION]))], f"{own}.joined")

    def _heads(self, source: str, prefix: str, own: str) -> list[str]:
        """Queries and values as (heads, tokens, 32), keys turned to (heads, 32, tokens)."""
        parts = ("query", "key", "value")
        side_by_side = self.dense(source, [f"{prefix}.attention.self.{part}" for part in parts], f"{own}.qkv")
        names = [f"{own}.{part}" for part in parts]
        self.nodes.append(helper.make_node("Split", [side_by_side], names, name=f"{own}.split", axis=-1, num_outputs=3))
        shape = self.constant("heads", np.array([0, HEADS, HEAD_SIZE]))
        heads = []
        for part, name in zip(parts, names, strict=True):
            shaped = self.node("Reshape", [name, shape], f"{name}_shaped")
            order = [1, 2, 0] if part == "key" else [1, 0, 2]
            heads.append(self.node("Transpose", [shaped], f"{name}_heads", perm=order))
        return heads

    def unit_mean(self, source: str) -> str:
        """The mean of all tokens, scaled to length 1."""
        axis = self.constant("zero", np.array([0]))
        mean = self.node("ReduceMean", [source, axis], "mean", keepdims=0)
        return self.node("Div", [mean, self.node("ReduceL2", [mean, axis], "norm", keepdims=1)], "embedding")


def build(tensors: Tensors) -> onnx.ModelProto:
    """The float32 graph, 90 MB. `tensors` as `weights.load` returns them."""
    encoder = _Encoder(tensors)
    hidden = encoder.embeddings()
    for index in range(LAYERS):
        hidden = encoder.layer(hidden, index)
    encoder.unit_mean(hidden)
    graph = helper.make_graph(
        encoder.nodes,
        MODEL_NAME,
        inputs=[helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["tokens"])],
        outputs=[helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [DIMENSION])],
        initializer=list(encoder.constants.values()),
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="ragmesh"
    )


def quantise(model: onnx.ModelProto, path: Path) -> None:
    """Write the int8 form of `model` to `path`, 23 MB: weights by channel, activations scaled anew in each run."""
    quantize_dynamic(model, path, per_channel=True, weight_type=QuantType.QInt8)
