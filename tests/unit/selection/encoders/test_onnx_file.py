"""Weights that are stored as bytes stay bytes."""

import numpy as np
import pytest

from dispatcher.selection.encoders.onnx_file import OnnxFile
from dispatcher.selection.encoders.sessions import Session

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(3)
#: A table with a scale for each row, and a map with one for each column.
TABLE, ROWS = RNG.integers(-127, 128, (10, 64), dtype=np.int8), RNG.uniform(0.5, 2, (10, 1)).astype(np.float32)
MAP, COLUMNS = RNG.integers(-127, 128, (64, 24), dtype=np.int8), RNG.uniform(0.5, 2, (1, 24)).astype(np.float32)
PLACES = np.array([[3, 1, 9], [0, 0, 7]], dtype=np.int64)


def make_model() -> bytes:
    """Rows of the table, times the map."""
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        node
        for name in ("table", "map")
        for node in (
            helper.make_node("Cast", [f"{name}_q"], [f"{name}_f"], to=kinds.FLOAT),
            helper.make_node("Mul", [f"{name}_f", f"{name}_scale"], [name]),
        )
    ]
    nodes += [
        helper.make_node("Gather", ["table", "places"], ["rows"]),
        helper.make_node("MatMul", ["rows", "map"], ["moved"]),
    ]
    held = {"table_q": TABLE, "table_scale": ROWS, "map_q": MAP, "map_scale": COLUMNS}
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("places", kinds.INT64, ["b", "t"])],
        [helper.make_tensor_value_info("moved", kinds.FLOAT, ["b", "t", 24])],
        [onnx.numpy_helper.from_array(values, name) for name, values in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return model.SerializeToString()


def in_floats(table=TABLE):
    rows = (table * ROWS)[PLACES]
    return rows, rows @ (MAP * COLUMNS)


@pytest.fixture
def file():
    return OnnxFile(make_model())


def test_it_is_written_as_it_was_read(file):
    [moved] = Session(file.dump(), 1).run(None, {"places": PLACES})
    assert moved == pytest.approx(in_floats()[1], rel=1e-4)
    assert np.array_equal(file.read("map_q"), MAP)
    assert np.array_equal(file.read("table_scale"), ROWS)


def test_what_is_looked_up_in_bytes_is_the_same_and_what_is_multiplied_nearly(file):
    file.give("rows")
    file.stay_in_bytes()
    moved, rows = Session(file.dump(), 1).run(["moved", "rows"], {"places": PLACES})
    wanted_rows, wanted = in_floats()
    assert np.array_equal(rows, wanted_rows)
    assert not np.array_equal(moved, wanted)
    assert np.abs(moved - wanted).max() < 0.01 * np.abs(wanted).max()


def test_a_row_is_multiplied_alike_whatever_stands_beside_it(file):
    file.stay_in_bytes()
    session = Session(file.dump(), 1)
    [together] = session.run(None, {"places": PLACES})
    [alone] = session.run(None, {"places": PLACES[1:, 2:]})
    assert np.array_equal(together[1:, 2:], alone)


def test_other_numbers_take_the_place_of_a_weight(file):
    file.exchange("table_q", -TABLE)
    file.stay_in_bytes()
    [moved] = Session(file.dump(), 1).run(None, {"places": PLACES})
    wanted = in_floats(-TABLE)[1]
    assert np.abs(moved - wanted).max() < 0.01 * np.abs(wanted).max()


def test_no_weight_is_kept_twice(file):
    file.stay_in_bytes()
    held = onnx.load_from_string(file.dump()).graph.initializer
    assert {tensor.name: list(tensor.dims) for tensor in held} == {
        "map_blocks": [24, 2, 32],
        "map_scales": [24, 2],
        "table_q": [10, 64],
        "table_scale": [10, 1],
    }
