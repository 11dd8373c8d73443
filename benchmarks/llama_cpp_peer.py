"""A peer for decode.py: llama.cpp, by way of llama-cpp-python, on the weights of one of our models.

Needs ``pip install llama-cpp-python gguf``; without them `LlamaCpp` raises `ImportError`.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nanoshell.model.transformer import Transformer

NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OTHERS = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}


def gguf_name(name: str) -> str:
    """Return what llama.cpp calls our parameter ``name``."""
    stem = name.removesuffix(".weight")
    if stem in OTHERS:
        return f"{OTHERS[stem]}.weight"
    _, index, rest = stem.split(".", 2)
    return f"blk.{index}.{NAMES[rest]}.weight"


def write_gguf(model: Transformer, path: Path, *, half: bool) -> None:
    """Write ``model`` to ``path``, with the matrices in float16 where ``half``, else in float32."""
    import gguf

    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_seq_len)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.feed_forward_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("llama")  # no text goes in or out: the names of the tokens do not matter
    writer.add_token_list([f"<{index}>".encode() for index in range(config.vocab_size)])
    writer.add_token_scores([0.0] * config.vocab_size)
    writer.add_token_types([1] * config.vocab_size)
    for name, tensor in model.state_dict().items():
        values = tensor.float()
        if "q_proj" in name or "k_proj" in name:
            # llama.cpp turns neighbouring channels together, we turn channel i and i + head_dim / 2.
            heads = values.view(-1, 2, config.head_dim // 2, config.hidden_size)
            values = heads.transpose(1, 2).reshape(values.shape)
        array = values.contiguous().numpy()
        writer.add_tensor(gguf_name(name), array.astype(np.float16) if half and array.ndim == 2 else array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class LlamaCpp:
    """A loaded model that continues ids greedily. The cache is float16, llama.cpp's default."""

    def __init__(self, path: Path, positions: int) -> None:
        import llama_cpp

        self._api: Any = llama_cpp
        self._silence = llama_cpp.llama_log_callback(
            lambda *_: None
        )  # kept: the library holds a bare pointer
        llama_cpp.llama_log_set(self._silence, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        options = llama_cpp.llama_model_default_params()
        options.use_mmap = False
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), options)
        context = llama_cpp.llama_context_default_params()
        context.n_ctx, context.n_batch = positions, positions
        context.n_threads = context.n_threads_batch = torch.get_num_threads()
        self._context = llama_cpp.llama_init_from_model(self._model, context)
        self._vocab_size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))

    def reply(self, prompt: list[int], tokens: int) -> list[int]:
        """Return ``tokens`` ids that continue ``prompt``."""
        self._api.llama_memory_clear(self._api.llama_get_memory(self._context), True)
        ids, given = [], prompt
        while True:
            array = (self._api.llama_token * len(given))(*given)
            if self._api.llama_decode(self._context, self._api.llama_batch_get_one(array, len(given))):
                raise RuntimeError("llama_decode failed")
            logits = self._api.llama_get_logits_ith(self._context, -1)
            ids.append(int(np.ctypeslib.as_array(logits, shape=(self._vocab_size,)).argmax()))
            if len(ids) == tokens:
                return ids
            given = ids[-1:]
