"""Errors for names that are missing: what to write in place of names that scripts for PyTorch use and that are not
here, a sentence each, by place."""

from __future__ import annotations

_CPU = "everything runs on the CPU in float32; leave it out"
_EXPORT = "export the model, ne.onnx.export(model, 'model.onnx', input_shape), and run it with ne.InferenceSession"
_STEP = (
    "make step = ne.TrainStep(model, loss, optimizer) once; loss = step(x, y) then does forward, backward and update"
)
_SCHEDULE = "give Trainer.fit a schedule such as ne.train.cosine(), or set optimizer.param_groups[0]['lr'] yourself"
_ALONE = "one process trains on all cores of one machine; leave it out"
_GRADIENTS = "gradients live inside a step only"
_NOTHING_RECURRENT = "the networks here are convolutional; there are no recurrent layers and no attention"

ABSENT: dict[str, dict[str, str]] = {
    "": {
        "amp": _CPU,
        "autocast": _CPU,
        "bfloat16": _CPU,
        "channels_last": "the memory layout is the engine's own affair; leave it out",
        "compile": "a TrainStep and an InferenceSession are compiled already; leave it out",
        "distributed": _ALONE,
        "double": _CPU,
        "float16": _CPU,
        "float64": _CPU,
        "fx": "ne.onnx.export writes the graph of a model",
        "half": _CPU,
        "hub": "build the network here and load its weights: ne.load(model, 'weights.safetensors')",
        "jit": _EXPORT,
        "multiprocessing": "batches are made faster than they are trained on; leave worker processes out",
        "profiler": "step.profile(x, y) and session.profile(feeds) time every call",
        "quantization": _CPU,
        "script": _EXPORT,
        "set_default_dtype": _CPU,
        "set_default_tensor_type": _CPU,
        "sparse": "arrays are dense here",
        "trace": _EXPORT,
        "use_deterministic_algorithms": "results are the same bits for any number of threads already; leave it out",
        "vmap": "layers take batches (N, ...)",
    },
    "nn": {
        "DataParallel": _ALONE,
        "Embedding": _NOTHING_RECURRENT,
        "GRU": _NOTHING_RECURRENT,
        "LSTM": _NOTHING_RECURRENT,
        "MultiheadAttention": _NOTHING_RECURRENT,
        "RNN": _NOTHING_RECURRENT,
        "SyncBatchNorm": "one process trains on all cores, so that nn.BatchNorm2d has the whole batch",
        "Transformer": _NOTHING_RECURRENT,
        "TransformerEncoder": _NOTHING_RECURRENT,
        "TransformerEncoderLayer": _NOTHING_RECURRENT,
        "parallel": _ALONE,
    },
    "nn.utils": {
        "clip_grad_norm_": _GRADIENTS,
        "clip_grad_value_": _GRADIENTS,
        "prune": "multiply the weight by a mask in a parametrization (nn.utils.parametrize)",
        "rnn": _NOTHING_RECURRENT,
        "spectral_norm": "write it as a parametrization (nn.utils.parametrize)",
    },
    "optim": {
        "Adadelta": "optim.SGD, optim.Adam and optim.AdamW are here",
        "Adagrad": "optim.SGD, optim.Adam and optim.AdamW are here",
        "LBFGS": "optim.SGD, optim.Adam and optim.AdamW are here",
        "RMSprop": "optim.SGD, optim.Adam and optim.AdamW are here",
        "lr_scheduler": _SCHEDULE,
    },
    "cuda": {"amp": _CPU, "Event": _CPU, "Stream": _CPU, "current_device": _CPU, "get_device_name": _CPU},
    "an array": {
        "backward": _STEP,
        "cuda": _CPU,
        "double": _CPU,
        "grad_fn": "arrays carry no gradients; " + _STEP,
        "half": _CPU,
        "is_leaf": "arrays carry no gradients",
        "register_hook": "arrays carry no gradients",
        "retain_grad": "arrays carry no gradients",
    },
}


def missing(place: str, name: str) -> AttributeError:
    """The error to raise for a name that ``place``, a part of the package, or "an array", does not have."""
    whole = place if place == "an array" else f"{__package__}.{place}".rstrip(".")
    if name in ABSENT[place]:
        return AttributeError(f"{whole} has no '{name}': {ABSENT[place][name]}")
    return AttributeError(f"{'' if whole == place else 'module '}{whole!r} has no attribute '{name}'")
