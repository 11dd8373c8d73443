"""The shape of a model: its YAML keys, and which kind of layer stands where.

The keys are those of the seed family, so that its files load unchanged, and a few of ours. No torch here: a
preset can be listed, checked and described without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from nanoshell.dtypes import DTYPE_ALIASES, Dtype
from nanoshell.errors import CheckpointError, ConfigError, nearest
from nanoshell.model.fit import (
    check_attention,
    check_experts,
    check_latent_attention,
    check_mamba_heads,
    check_turning_state,
    listed,
    readers,
)
from nanoshell.model.validation import BadValueError, Count, Flag, Natural, validate, without_nulls

if TYPE_CHECKING:
    from nanoshell.plugin.registry import Registry
    from nanoshell.tokenizer.base import Tokenizer

FORMAT = 1
"""The version of ``config.json``. A larger one was written by a newer nanoshell."""
DEFAULT_VOCAB_SIZE = 100_331
NO_FEED_FORWARD = "none"

DtypeName = Annotated[
    Literal["auto", Dtype],
    BeforeValidator(lambda value: DTYPE_ALIASES.get(value, value) if isinstance(value, str) else value),
]
"""A dtype by its torch name, or by the short name of the seed family; ``auto`` leaves it to the backend."""
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


Kinds = str | tuple[str, ...]
"""A registered kind for all layers, or one for each layer."""

OUR_KINDS = frozenset(
    {"attention", "mla", "mamba1", "mamba2", "mamba3", "swiglu", "relu2", "moe", NO_FEED_FORWARD}
)
"""The kinds whose keys stand in ``model:`` itself; what others want to be told is in ``layer_options``."""


class ModelConfig(BaseModel):
    """The ``model:`` section of a preset. ``null`` means absent, and unknown keys are errors.

    A layer is a mixer (mixes positions) followed by a feed-forward (mixes channels); `mixer_names` and
    `feed_forward_names` say which. ``mixer`` and ``feed_forward`` name registered layer kinds and come before
    the rule of the seed family.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "model"
    hidden_size: Count
    num_layers: Count
    num_heads: Count = 1
    kv_heads: Count | None = None
    intermediate_size: Count | None = None
    vocab_size: Count = DEFAULT_VOCAB_SIZE
    max_seq_len: Count = 1024
    rope_theta: Positive = 10_000.0
    dtype: DtypeName = "auto"

    mixer: Kinds | None = None
    feed_forward: Kinds | None = None
    layer_options: dict[str, dict[str, Any]] = {}
    tokenizer: str = "cl100k_base"
    qk_norm: Flag = False
    tie_embeddings: Flag = False
    rms_norm_eps: Positive = 1e-5
    norm_weight: Flag = True
    """Whether norms of layers, of queries and keys, and the last one have a learnt scale."""
    zero_init_output: Flag = False
    """Whether projections onto the residual stream start at zero, so that a new layer adds nothing."""
    logit_soft_cap: Positive | None = None
    """What bounds the logits, softly: cap × tanh(logits / cap)."""
    dropout: Fraction = 0.0

    kv_latent_dim: Count | None = None
    q_latent_dim: Count | None = None
    d_rope: Count | None = None
    qk_nope_dim: Count | None = None
    v_head_dim: Count | None = None
    mla_rope_query: Literal["hidden", "latent"] = "hidden"
    mla_latent_norm: Flag = False

    num_experts: Natural | None = None
    experts_per_tok: Count | None = None
    shared_expert_enabled: Flag | None = None
    expert_size: Count | None = None
    shared_expert_size: Count | None = None
    router_score: Literal["softmax", "sigmoid"] = "softmax"
    router_norm: Flag | None = None
    router_scale: Positive = 1.0
    router_bias: Flag = False

    mamba_layers: tuple[Natural, ...] = ()
    mamba_state_size: Count | None = None
    mamba_conv_kernel: Count | None = None
    mamba_expand: Count | None = None
    mamba_dt_rank: Count | None = None
    mamba2_num_heads: Count | None = None
    mamba2_head_dim: Count | None = None
    mamba2_state_size: Count | None = None
    mamba2_chunk_size: Count | None = None
    mamba2_n_groups: Count | None = None
    mamba2_conv_kernel: Count | None = None
    mamba2_expand: Count | None = None
    mamba3_enabled: Flag = False
    mamba3_complex_rope: Flag | None = None
    mamba3_mimo_rank: Natural | None = None
    mamba3_use_conv: Flag | None = None
    mamba3_rope_fraction: Share = 0.5

    @property
    def num_kv_heads(self) -> int:
        """Heads that keys and values have: ``kv_heads``, or as many as queries where it is absent."""
        return self.kv_heads or self.num_heads

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def latent_head_dims(self) -> tuple[int, int, int]:
        """Channels of a head of latent attention: of keys without and with a position, and of values."""
        rope = self.d_rope or max(2, self.head_dim // 4 * 2)
        return self.qk_nope_dim or self.head_dim, rope, self.v_head_dim or self.head_dim

    @property
    def num_chosen_experts(self) -> int:
        """Experts that a token is sent to: ``experts_per_tok``, or two of as many as there are."""
        return self.experts_per_tok or min(2, self.num_experts or 1)

    @property
    def feed_forward_size(self) -> int:
        """``intermediate_size``, or 8/3 of the width, as Llama has it, rounded up to a multiple of 32."""
        return self.intermediate_size or -(-self.hidden_size * 8 // (3 * 32)) * 32

    @property
    def relu2_size(self) -> int:
        """Width inside ``relu2``: ``intermediate_size``, or four widths, which are as many weights as the
        8/3 of ``swiglu`` are."""
        return self.intermediate_size or 4 * self.hidden_size

    @property
    def mamba_heads(self) -> tuple[int, int]:
        """Heads of a Mamba-2 or Mamba-3 layer, and channels of each.

        Together they are ``hidden_size × mamba2_expand``, by default twice the width: of ``mamba2_num_heads``
        and ``mamba2_head_dim`` one is enough. Without both, a head has 64 channels, as in Mamba-2, or the
        largest number below it that divides.
        """
        inner = self.hidden_size * (self.mamba2_expand or 2)
        head_dim = self.mamba2_head_dim or (
            inner // self.mamba2_num_heads
            if self.mamba2_num_heads
            else max(size for size in range(1, 65) if inner % size == 0)
        )
        return self.mamba2_num_heads or inner // head_dim, head_dim

    @property
    def mamba3_angles(self) -> int:
        """By how many angles the state of a Mamba-3 head turns, each turning two of its channels.

        That is ``mamba3_rope_fraction`` of ``mamba2_state_size``, or 0 where ``mamba3_complex_rope`` is off.
        """
        if self.mamba3_complex_rope is False:
            return 0
        return int((self.mamba2_state_size or 128) * self.mamba3_rope_fraction) // 2

    @property
    def layer_kinds(self) -> list[tuple[str, str]]:
        """The mixer and the feed-forward of each layer, by name; see `mixer_names`, `feed_forward_names`."""
        return list(zip(mixer_names(self), feed_forward_names(self), strict=True))

    def unused_keys(self) -> list[str]:
        """Return the keys that were given and that no layer reads; none where a plugin's layer might."""
        used = {kind for layer in self.layer_kinds for kind in layer}
        if not used <= OUR_KINDS:
            return []
        fields = type(self).model_fields
        given = [key for key in fields if getattr(self, key) not in (None, 0, fields[key].default)]
        return [key for key in given if (kinds := readers(key)) is not None and not kinds & used]

    def to_dict(self) -> dict[str, Any]:
        """Return the keys that are not absent, as JSON-able values; `from_dict` reads them back."""
        return self.model_dump(mode="json", exclude_none=True)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "model") -> ModelConfig:
        """Return the config that ``data`` holds. Raises `ConfigError` that begins with ``where``."""
        return validate(cls, data, where)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        data = without_nulls(data)
        if isinstance(data, dict) and data.get("vocab_size") == "auto":
            return {key: value for key, value in data.items() if key != "vocab_size"}
        return data

    @model_validator(mode="after")
    def _parts_fit(self) -> ModelConfig:
        for index in self.mamba_layers:
            if index >= self.num_layers:
                raise BadValueError(
                    f"mamba_layers names layer {index}, but there are {self.num_layers} layers",
                    f"layers are counted from 0 to {self.num_layers - 1}",
                )
        for key, kinds in (("mixer", self.mixer), ("feed_forward", self.feed_forward)):
            if isinstance(kinds, tuple) and len(kinds) != self.num_layers:
                raise BadValueError(
                    f"{key} lists {len(kinds)} kinds, but there are {self.num_layers} layers",
                    "name one kind for all layers, or one for each",
                )
        mixers = mixer_names(self)
        if "attention" in mixers:
            check_attention(self)
        if "mla" in mixers:
            check_latent_attention(self)
        if "mamba2" in mixers or "mamba3" in mixers:
            check_mamba_heads(self)
        if "mamba3" in mixers and self.mamba3_complex_rope is not False:
            check_turning_state(self)
        if "moe" in feed_forward_names(self) or self.num_experts:
            check_experts(self)
        self._options_are_of_layers()
        return self

    def _options_are_of_layers(self) -> None:
        used = {*mixer_names(self), *feed_forward_names(self)}
        for kind in self.layer_options:
            if kind in OUR_KINDS:
                raise BadValueError(
                    f"layer_options has '{kind}', whose keys stand in model: itself",
                    f"move them out of layer_options.{kind}",
                )
            if kind not in used:
                match = nearest(kind, used - OUR_KINDS)
                raise BadValueError(
                    f"layer_options has '{kind}', and no layer is of that kind"
                    + (f"; did you mean '{match}'?" if match else ""),
                    f"kinds of this model's layers: {', '.join(sorted(used))}",
                )


def mixer_names(config: ModelConfig) -> list[str]:
    """Return the kind of mixer of each layer.

    A list in ``mixer`` says it outright. Otherwise a layer named in ``mamba_layers`` is ``mamba3``
    where ``mamba3_enabled``, else ``mamba2`` where its keys are set, else ``mamba1``; the others are
    ``mixer`` where it is given, ``mla`` where ``kv_latent_dim`` is, else ``attention``.
    """
    if isinstance(config.mixer, tuple):
        return list(config.mixer)
    if config.mamba3_enabled:
        mamba = "mamba3"
    elif config.mamba2_num_heads or config.mamba2_head_dim or config.mamba2_state_size:
        mamba = "mamba2"
    else:
        mamba = "mamba1"
    other = config.mixer or ("mla" if config.kv_latent_dim else "attention")
    chosen = set(config.mamba_layers)
    return [mamba if index in chosen else other for index in range(config.num_layers)]


def feed_forward_names(config: ModelConfig) -> list[str]:
    """Return the kind of feed-forward of each layer, ``none`` where a layer has none.

    ``feed_forward`` goes for every layer, or lists each layer's. Without it, layers in ``mamba_layers`` have
    none, an ``mla`` layer has ``moe`` where experts are configured, and all others have ``swiglu``.
    """
    if isinstance(config.feed_forward, tuple):
        return list(config.feed_forward)
    if config.feed_forward:
        return [config.feed_forward] * config.num_layers
    mamba = set(config.mamba_layers)
    return [
        NO_FEED_FORWARD if index in mamba else "moe" if mixer == "mla" and config.num_experts else "swiglu"
        for index, mixer in enumerate(mixer_names(config))
    ]


def check_kinds(config: ModelConfig, mixers: Registry[Any]) -> None:
    """Raise `ConfigError` where a layer's kind is not registered, naming those that are."""
    wanted = (("mixer", mixer_names(config)), ("feed_forward", feed_forward_names(config)))
    for kind, names in wanted:
        known = [entry.name for entry in mixers if entry.options.get("kind", "mixer") == kind]
        if kind == "feed_forward":
            known.append(NO_FEED_FORWARD)
        for name in dict.fromkeys(names):
            if name in known:
                continue
            layers = [index for index, other in enumerate(names) if other == name]
            match = nearest(name, known)
            label = kind.replace("_", "-")
            raise ConfigError(
                f"no {label} '{name}' is registered, and layer{'s'[: len(layers) > 1]} {listed(layers)} of "
                f"'{config.name}' need{'s'[: len(layers) == 1]} it"
                + (f"; did you mean '{match}'?" if match else ""),
                hint=f"registered {label}s: {', '.join(sorted(known)) or 'none'}; a plugin can bring others",
            )


def check_vocabulary(config: ModelConfig, tokenizer: Tokenizer) -> None:
    """Raise `ConfigError` where the model has fewer rows than the tokenizer has ids."""
    if config.vocab_size < tokenizer.vocab_size:
        raise ConfigError(
            f"vocab_size {config.vocab_size:,} of '{config.name}' is smaller than the vocabulary of "
            f"tokenizer '{tokenizer.name}', {tokenizer.vocab_size:,}",
            hint=f"set model.vocab_size to {tokenizer.vocab_size} or more, or to auto",
        )


def with_vocabulary(config: ModelConfig, vocab_size: int) -> ModelConfig:
    """Return ``config`` with ``vocab_size`` where it has none of its own."""
    if "vocab_size" in config.model_fields_set:
        return config
    return config.model_copy(update={"vocab_size": vocab_size})


def check_format(data: Mapping[str, Any], where: str) -> None:
    """Raise `CheckpointError` where a ``config.json`` is newer than this nanoshell reads."""
    version = data.get("format", FORMAT)
    if not isinstance(version, int) or version > FORMAT:
        raise CheckpointError(
            f"{where} has format {version!r}; this nanoshell reads formats up to {FORMAT}",
            hint="it was written by a newer nanoshell: upgrade, and load it again",
        )
