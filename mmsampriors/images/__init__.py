"""Images of files: finding, reading and writing them, and what is computed on their pixels."""

from .pixels import (
    COLLAPSE,
    FULL_REFERENCE,
    LUMA,
    NO_REFERENCE,
    enlarged,
    psnr,
    split_by_reference,
    to_eight_bits,
    to_type,
    to_unit,
)
from .reading import (
    READ_FORMATS,
    SUFFIXES,
    TRAINING_SUFFIXES,
    Photograph,
    PhotographError,
    check_storage,
    images_in,
    open_image,
    photograph_of,
    read_photograph,
    read_rgb,
)
from .writing import FORMATS, LONGEST, encode_photograph, refuse_too_large, write_photograph
