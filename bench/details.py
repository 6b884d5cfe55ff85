"""What details of values hold beside plain numbers: pictures and arrays, short enough for a line of JSON."""

import base64
import io
from typing import Any

from PIL import Image
from torch import Tensor


def jpeg(picture: Image.Image) -> str:
    """The picture as a JPEG in base64."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return base64.b64encode(file.getvalue()).decode()


def short(numbers: Tensor) -> Any:
    """Numbers of one or more axes as nested lists in float32, which JSON writes in a third of the digits of float64."""
    if numbers.ndim > 1:
        return [short(row) for row in numbers]
    return [float(str(number)) for number in numbers.float().cpu().numpy()]
