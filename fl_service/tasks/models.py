"""The built-in networks: images (batch, channels, height, width) in, class scores (batch, classes) out."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from fl_service.errors import TaskError, unknown

_SIDE_OF_62K = 32


def _mlp(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return a perceptron with one hidden layer: 32 units for 8×8 images, 64 for larger ones."""
    inputs = shape[0] * shape[1] * shape[2]
    hidden = 32 if inputs <= 64 else 64
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, classes))


def _cnn(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return a small network of two padded 3×3 convolutions, for images from 8×8 up."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * (height // 4) * (width // 4), classes),
    )  # fmt: skip


class _Cnn62k(nn.Module):
    """The network of PyTorch's 60-minute tutorial: 62 006 parameters on 3×32×32.

    Smaller images are padded with zeros to 32×32, and the first layer has as many input channels as the images.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        if max(height, width) > _SIDE_OF_62K:
            raise TaskError(f"task.model: 'cnn62k' takes images up to 32×32, not {height}×{width}; use 'cnn'")
        top, left = (_SIDE_OF_62K - height) // 2, (_SIDE_OF_62K - width) // 2
        self._padding = (left, _SIDE_OF_62K - width - left, top, _SIDE_OF_62K - height - top)
        self.conv1 = nn.Conv2d(channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the class scores of a batch."""
        x = functional.pad(images, self._padding) if any(self._padding) else images
        # Rectifying after pooling gives the same numbers with a quarter of the work.
        x = functional.relu(functional.max_pool2d(self.conv1(x), 2))
        x = functional.relu(functional.max_pool2d(self.conv2(x), 2)).flatten(1)
        scores: Tensor = self.fc3(functional.relu(self.fc2(functional.relu(self.fc1(x)))))
        return scores


_BUILDERS = {"mlp": _mlp, "cnn": _cnn, "cnn62k": _Cnn62k}
NAMES = tuple(_BUILDERS)


def build(name: str, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Build a network for images of a shape, with weights from torch's current generator; raises TaskError."""
    if name not in _BUILDERS:
        raise TaskError(unknown("task.model", name, NAMES))
    return _BUILDERS[name](shape, classes)
