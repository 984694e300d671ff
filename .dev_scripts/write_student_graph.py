"""Writes the network of the package's students for ONNX Runtime, without weights.

    python .dev_scripts/write_student_graph.py

Only another network, or another version of PyTorch's exporter, needs it anew; other weights do not.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import onnx  # noqa: E402

from mmsampriors.engine.onnx_export import write_onnx  # noqa: E402
from mmsampriors.files import write_whole  # noqa: E402
from mmsampriors.inference.students import GRAPH, weights_of_packaged  # noqa: E402
from mmsampriors.inference.torch_network import TorchNetwork, exported_config  # noqa: E402


def without_weights(model):
    """Says of each weight that it lies elsewhere; who loads the model gives them."""
    for weight in model.graph.initializer:
        weight.ClearField('raw_data')
        weight.data_location = onnx.TensorProto.EXTERNAL
        weight.external_data.add(key='location', value='given by mmsampriors')
    return model


def main():
    weights = weights_of_packaged('noise')
    network = TorchNetwork(exported_config(weights, False), weights, 'cpu', False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'whole.onnx')
        description = dict(bytes_per_pixel=network.bytes_per_pixel, tile_note=network.tile_note)
        print(write_onnx(network.student, str(path), description))
        model = onnx.load(path)
    write_whole(GRAPH, without_weights(model).SerializeToString())
    print(f'{GRAPH}: {GRAPH.stat().st_size} bytes')


if __name__ == '__main__':
    main()
