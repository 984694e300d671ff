"""From a trained student to restored photographs.

Importing this imports neither torch nor mmagic; a student in PyTorch imports them when it is built.
"""

from mmsampriors.images import Photograph, PhotographError, read_photograph, write_photograph

from .restorer import Restorer
