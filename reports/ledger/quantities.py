"""What claims call a quantity, and what it is here. Data alone."""

from collections.abc import Mapping
from typing import NamedTuple


class Quantity(NamedTuple):
    """name: in our terms. kind: `count` and `speed` are of one model (`models` says which), of `metrics` of ours in
    `mode`; `relation` is of several, claim by claim (`relations`); `context` is never tested, and `why` is not;
    `absent` can't be measured here, and says `why`."""

    name: str
    kind: str
    metrics: tuple[str, ...] = ()
    mode: str = "infer"
    why: str = ""


MACS = ("macs", "macs_fvcore")  # what papers call FLOPs is one or the other, or a count by hand

_PARAMS = Quantity("parameters", "count", ("params",))
_MACS = Quantity("MACs", "count", MACS)
_TOKENS = Quantity("tokens at the top layer", "count", ("top_tokens",))
_SPEED = Quantity("throughput", "speed", ("throughput",))
_TRAINING_SPEED = Quantity("training throughput", "speed", ("throughput",), "train")
_MASK = Quantity("masked patches", "relation")
_ACCURACY = Quantity("accuracy", "context", why="an accuracy: nothing is trained here")
_RECIPE = Quantity("recipe", "context", why="how a model was built or trained: an input, not a result")


def _trained(name: str) -> Quantity:
    return Quantity(name, "absent", why="needs the trained weights and the images that the paper measured on")


_HOURS = Quantity("time of a whole training", "absent", why="hours of a whole training on hardware of its own")
_MEMORY = Quantity("memory", "absent", why="absolute memory of another code, on hardware of its own")

_ACCURACIES = (
    "AP50_box",
    "AP50_mask",
    "AP75_box",
    "AP75_mask",
    "APbb",
    "APbb50",
    "APbb75",
    "APmb",
    "APmb50",
    "APmb75",
    "ImageNet-ReaL",
    "ImageNet-V2",
    "avg18",
    "kNN",
    "kNN_gain",
    "linear",
    "linear_gain",
    "mAP_box",
    "mAP_gain_vs_ResNeXt",
    "mAP_gain_vs_Swin",
    "mAP_mask",
    "mIoU",
    "mIoU_gain_vs_Swin",
    "mIoU_ms",
    "mIoU_ss",
    "top1",
    "top1_delta",
    "top1_gain",
    "top1_gain_vs_CSWin",
    "top1_gain_vs_DeiT-B",
    "top1_gain_vs_EfficientNet",
    "top1_gain_vs_Swin",
    "top1_gain_vs_Swin-B",
    "top5",
    "top5_linear",
    "wins18",
    "MIM accuracy",
    "linear gap to BEiT v2",
    "mAP box",
    "mAP mask",
    "reconstruction loss",
    "top1 ImageNet-R",
    "top1 gap to BEiT v2 (85.0)",
    "top1 stability over mask ratio",
)
_RECIPES = (
    "compact_ratio_t",
    "drop_path",
    "epochs",
    "finetune_resolution_cifar100",
    "finetune_resolution_stanford_dogs",
    "freeze_last_layer",
    "hallucinated_fraction_of_maps",
    "heads_shown",
    "hybrid_scales",
    "momentum_teacher",
    "norm_last_layer",
    "out_dim",
    "reparam_branches",
    "train_batch",
    "use_dense_prediction",
    "use_fp16",
    "GPUs (world size)",
    "base lr",
    "batch size",
    "batch size per GPU",
    "codebook dimension",
    "codebook size",
    "effective epochs",
    "fine-tuning hardware",
    "global crop scale min",
    "gradient clip",
    "intermediate fine-tuning epochs",
    "local crop scale max",
    "local crop scale min",
    "local crops",
    "mask patch size",
    "min lr",
    "number of random masks",
    "patch-aggregation layer l",
    "pre-training epochs (long)",
    "pre-training epochs (short)",
    "pre-training hardware",
    "teacher temperature",
    "teacher temperature at start",
    "teacher temperature warm-up",
    "total batch",
    "warm-up epochs",
    "weight decay end",
    "weight decay start",
)

QUANTITIES: Mapping[str, Quantity] = {
    **dict.fromkeys(_ACCURACIES, _ACCURACY),
    **dict.fromkeys(_RECIPES, _RECIPE),
    "params": _PARAMS,
    **dict.fromkeys(("macs", "flops", "FLOPs", "GMACs", "GFLOPs", "MACs (reported as FLOPs)"), _MACS),
    "activations": Quantity("activations", "count", ("activations",)),
    **dict.fromkeys(("tokens", "sequence length", "sequence_length_T"), _TOKENS),
    **dict.fromkeys(("throughput", "inference throughput"), _SPEED),
    **dict.fromkeys(("train throughput", "train_throughput"), _TRAINING_SPEED),
    # Of several numbers, each as `relations` says.
    **{f"sequence length stage {stage}": Quantity("tokens of a stage", "relation") for stage in (1, 2, 3, 4)},
    "mask ratio": _MASK,
    "masked patches": _MASK,
    "params_reduction": Quantity("parameters saved", "relation"),
    "flops_reduction": Quantity("MACs saved", "relation"),
    "flops_and_params_reduction_min": Quantity("parameters and MACs saved", "relation"),
    "flops_and_params_reduction_max": Quantity("parameters and MACs saved", "relation"),
    "parameter_ratio": Quantity("share of parameters", "relation"),
    "throughput_ratio": Quantity("share of throughput", "relation"),
    "throughput_rank": Quantity("order of throughputs", "relation"),
    "LR_compute_reduction": Quantity("share of MACs of the region loss", "relation"),
    "train speed-up vs SimMIM-style dense encoding": Quantity("share of training throughput", "relation"),
    "training time relative to SimMIM": Quantity("share of training time", "relation"),
    "train time increase": Quantity("increase of training time", "relation"),
    "efficiency gain": Quantity("share of training throughput", "relation"),
    "time_ratio_LV+LR_over_LV": Quantity("share of training time", "relation"),
    "time_growth_LV+LR_over_LV": Quantity("share of training time", "relation"),
    "GPU memory saving": Quantity("training memory saved", "relation"),
    "GPU memory relative to SimMIM": Quantity("share of training memory", "relation"),
    "GPU memory increase": Quantity("increase of training memory", "relation"),
    "memory_ratio_LV+LR_over_LV": Quantity("share of training memory", "relation"),
    "memory_growth_LV+LR_over_LV": Quantity("share of training memory", "relation"),
    "train speed-up": Quantity("share of training throughput", "relation"),
    "pre-training time relative to SimMIM": Quantity("share of training time", "relation"),
    "params_reduction_vs_Swin": Quantity("parameters saved", "relation"),
    "cost_vs_swin_window_attention": Quantity("cost of an attention module", "relation"),
    "fits on one 8 x 32 GB GPU machine": Quantity("training memory", "relation"),
    # Out of reach of any record.
    "CCS_lower_bound": _trained("CCS"),
    "codebook usage": _trained("codebook usage"),
    "unused codes": _trained("codebook usage"),
    "correspondence_accuracy": _trained("correspondence accuracy"),
    "correspondence_distance_error": _trained("correspondence distance"),
    **dict.fromkeys(("memory", "GPU memory", "training memory"), _MEMORY),
    **dict.fromkeys(
        (
            "pre-training time",
            "pre-training time per epoch",
            "train time",
            "train time per epoch",
            "train_time",
            "train_cost",
            "time per epoch",
        ),
        _HOURS,
    ),
    **dict.fromkeys(
        ("time per iteration", "train step time", "inference speed"),
        Quantity("time of a step", "absent", why="an absolute time of another code, on hardware of its own"),
    ),
    **dict.fromkeys(
        ("tensorrt_latency", "coreml_latency"),
        Quantity(
            "latency",
            "absent",
            why="an absolute time in a runtime that is not measured here, on a device that is not named",
        ),
    ),
}

# Quantities that no machine but the paper's could give again: not comparable, where others are not measured.
OF_HARDWARE = frozenset({"time of a whole training", "memory", "time of a step", "latency"})
