"""Small students that travel with the package, to look at what restoring does; README.md is their card."""

from pathlib import Path
from typing import List

FOLDER = Path(__file__).parent


def packaged_students() -> List[str]:
    """Their names."""
    return sorted(path.stem for path in FOLDER.glob('*.safetensors'))


def weights_of_packaged(name: str) -> Path:
    """The weights of one of them; its config lies beside."""
    return FOLDER / f'{name}.safetensors'


def graph_of_packaged(name: str) -> Path:
    """Its network for ONNX Runtime, without weights; ``.dev_scripts/write_student_graph.py`` writes it."""
    own = FOLDER / f'{name}.onnx'
    return own if own.is_file() else FOLDER / 'nafnet.onnx'
