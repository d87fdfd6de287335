"""The parts of an ONNX file that are looked at and changed here; the others are kept as they are.

Read and written by `protobuf`, which onnxruntime needs anyway. The `onnx` package knows them all, and would be 33 MB
more for every producer.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto for the fields' numbers.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

#: Of each message its fields: number and kind, a list for those that repeat.
_MESSAGES: Final[Mapping[str, Mapping[str, tuple[int, str | list[str]]]]] = {
    "Model": {"graph": (7, "Graph"), "opset_import": (8, ["OperatorSet"])},
    "OperatorSet": {"domain": (1, "text"), "version": (2, "number")},
    "Graph": {"node": (1, ["Node"]), "initializer": (5, ["Tensor"]), "output": (12, ["Value"])},
    "Node": {
        "input": (1, ["text"]),
        "output": (2, ["text"]),
        "op_type": (4, "text"),
        "attribute": (5, ["Attribute"]),
        "domain": (7, "text"),
    },
    "Attribute": {"name": (1, "text"), "i": (3, "number"), "type": (20, "number")},
    "Tensor": {"dims": (1, ["number"]), "data_type": (2, "number"), "name": (8, "text"), "raw_data": (9, "bytes")},
    "Value": {"name": (1, "text")},
}
#: Kinds of numbers, as a tensor's `data_type` calls them.
_FLOAT: Final = 1
_TYPES: Final = {_FLOAT: np.float32, 2: np.uint8, 3: np.int8}
#: What an attribute's `type` calls a whole number.
_INT: Final = 2

#: A block of a map's column has one scale, and so has each block of what it is multiplied with.
BLOCK: Final = 32
#: onnxruntime's name for multiplying in bytes, instead of in what they stand for.
_IN_BYTES: Final = 4
#: The bits of a signed byte that say it as an unsigned one, 128 more.
_SIGN: Final = np.uint8(0x80)


class OnnxFile:
    """A model with its weights, of which a changed one can be made."""

    def __init__(self, data: bytes) -> None:
        """Read it.

        Raises:
            google.protobuf.message.DecodeError: it is none.
        """
        self._model = _model_class().FromString(data)
        self._tensors = {tensor.name: tensor for tensor in self._model.graph.initializer}

    def dump(self) -> bytes:
        data: bytes = self._model.SerializeToString()
        return data

    def read(self, name: str) -> npt.NDArray[Any]:
        """A weight, of the shape and the type that it is stored in; not to be written to."""
        tensor = self._tensors[name]
        return np.frombuffer(tensor.raw_data, dtype=_TYPES[tensor.data_type]).reshape(tensor.dims)

    def read_floats(self, name: str) -> npt.NDArray[np.float32]:
        """A weight as it is meant, whether it is stored as floats or as bytes and scales."""
        if f"{name}_q" not in self._tensors:
            return self.read(name).astype(np.float32)
        floats: npt.NDArray[np.float32] = self.read(f"{name}_q").astype(np.float32) * self.read(f"{name}_scale")
        return floats

    def exchange(self, name: str, values: npt.NDArray[Any]) -> None:
        """Put other numbers of the same shape and type in the place of a weight's."""
        self._tensors[name].raw_data = np.ascontiguousarray(values).tobytes()

    def give(self, name: str) -> None:
        """Have the model give this, too."""
        self._model.graph.output.add(name=name)

    def stay_in_bytes(self) -> None:
        """Have weights that are stored as bytes looked up and multiplied as bytes.

        A weight NAME has its bytes in NAME_q and a scale for each row or column in NAME_scale, of which onnxruntime
        would make floats while it loads: four times the memory, all of which each text reads.

        What is multiplied with a map becomes bytes for that, with a scale for each block of a row, so that a text's
        vector still does not depend on its neighbours in a batch. What is looked up in a table is the same as before.

        Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md, MatMulNBits.
        """
        nodes = self._model.graph.node
        for node in list(nodes):
            if node.op_type == "MatMul" and f"{node.input[1]}_q" in self._tensors:
                self._multiply_in_bytes(node)
            elif node.op_type == "Gather" and f"{node.input[0]}_q" in self._tensors:
                self._look_up_in_bytes(node)
        self._drop_unused()
        self._model.opset_import.add(domain="com.microsoft", version=1)

    def _multiply_in_bytes(self, node: Any) -> None:  # noqa: ANN401 - of a class that is made here
        """For a map of shape (in, out)."""
        name = node.input[1]
        own, scale = self.read(f"{name}_q"), self.read(f"{name}_scale")
        width, count = own.shape
        blocks = width // BLOCK
        parts = {
            f"{name}_blocks": (own.view(np.uint8) ^ _SIGN).T.reshape(count, blocks, BLOCK),
            f"{name}_scales": np.repeat(scale.reshape(count, 1), blocks, axis=1),
        }
        node.op_type, node.domain = "MatMulNBits", "com.microsoft"
        node.input[1:] = list(parts)
        sizes = {"K": width, "N": count, "bits": 8, "block_size": BLOCK, "accuracy_level": _IN_BYTES}
        for attribute, number in sizes.items():
            node.attribute.add(name=attribute, i=number, type=_INT)
        for part, values in parts.items():
            self._add(part, values)

    def _look_up_in_bytes(self, node: Any) -> None:  # noqa: ANN401 - of a class that is made here
        """For a table with a scale for each row, which is looked up by its rows."""
        name, places = node.input
        row, number, scale = (f"{name}_{part}" for part in ("row", "number", "row_scale"))
        nodes = self._model.graph.node
        nodes.add(op_type="Gather", input=[f"{name}_q", places], output=[row])
        nodes.add(op_type="Cast", input=[row], output=[number]).attribute.add(name="to", i=_FLOAT, type=_INT)
        nodes.add(op_type="Gather", input=[f"{name}_scale", places], output=[scale])
        node.op_type = "Mul"
        node.input[:] = [number, scale]
        del node.attribute[:]

    def _drop_unused(self) -> None:
        """Leave out what made floats of the bytes, and bytes that stand elsewhere now."""
        graph = self._model.graph
        makers = {output: node for node in graph.node for output in node.output}
        needed: set[str] = set()
        asked = [value.name for value in graph.output]
        while asked:
            name = asked.pop()
            if name not in needed:
                needed.add(name)
                asked += makers[name].input if name in makers else ()
        unused = [node for node in graph.node if needed.isdisjoint(node.output)]
        for node in unused:
            graph.node.remove(node)
        for name in self._tensors.keys() - needed:
            graph.initializer.remove(self._tensors.pop(name))

    def _add(self, name: str, values: npt.NDArray[Any]) -> None:
        kind = next(number for number, kind in _TYPES.items() if kind == values.dtype)
        data = np.ascontiguousarray(values).tobytes()
        self._tensors[name] = self._model.graph.initializer.add(
            name=name, dims=values.shape, data_type=kind, raw_data=data
        )


@cache
def _model_class() -> Any:  # noqa: ANN401 - a class that is made here
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    kinds = {"text": field.TYPE_STRING, "number": field.TYPE_INT64, "bytes": field.TYPE_BYTES}
    file = descriptor_pb2.FileDescriptorProto(name="dispatcher/onnx.proto", package="dispatcher.onnx")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            one = kind if isinstance(kind, str) else kind[0]
            new = described.field.add(name=name, number=number)
            new.label = field.LABEL_OPTIONAL if one is kind else field.LABEL_REPEATED
            if one in kinds:
                new.type = kinds[one]
            else:
                new.type, new.type_name = field.TYPE_MESSAGE, f".{file.package}.{one}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.Model"))
