"""What claims say of the machine that a speed was measured on, and how."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from reports.ledger.claim import Claim

# Words of conditions: what the machine calls the device that they name. The first that is found is meant.
DEVICES: Mapping[str, str] = {
    "rtx3090": "RTX 3090",
    "rtx4090": "RTX 4090",
    "-4090": "RTX 4090",
    "-5090": "RTX 5090",
    "pro6000maxq": "RTX PRO 6000",
    "i9_10940x": "i9-10940X",
    "i7_12700h": "i7-12700H",
    "RTX 3090": "RTX 3090",
    "RTX 2080 Ti": "RTX 2080 Ti",
    "A100": "A100",
}
_UNSAID = "hardware/batch not stated"  # though such conditions name a V100 that other rows are of
_V100 = "V100"

# How they begin, or where they speak of it, and our word for it.
PRECISIONS: Mapping[str, str] = {
    "amp_bf16-": "amp_bfloat16",
    "amp-": "amp_float16",
    "bf16-": "bfloat16",
    "TF32": "tf32",
    "AMP": "amp_float16",
}
_BATCH = re.compile(r"batch (\d+)|(\d+) samples per forward")


class Setting(NamedTuple):
    """device: words of its name, "" where it is not said. batch: None where it is not said."""

    device: str
    batch: int | None
    precision: str = "float32"
    layout: str = "contiguous"
    compile: str = "none"


def setting(claim: Claim) -> Setting:
    """What a claim's conditions say."""
    words = claim.conditions
    named = [device for word, device in DEVICES.items() if word in words]
    device = named[0] if named else _V100 if _V100 in words and _UNSAID not in words else ""
    batch = _BATCH.search(words) if device else None
    precision = next((ours for word, ours in PRECISIONS.items() if words.startswith(word)), "")
    precision = precision or next((PRECISIONS[word] for word in ("TF32", "AMP") if word in words), "float32")
    return Setting(
        device,
        int(batch[1] or batch[2]) if batch else None,
        precision,
        "channels_last" if "-nhwc-" in words else "contiguous",
        "default" if "-dynamo" in words else "none",
    )
