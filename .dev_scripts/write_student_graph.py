"""Writes the networks of the package's students for ONNX Runtime, without weights.

    python .dev_scripts/write_student_graph.py

One for all NAFNets of width 16, and one for each of the others. Only another network, or another version of PyTorch's
exporter, needs them anew; other weights do not.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import onnx  # noqa: E402

from mmsampriors.engine.onnx_export import write_onnx  # noqa: E402
from mmsampriors.files import write_whole  # noqa: E402
from mmsampriors.inference.students import FOLDER, weights_of_packaged  # noqa: E402
from mmsampriors.inference.torch_network import TorchNetwork, exported_config  # noqa: E402


def without_weights(model):
    """Says of each weight that it lies elsewhere; who loads the model gives them."""
    for weight in model.graph.initializer:
        weight.ClearField('raw_data')
        weight.data_location = onnx.TensorProto.EXTERNAL
        weight.external_data.add(key='location', value='given by mmsampriors')
    return model


#: File to the student whose network it holds.
GRAPHS = {'nafnet.onnx': 'noise', 'blur.onnx': 'blur', 'x2.onnx': 'x2', 'x4.onnx': 'x4'}


def write_graph(path: Path, weights: Path):
    """Writes the network of ``weights``, whose config lies beside."""
    network = TorchNetwork(exported_config(weights, False), weights, 'cpu', False)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, 'whole.onnx')
        description = dict(bytes_per_pixel=network.bytes_per_pixel, tile_note=network.tile_note)
        print(write_onnx(network.student, str(whole), description))
        model = onnx.load(whole)
    write_whole(path, without_weights(model).SerializeToString())
    print(f'{path}: {path.stat().st_size} bytes')


def main():
    for name, student in GRAPHS.items():
        write_graph(FOLDER / name, weights_of_packaged(student))


if __name__ == '__main__':
    main()
