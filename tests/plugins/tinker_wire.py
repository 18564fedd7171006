"""The bytes in which Tinker's own SDK sends and takes samples and gradients; needs the SDK."""

from __future__ import annotations

from typing import Any

import numpy as np
from tinker.proto import tinker_public_pb2 as pb

Body = dict[str, Any]


def parse(raw: bytes) -> Body:
    """A forward_backward request from its protobuf."""
    asked = pb.ForwardBackwardRequest()
    asked.ParseFromString(raw)
    kinds = {pb.DTYPE_FLOAT32: np.float32, pb.DTYPE_INT64: np.int64}
    data = [
        {
            "tokens": np.concatenate(
                [np.frombuffer(c.encoded_text.tokens, np.int32) for c in d.model_input]
            ).tolist(),
            **{n: np.frombuffer(t.dense, kinds[t.dtype]) for n, t in d.loss_fn_inputs.items()},
        }
        for d in asked.data
    ]
    if "loss_fn_config_v2" in pb.ForwardBackwardRequest.DESCRIPTOR.fields_by_name:
        config = {name: value.number for name, value in asked.loss_fn_config_v2.items()}
    else:  # 0.25
        config = dict(asked.loss_fn_config)
    return {
        "model_id": asked.model_id,
        "seq_id": asked.seq_id,
        "loss_fn": asked.loss_fn,
        "config": config,
        "data": data,
    }


def encode(result: Body) -> bytes | Body:
    """What the SDK takes only as protobuf in that form, the rest as it is."""
    if "tokens" in result:
        return _sample(result)
    return _gradient(result) if "logprobs" in result else result


def _sample(result: Body) -> bytes:
    answer = pb.SampleResponse()
    one = answer.sequences.add()
    one.stop_reason = pb.STOP_REASON_STOP if result["stop"] else pb.STOP_REASON_LENGTH
    one.tokens = np.array(result["tokens"], dtype=np.int32).tobytes()
    one.logprobs = np.array(result["logprobs"], dtype=np.float32).tobytes()
    if "prompt_logprobs" in result:
        answer.prompt_logprobs = np.array(result["prompt_logprobs"], dtype=np.float32).tobytes()
    return bytes(answer.SerializeToString())


def _gradient(result: Body) -> bytes:
    answer = pb.ForwardBackwardOutput()
    answer.loss_fn_output_type = "ArrayRecord"
    for name, number in result["metrics"].items():
        answer.metrics[name] = number
    record = answer.loss_fn_outputs.add()
    record.num_datums = len(result["logprobs"])
    for name in ("logprobs", "elementwise_loss"):
        if name not in result:
            continue
        arrays = [np.array(row, dtype=np.float32) for row in result[name]]
        record.fields[name].dtype = pb.DTYPE_FLOAT32
        record.fields[name].data = np.concatenate(arrays).tobytes()
        offsets = np.cumsum([0, *(a.nbytes for a in arrays)])
        record.fields[name].offsets = offsets.astype(np.int64).tobytes()
    return bytes(answer.SerializeToString())
