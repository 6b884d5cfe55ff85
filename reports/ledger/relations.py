"""Claims that set models against each other, or speak of a number's parts: how each is tested. Data alone.

By the claim's id. Bases are those of `reports.baselines` and `reports.roster`, spelt out.
"""

from collections.abc import Mapping

from bench.spec import JsonScalar, Spec
from reports.ledger.check import PREDICTED, Check, Reading, Term

_BATCH = 256  # images a GPU, in the scripts of GreenMIM's first upload (greenmim-203)
_ARTICLE = 12  # images a GPU, in the article that quotes EsViT's appendix


def _spec(model: str, **arguments: JsonScalar) -> Spec:
    return Spec(model, model_args=tuple(arguments.items()))


def _step(model: str, **arguments: JsonScalar) -> Spec:
    return Spec(model, mode="pretrain", model_args=tuple(arguments.items()))


def _simmim(side: int) -> Spec:
    return Spec("simmim_swin_base", mode="pretrain", size=(side, side))


def _terms(metric: str, *specs: Spec, batch: int | None = None) -> tuple[Term, ...]:
    return tuple(Term(spec, metric, batch) for spec in specs)


_GREEN = _step("greenmim_swin_base")
_WINDOW_14 = _step("greenmim_swin_base", window=14)
_SIMMIM = {
    "against SimMIM at 192 px, its own recipe": _simmim(192),
    "against SimMIM at 224 px": _simmim(224),
}
_GROUPED = "Swin-B, its windows grouped as the released code does, without the paper's search for a size"
_DENSE = {**_SIMMIM, "against its own encoder on all tokens": _step("greenmim_swin_base", mask_ratio=0)}


def _speed(formula: str, bases: Mapping[str, Spec]) -> tuple[Reading, ...]:
    return tuple(Reading(formula, _terms("throughput", _GREEN, base), label) for label, base in bases.items())


def _slower(bases: Mapping[str, Spec]) -> tuple[Reading, ...]:
    """Shares of time: throughputs the other way round."""
    return tuple(Reading("ratio", _terms("throughput", base, _GREEN), label) for label, base in bases.items())


def _memory(formula: str, bases: Mapping[str, Spec]) -> tuple[Reading, ...]:
    return tuple(
        Reading(formula, _terms(PREDICTED, _GREEN, base, batch=_BATCH), label) for label, base in bases.items()
    )


_COMPACT = {
    "hmhsa_deit_tiny": "deit_tiny_patch16_224",
    "hmhsa_deit_small": "deit_small_patch16_224",
    "hmhsa_pvt_v2_b1": "pvt_v2_b1",
    "hmhsa_nextvit_small": "nextvit_small",
}


def _saved(metric: str, *models: str, costly: bool = False) -> tuple[Reading, ...]:
    """By how much a number of models is below that of their bases; MACs of the route that the paper describes, which
    fvcore is given whatever the route is."""
    given = {"impl": "reference"} if metric == "macs" else {}
    return tuple(
        Reading(
            "saving",
            _terms(metric, _spec(model, **given), _spec(_COMPACT[model])),
            f"{model}, {metric}" if len(models) > 1 else metric,
            costly,
        )
        for model in models
    )


def _macs_saved(model: str) -> tuple[Reading, ...]:
    return (*_saved("macs", model), *_saved("macs_fvcore", model, costly=True))


_DEPLOYED = "deployed form; no code is released, so this is one reading of the paper's text"
_EVERY = (*_saved("params", *_COMPACT), *_saved("macs", *_COMPACT))


def _losses(model: str, **arguments: JsonScalar) -> tuple[Spec, Spec]:
    """The step with both losses, the model's own, and with that of views alone."""
    return _step(model, **arguments), _step(model, loss="view", **arguments)


_MULTI, _MONO = "esvit_swin_tiny", "esvit_deit_small"
_OFFICIAL: Mapping[str, JsonScalar] = {"impl": "reference"}


def _grown(model: str) -> tuple[Reading, ...]:
    pair = _losses(model, **_OFFICIAL)
    return (Reading("ratio", _terms(PREDICTED, *pair, batch=_ARTICLE)),)


def _prolonged(model: str, batch: int | None) -> tuple[Reading, ...]:
    both, view = _losses(model, **_OFFICIAL)
    return (Reading("ratio", _terms("throughput", view, both, batch=batch)),)


_ESVIT_B14 = _spec("esvit_swin_base", window=14)
_ESVIT_B7 = _spec("esvit_swin_base")
_VIT_L7 = _spec("vit_large_patch16_224", patch_size=7, num_classes=0)
_VIT_B8 = _spec("vit_base_patch8_224", num_classes=0)
_LAYER_NORM = "ViT-BN-L/7 with layer norm where theirs has batch norm"

# Peers of the third party's table (RMT, table 11) whose accuracy is nearest, of those that timm has.
_SIMILAR = {
    "sgformer_s": ("swin_small_patch4_window7_224", "swin_base_patch4_window7_224"),
    "sgformer_m": ("maxvit_tiny_tf_224", "maxvit_small_tf_224"),
    "sgformer_b": ("maxvit_small_tf_224", "maxvit_base_tf_224"),
}

_OFFICIAL_STEP = "the official design of the losses"
_PREDICTED_BATCH = f"at batch {_BATCH}, that of the released scripts: the text states none"

RELATIONS: Mapping[str, Check] = {
    "sgformer-031": Check(
        "ordering",
        tuple(
            Reading("ratio", _terms("throughput", _spec(model), _spec(peer)), f"{model} above {peer}")
            for model, peers in _SIMILAR.items()
            for peer in peers
        ),
        "the figure's peers are not in any text: those of nearest accuracy in a third party's table that timm has",
    ),
    "hm-01": Check("ratio", _saved("params", "hmhsa_pvt_v2_b1"), _DEPLOYED),
    "hm-02": Check("ratio", _macs_saved("hmhsa_pvt_v2_b1"), _DEPLOYED),
    "hm-03": Check("ratio", _saved("params", "hmhsa_nextvit_small"), _DEPLOYED),
    "hm-04": Check("ratio", _macs_saved("hmhsa_nextvit_small"), _DEPLOYED),
    "hm-05": Check("at least", _EVERY, f"of all four models; {_DEPLOYED}"),
    "hm-06": Check("at most", _EVERY, f"of all four models; {_DEPLOYED}"),
    "greenmim-001": Check("ratio", _speed("ratio", _DENSE), _GROUPED, half=True),
    "greenmim-002": Check("ratio", _memory("saving", _DENSE), f"{_GROUPED}; {_PREDICTED_BATCH}", half=True),
    "greenmim-003": Check("ratio", _slower(_SIMMIM), _GROUPED, half=True),
    "greenmim-004": Check("ratio", _memory("ratio", _SIMMIM), _PREDICTED_BATCH, half=True),
    "greenmim-006": Check("at most", (Reading("increase", _terms("throughput", _GREEN, _WINDOW_14)),), half=True),
    "greenmim-007": Check(
        "at most",
        (Reading("increase", _terms(PREDICTED, _WINDOW_14, _GREEN, batch=_BATCH)),),
        _PREDICTED_BATCH,
        half=True,
    ),
    "greenmim-202": Check(
        "at least", _speed("ratio", _SIMMIM), "read as throughput of Swin-B: the quantity is not stated", half=True
    ),
    **{
        f"greenmim-{15 + stage:03}": Check(
            "equal",
            (Reading("value", (Term(_GREEN, "padding", field=f"curves/stage={stage}/tokens"),)),),
            "tokens that the encoder is given",
        )
        for stage in (1, 2, 3, 4)
    },
    "greenmim-088": Check(
        "equal",
        tuple(
            Reading("value", _terms(metric, _simmim(size)), f"{metric} at {size} px", metric != "macs")
            for size in (192, 224)
            for metric in ("macs", "macs_fvcore")
        ),
        "the input's size is not stated: both are looked at",
    ),
    "esvit-070": Check("ratio", (Reading("ratio", _terms("params", _VIT_L7, _ESVIT_B14)),), _LAYER_NORM),
    "esvit-071": Check("at least", (Reading("ratio", _terms("throughput", _ESVIT_B14, _VIT_L7)),), _LAYER_NORM),
    "esvit-072": Check("ratio", (Reading("ratio", _terms("throughput", _ESVIT_B7, _VIT_B8)),)),
    "esvit-079": Check(
        "ratio",
        (
            Reading(
                "ratio of differences",
                _terms("macs", *_losses(_MONO, **_OFFICIAL), *_losses(_MULTI, **_OFFICIAL)),
            ),
        ),
        f"what the region loss adds to a step's forward MACs, DeiT-S against Swin-T; {_OFFICIAL_STEP}",
    ),
    "esvit-080": Check("ratio", _grown(_MULTI), f"Swin-T, at batch {_ARTICLE}; {_OFFICIAL_STEP}", half=True),
    "esvit-081": Check("ratio", _prolonged(_MULTI, None), f"Swin-T; {_OFFICIAL_STEP}", half=True),
    "esvit-082": Check("ratio", _grown(_MONO), f"DeiT-S; {_OFFICIAL_STEP}", half=True),
    "esvit-083": Check("ratio", _grown(_MULTI), f"Swin-T; {_OFFICIAL_STEP}", half=True),
    "esvit-084": Check("ratio", _prolonged(_MONO, _ARTICLE), f"DeiT-S; {_OFFICIAL_STEP}", half=True),
    "esvit-085": Check("ratio", _prolonged(_MULTI, _ARTICLE), f"Swin-T; {_OFFICIAL_STEP}", half=True),
    "beitv2-055": Check(
        "equal",
        (Reading("share of 196 patches", (Term(_step("beitv2_mim_base"), "mask_occupancy", field="removed"),)),),
        "mean of random masks",
    ),
    "beitv2-056": Check(
        "equal",
        (Reading("value", (Term(_step("beitv2_mim_base"), "mask_occupancy", field="removed"),)),),
        "mean of random masks",
    ),
}
