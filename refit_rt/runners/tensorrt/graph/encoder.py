"""encoder.onnx → the same network in a form that TensorRT accepts: float inputs first, and float16 where it is safe.

TensorRT accepts a uint8 input only into a Cast, and the exporter puts a Transpose there. The exporter's shape
arithmetic is evaluated here, for one crop at a time. In f16, all tensors with image axes are float16 from the first
convolution on; vectors (landmarks in pixels, the summary, the first hidden states) stay float32, because in float16 a
landmark at 200 px is up to an eighth of a pixel off.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from refit_rt.bundle.read import AGAIN
from refit_rt.errors import UserError

ONLY_FIRST_IS_DATA = {"Resize"}  # its other inputs are scales, which are always float32
LARGEST_SHAPE = 64  # numbers; a larger tensor holds no shape and no axes
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def encoder_model(path: Path, half: bool = False, half_maps: bool = False) -> onnx.ModelProto:
    """The encoder for TensorRT. path: a bundle's encoder.onnx; half: f16 as described above; half_maps: float16 maps.

    crop (1, S, S, 3) uint8 → maps (1, M, S/4, S/4), hidden (1, 26, H) float32, keypoints (1, 33, 4) float32 if any.
    Raises UserError when the file cannot be read or does not have the form that refit_rt/bundle/make.py gives it.
    """
    try:
        model = onnx.load(str(path))
    except Exception as error:  # OSError, or one of the many errors that protobuf raises for a damaged file
        raise UserError(f"{path}: not an ONNX file ({' '.join(str(error).split())}). {AGAIN}") from error
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    for one in model.graph.output:
        one.type.tensor_type.ClearField("shape")  # the exporter leaves parts of it open
    weights = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    del model.graph.initializer[:], model.graph.value_info[:]
    nodes = len(model.graph.node) + 1
    while len(model.graph.node) < nodes:  # each evaluated node makes more shapes known
        nodes = len(model.graph.node)
        fold(model, weights)
    floats_first(model, path)
    shapes = shapes_of(model, weights)
    for one in model.graph.output:
        one.CopyFrom(helper.make_tensor_value_info(one.name, FLOAT, shapes[one.name]))
    if half:
        in_halves(model, shapes, weights)
    last_casts(model, HALF if half_maps else FLOAT)
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(weights[name], name) for name in weights if name in used)
    onnx.checker.check_model(model)
    return model


def fold(model: onnx.ModelProto, weights: dict[str, np.ndarray]) -> None:
    """Evaluates every node that does not depend on the crop, and every shape, and adds the results to `weights`."""
    shapes = shapes_of(model, weights)
    kept = []
    for node in model.graph.node:
        if node.op_type == "Shape" and all(shapes.get(node.input[0], [0])):
            weights[node.output[0]] = np.array(shapes[node.input[0]], np.int64)
        elif all(name in weights or not name for name in node.input):
            weights |= computed(node, weights, model)
        else:
            kept.append(node)
    replace_nodes(model, kept)


def replace_nodes(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    # The nodes are copied, because deleting the list below invalidates them.
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def computed(node: onnx.NodeProto, known: dict[str, np.ndarray], model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The outputs of a node whose inputs are all constants."""
    if node.op_type == "Cast":  # most of these cast weights, which numpy does faster
        to = helper.tensor_dtype_to_np_dtype(helper.get_attribute_value(node.attribute[0]))
        return {node.output[0]: known[node.input[0]].astype(to)}
    names = [name for name in node.input if name]
    ports = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(known[n].dtype), known[n].shape) for n in names
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    alone = helper.make_model(
        helper.make_graph([node], "alone", ports, outputs), opset_imports=model.opset_import, ir_version=8
    )
    made = ReferenceEvaluator(alone).run(None, {name: known[name] for name in names})
    assert isinstance(made, list)
    return {name: np.asarray(array) for name, array in zip(node.output, made, strict=True)}


def shapes_of(model: onnx.ModelProto, weights: dict[str, np.ndarray]) -> dict[str, list[int]]:
    """The shape of every tensor for which it can be inferred; 0 marks an unknown size.

    onnx receives only the shapes of large weights, because it would copy 300 MB of weights at each call.
    """
    small = {name: array for name, array in weights.items() if array.size <= LARGEST_SHAPE}
    ports = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in weights.items()
        if name not in small
    ]
    graph = helper.make_graph(
        model.graph.node,
        "shapes",
        [*model.graph.input, *ports],
        model.graph.output,
        [numpy_helper.from_array(array, name) for name, array in small.items()],
    )
    light = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    inferred = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    return {
        one.name: [dim.dim_value for dim in one.type.tensor_type.shape.dim]
        for one in [*inferred.input, *inferred.output, *inferred.value_info]
    }


def floats_first(model: onnx.ModelProto, path: Path) -> None:
    """Swaps the first two nodes: Transpose, Cast → Cast, Transpose. Raises UserError if they are others."""
    nodes = model.graph.node
    readers = [node for node in nodes if "crop" in node.input]
    if len(readers) == 1 and readers[0].op_type == "Cast":
        return
    turn = readers[0] if len(readers) == 1 and readers[0].op_type == "Transpose" else None
    after = [node for node in nodes if turn and turn.output[0] in node.input]
    if turn is None or len(after) != 1 or after[0].op_type != "Cast":
        raise UserError(f"{path}: does not begin with Transpose and Cast of a uint8 'crop'. {AGAIN}")
    cast = after[0]
    between, end = turn.output[0], cast.output[0]
    cast.input[0], cast.output[0] = "crop", between
    turn.input[0], turn.output[0] = between, end
    order = [cast, turn, *(node for node in nodes if node not in (cast, turn))]
    replace_nodes(model, order)


def in_halves(model: onnx.ModelProto, shapes: dict[str, list[int]], weights: dict[str, np.ndarray]) -> None:
    """Makes every node with image axes read and write float16, from the first convolution on."""
    halves: set[str] = set()  # names of the tensors that are float16
    made: set[str] = set()  # names of the tensors that a new Cast makes
    nodes: list[onnx.NodeProto] = []

    def as_type(name: str, kind: int) -> str:
        """The tensor's name in that type. A Cast or a converted weight is added if it is needed and not there yet."""
        if name in weights:
            if kind == FLOAT or weights[name].dtype != np.float32:  # weights are float32 or integers
                return name
            weights[f"{name}.half"] = weights[name].astype(np.float16)
            return f"{name}.half"
        if name in ("", "crop") or (name in halves) == (kind == HALF):
            return name
        other = f"{name}.{'half' if kind == HALF else 'float'}"
        if other not in made:
            nodes.append(helper.make_node("Cast", [name], [other], to=kind))
            made.add(other)
        return other

    for node in model.graph.node:
        begun = node.op_type == "Conv" or any(name in halves for name in node.input)
        kind = HALF if begun and has_place(shapes.get(node.output[0], [])) else FLOAT
        if node.op_type != "Cast":
            for place, name in enumerate(node.input):
                if place == 0 or node.op_type not in ONLY_FIRST_IS_DATA:
                    node.input[place] = as_type(name, kind)
        if kind == HALF:
            halves.update(node.output)
        nodes.append(node)
    replace_nodes(model, nodes)
    for one in model.graph.output:
        one.type.tensor_type.elem_type = HALF if one.name in halves else FLOAT


def has_place(shape: list[int]) -> bool:
    return len(shape) == 4 and shape[2] * shape[3] > 1


def last_casts(model: onnx.ModelProto, maps_kind: int) -> None:
    """Casts the outputs: the maps to maps_kind, all others to float32."""
    for one in model.graph.output:
        wanted = maps_kind if one.name == "maps" else FLOAT
        if one.type.tensor_type.elem_type == wanted:
            continue
        inside = f"{one.name}.inside"
        for node in model.graph.node:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    if name == one.name:
                        names[place] = inside
        model.graph.node.append(helper.make_node("Cast", [inside], [one.name], to=wanted))
        one.type.tensor_type.elem_type = wanted
