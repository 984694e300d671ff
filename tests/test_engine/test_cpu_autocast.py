import pytest
import torch
from torch import nn

from mmsampriors.engine import CPUAmpOptimWrapper


def test_products_are_of_half_precision_and_weights_are_not():
    model = nn.Linear(4, 4)
    wrapper = CPUAmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), 0.1))
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        outputs = model(torch.randn(2, 4))
    assert outputs.dtype == torch.bfloat16
    wrapper.update_params(outputs.float().square().mean())
    assert model.weight.dtype == torch.float32 and not torch.equal(model.weight, before)
    assert model(torch.randn(2, 4)).dtype == torch.float32  # outside of the step


def test_float16_is_refused():
    with pytest.raises(ValueError, match="found 'float16'"):
        CPUAmpOptimWrapper(dtype='float16', optimizer=torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.1))
