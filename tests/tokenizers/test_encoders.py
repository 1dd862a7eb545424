"""Attention while an encoder is trained on a CPU."""

import torch
from torch import nn

from cjepa.tokenizers.encoders import quick_attention

CPU = torch.device("cpu")


def test_attention_is_the_same_with_and_without():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, norm_first=True)
    values = torch.randn(3, 5, 8)
    gradients = []
    for device in (CPU, torch.device("meta")):
        layer.zero_grad()
        with quick_attention(device):
            layer(values).square().sum().backward()
        gradients.append(layer.self_attn.in_proj_weight.grad)
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


def test_the_setting_of_the_process_changes_in_training_on_a_cpu_only():
    fused = torch.backends.cuda.flash_sdp_enabled
    with quick_attention(CPU):
        assert not fused()
    with quick_attention(torch.device("cuda")):
        assert fused()
    with torch.inference_mode(), quick_attention(CPU):
        assert fused()
    assert fused()
