"""How the answers of a net are computed: by its modules, or lowered to matrix products where that is faster."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from core.domain.layers import Layer, Shape
from core.training.lowering import LoweredNet, can_lower

Forward = Callable[[torch.Tensor], torch.Tensor]


def make_forward(
    net: nn.Sequential, network: Sequence[Layer], shape: Shape, *, device: torch.device, dtype: torch.dtype
) -> Forward:
    """Return the function from raw pixels ``(batch, channels, height, width)`` to logits ``(batch, classes)``.

    Args:
        net: What `core.training.nets.build_net` made of ``network``.
        network: The layers.
        shape: Of an image, ``(channels, height, width)``.
        device: Where the net is.
        dtype: ``float32`` or ``bfloat16``, for maps and products; the logits are single precision.
    """
    if device.type == "cpu" and can_lower(network, shape):
        return LoweredNet(net, network, shape, dtype)

    def forward(images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16):
            answers: torch.Tensor = net(images.contiguous(memory_format=torch.channels_last))
        return answers.float()

    return forward
