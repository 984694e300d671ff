from .efficientnet import EfficientNetAnalyzer
from .sam_encoder import SAMEncoderAnalyzer
from .vgg import VGGAnalyzer

__all__ = ['EfficientNetAnalyzer', 'SAMEncoderAnalyzer', 'VGGAnalyzer']
