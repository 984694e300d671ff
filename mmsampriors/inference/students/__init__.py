"""Small students that travel with the package, to look at what restoring does; README.md is their card."""

from pathlib import Path
from typing import List

FOLDER = Path(__file__).parent
#: The network of all of them for ONNX Runtime, without weights; .dev_scripts/write_student_graph.py writes it.
GRAPH = FOLDER / 'nafnet.onnx'


def packaged_students() -> List[str]:
    """Their names."""
    return sorted(path.stem for path in FOLDER.glob('*.safetensors'))


def weights_of_packaged(name: str) -> Path:
    """The weights of one of them; its config lies beside."""
    return FOLDER / f'{name}.safetensors'
