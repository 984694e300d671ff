from .progressive import ProgressiveBatchSampler, SampleIndex

__all__ = ['ProgressiveBatchSampler', 'SampleIndex']
