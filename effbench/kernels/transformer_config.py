"""Owns the named sizes of the reference transformer and its counts of flop and bytes. Pure: no torch.

The model is a decoder: RMSNorm, rotary positions, grouped-query attention, SwiGLU, *untied* embeddings, no biases.
The sizes follow published practice (Llama 3, arXiv 2407.21783: head size 128, 8 key/value heads or fewer, feed-forward
of about 2.7 times the width), with a vocabulary of 32000 so that the language-model head stays a small share.

Conventions, which a reader must know before comparing an MFU with another one:
    * One fused multiply-add is two flop. Only matrix products count; norms, rotations, softmax and the look-up of
      an embedding count zero. The language-model head counts.
    * Attention is causal and counts *half* of its two S x S products: the masked half is no useful work. (NVIDIA's
      published pairs of flop/s and token/s imply the same; tools that count the full square print a larger MFU.)
    * A backward pass is twice the forward: one product for the input's gradient, one for the weight's.
    * HFU adds what flash attention computes again: its backward has five products where the useful count has four
      (Dao et al., arXiv 2205.14135: the scores are recomputed). Nothing else is recomputed here, so
      HFU - MFU is exactly half a forward attention.
"""

from types import MappingProxyType
from typing import Literal

import msgspec

ConfigName = Literal["tiny", "cpu-20m", "125m", "1b", "3b", "4b"]
DtypeName = Literal["bf16", "fp32"]

DTYPE_BYTES = MappingProxyType({"bf16": 2, "fp32": 4})


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of one model. `heads` is a multiple of `kv_heads`; all sizes are counts of elements."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int

    @property
    def qkv(self) -> int:
        """Width of the fused projection of queries, keys and values."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim

    @property
    def attention(self) -> int:
        """Width of the heads' joined output."""
        return self.heads * self.head_dim


CONFIGS = MappingProxyType(
    {
        config.name: config
        for config in (
            # `tiny` is for functional checks only. Parameters: 0.13 M, 21 M, 125 M, 1.10 B, 3.02 B, 3.82 B.
            Config("tiny", layers=2, hidden=64, heads=4, kv_heads=2, head_dim=16, ffn=176, vocab=256),
            Config("cpu-20m", layers=6, hidden=512, heads=8, kv_heads=2, head_dim=64, ffn=1408, vocab=4096),
            Config("125m", layers=12, hidden=768, heads=12, kv_heads=4, head_dim=64, ffn=2048, vocab=32000),
            Config("1b", layers=16, hidden=2048, heads=16, kv_heads=4, head_dim=128, ffn=8192, vocab=32000),
            Config("3b", layers=28, hidden=3072, heads=24, kv_heads=8, head_dim=128, ffn=8192, vocab=32000),
            Config("4b", layers=36, hidden=3072, heads=24, kv_heads=8, head_dim=128, ffn=8192, vocab=32000),
        )
    }
)


def layer_matrix_parameters(config: Config) -> int:
    """Elements of one layer's matrices: qkv, attention output, gate and up, down."""
    attention = config.hidden * config.qkv + config.attention * config.hidden
    return attention + 3 * config.hidden * config.ffn


def parameters(config: Config) -> int:
    """All trainable elements: embedding and head (untied), layers with two norms each, the last norm."""
    layer = layer_matrix_parameters(config) + 2 * config.hidden
    return 2 * config.vocab * config.hidden + config.layers * layer + config.hidden


def linear_flop(config: Config, tokens: int, head_tokens: int) -> int:
    """Forward flop of every weight matrix over `tokens`, the head over `head_tokens` of them."""
    layers = config.layers * layer_matrix_parameters(config)
    return 2 * tokens * layers + 2 * head_tokens * config.vocab * config.hidden


def causal_attention_flop(config: Config, batch: int, seq: int) -> int:
    """Forward flop of both attention products over all layers, the masked half left out: 2 x 2BHSSD / 2."""
    return 2 * config.layers * batch * config.attention * seq * seq


def train_flop(config: Config, batch: int, seq: int) -> int:
    """Useful flop of a forward and backward pass (numerator of MFU): three forwards."""
    tokens = batch * seq
    return 3 * (linear_flop(config, tokens, tokens) + causal_attention_flop(config, batch, seq))


def train_hardware_flop(config: Config, batch: int, seq: int) -> float:
    """Flop that a fused attention executes in the same pass (numerator of HFU): one product more of the seven."""
    return train_flop(config, batch, seq) + 0.5 * causal_attention_flop(config, batch, seq)


def prefill_flop(config: Config, batch: int, prompt: int) -> int:
    """Useful flop of a prompt whose last position alone goes through the head."""
    return linear_flop(config, batch * prompt, batch) + causal_attention_flop(config, batch, prompt)


def decode_flop(config: Config, batch: int, keys: float) -> float:
    """Flop of one new token per sequence that attends to `keys` positions (itself included)."""
    return linear_flop(config, batch, batch) + 4 * config.layers * batch * config.attention * keys


def cache_bytes_per_token(config: Config, dtype: str) -> int:
    """Bytes of keys and values that one position of one sequence holds, over all layers."""
    return 2 * config.layers * config.kv_heads * config.head_dim * DTYPE_BYTES[dtype]


def weight_bytes(config: Config, dtype: str) -> int:
    """Bytes of all weights in `dtype`."""
    return parameters(config) * DTYPE_BYTES[dtype]


def weight_bytes_read(config: Config, dtype: str, tokens: int) -> int:
    """Bytes of weights that one forward pass must read: all but the embedding, and of that `tokens` rows."""
    rows = min(tokens, config.vocab)
    return (parameters(config) - (config.vocab - rows) * config.hidden) * DTYPE_BYTES[dtype]


def decode_bytes(config: Config, batch: int, keys: float, dtype: str) -> float:
    """Bytes that one decoding step must move: weights once, every cached position read, the new one written."""
    cache = cache_bytes_per_token(config, dtype) * batch
    return weight_bytes_read(config, dtype, batch) + cache * (keys - 1) + cache


def prefill_bytes(config: Config, batch: int, prompt: int, dtype: str) -> float:
    """Least bytes of a prefill: weights once, the cache written once; activations are taken to stay on chip."""
    tokens = batch * prompt
    return weight_bytes_read(config, dtype, tokens) + cache_bytes_per_token(config, dtype) * tokens


def state_bytes_per_parameter(dtype: str) -> tuple[int, int]:
    """Bytes per parameter of the training state: what always lives, and the gradients that come and go.

    bf16: 2 (working copy) + 4 (fp32 master) + 8 (two Adam moments); fp32 gradients 4. The bf16 gradient of one matrix
    lives only until it was widened. fp32: 4 + 8; gradients 4.
    """
    return (14, 4) if dtype == "bf16" else (12, 4)


def activation_bytes(config: Config, batch: int, seq: int, dtype: str) -> int:
    """Bytes that the forward pass keeps for the backward one, all layers, without the head.

    Per token and layer, in elements of `dtype`: inputs of both norms and their results (4 x hidden), queries, keys
    and values, the heads' output, and gate, up, silu(gate) and their product (4 x ffn).
    """
    elements = 4 * config.hidden + config.qkv + config.attention + 4 * config.ffn
    return batch * seq * config.layers * elements * DTYPE_BYTES[dtype]


def head_bytes(config: Config, batch: int, seq: int, dtype: str) -> int:
    """Bytes at the head when the backward pass begins: logits, fp32 logits, their log-softmax, one fp32 gradient."""
    return batch * seq * config.vocab * (DTYPE_BYTES[dtype] + 12)


def train_peak_bytes(config: Config, batch: int, seq: int, dtype: str) -> float:
    """Estimated most memory of a training step: activations shrink while gradients grow, so the larger of them.

    For `4b` at 2 x 2048 in bf16: 3.82e9 x 14 = 53.5 GB of state, 15.7 GB of activations (its gradients: 15.3 GB) and
    1.8 GB at the head make 71 GB, 89 % of 80 GB; one matrix' bf16 gradient and library workspaces come on top.
    """
    resident, gradients = state_bytes_per_parameter(dtype)
    count = parameters(config)
    live = max(activation_bytes(config, batch, seq, dtype), gradients * count)
    return resident * count + live + head_bytes(config, batch, seq, dtype)


def train_bytes(config: Config, batch: int, seq: int, dtype: str) -> float:
    """Least memory traffic of a training step, bytes.

    Per parameter in bf16: weights read forward and backward (4), gradient written, read and widened (2 + 2 + 4), AdamW
    reads weight, gradient and moments and writes all but the gradient (28), the working copy renewed (4 + 2): 46.
    In fp32: 8 + 4 + 28 = 40. Activations are written once and read once.
    """
    per_parameter = 46 if dtype == "bf16" else 40
    moved = activation_bytes(config, batch, seq, dtype) + head_bytes(config, batch, seq, dtype)
    return per_parameter * parameters(config) + 2 * moved


def infer_peak_bytes(config: Config, batch: int, tokens: int, dtype: str) -> float:
    """Estimated most memory of inference: weights, the cache, and one layer's activations of a whole prompt."""
    cache = cache_bytes_per_token(config, dtype) * batch * tokens
    layer = batch * tokens * (4 * config.hidden + 2 * config.qkv + 5 * config.ffn) * DTYPE_BYTES[dtype]
    return weight_bytes(config, dtype) + cache + layer
