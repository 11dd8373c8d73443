"""nanoshell: take text, turn it into tokens, train a small language model, look inside it, and talk to it.

This module is the public API: what plugins, ours included, may import. Names are loaded when they are first
used, so that importing nanoshell costs nothing. What stands in a submodule alone may change at any time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nanoshell.version import API_VERSION, __version__

if TYPE_CHECKING:
    from nanoshell.chat.conversation import Conversation as Conversation
    from nanoshell.chat.history import ConversationStore as ConversationStore
    from nanoshell.chat.template import (
        ChatTemplate as ChatTemplate,
        Message as Message,
        Origin as Origin,
        RoleTemplate as RoleTemplate,
        role_ids as role_ids,
    )
    from nanoshell.chat.transfer import (
        import_conversation as import_conversation,
        messages_line as messages_line,
    )
    from nanoshell.command.aside import Aside as Aside
    from nanoshell.command.complete import (
        COMMAND as COMMAND,
        CONFIG_KEY as CONFIG_KEY,
        CONVERSATION as CONVERSATION,
        DEVICE as DEVICE,
        MODEL as MODEL,
        PLUGIN as PLUGIN,
        PRESET as PRESET,
        PRESET_OR_MODEL as PRESET_OR_MODEL,
        RUN as RUN,
        SAMPLER_VALUE as SAMPLER_VALUE,
        SETTING as SETTING,
        SETTING_VALUE as SETTING_VALUE,
        SOURCE as SOURCE,
        TOKENIZER as TOKENIZER,
        TRAINED_TOKENIZER as TRAINED_TOKENIZER,
        Choice as Choice,
        NameType as NameType,
    )
    from nanoshell.command.editor import edit_text as edit_text, run_editor as run_editor
    from nanoshell.command.group import unknown_command as unknown_command
    from nanoshell.command.help import help_text as help_text
    from nanoshell.command.interrupt import on_interrupt as on_interrupt
    from nanoshell.command.pager import Paged as Paged
    from nanoshell.command.render import renderable as renderable
    from nanoshell.command.result import (
        LeaveShell as LeaveShell,
        Screen as Screen,
        Stream as Stream,
        json_option as json_option,
        stay_at_prompt as stay_at_prompt,
    )
    from nanoshell.command.spec import CommandSheet as CommandSheet, describe as describe
    from nanoshell.command.tables import new_table as new_table
    from nanoshell.command.turn import (
        LEFT_BEHIND as LEFT_BEHIND,
        ReplyDocument as ReplyDocument,
        ReplyStream as ReplyStream,
        answer_aside as answer_aside,
        awaited as awaited,
        reply_document as reply_document,
        speed_note as speed_note,
        tell_slow as tell_slow,
    )
    from nanoshell.command.words import is_open_block as is_open_block
    from nanoshell.data.corpus import Corpus as Corpus, prepare_corpus as prepare_corpus, tokenize as tokenize
    from nanoshell.data.download import (
        Download as Download,
        Offered as Offered,
        checked_url as checked_url,
        download as download,
        find_download as find_download,
        offline_reason as offline_reason,
        probe as probe,
    )
    from nanoshell.data.encoding import encode_document as encode_document
    from nanoshell.data.reading import read_documents as read_documents
    from nanoshell.data.source import (
        DataSource as DataSource,
        Document as Document,
        RemoteSource as RemoteSource,
        SourceInfo as SourceInfo,
        open_source as open_source,
    )
    from nanoshell.data.statistics import (
        CorpusStatistics as CorpusStatistics,
        LengthBin as LengthBin,
        Lengths as Lengths,
        RoleCount as RoleCount,
        TokenCount as TokenCount,
        corpus_statistics as corpus_statistics,
    )
    from nanoshell.data.tokens import check_tokens as check_tokens, open_tokens as open_tokens
    from nanoshell.data.vocabulary import train_tokenizer as train_tokenizer
    from nanoshell.dtypes import DTYPE_ALIASES as DTYPE_ALIASES, DTYPE_WORDS as DTYPE_WORDS, DTYPES as DTYPES
    from nanoshell.errors import (
        CheckpointError as CheckpointError,
        ConfigError as ConfigError,
        DataError as DataError,
        DeviceError as DeviceError,
        Interrupted as Interrupted,
        NanoshellError as NanoshellError,
        NetworkError as NetworkError,
        PluginError as PluginError,
        RunError as RunError,
        StorageError as StorageError,
        TokenizerError as TokenizerError,
        UnknownNameError as UnknownNameError,
        UsageError as UsageError,
        nearest as nearest,
        unknown_name as unknown_name,
    )
    from nanoshell.files import (
        atomic_write as atomic_write,
        storage_error as storage_error,
        write_text as write_text,
    )
    from nanoshell.generation.batch import Batch as Batch
    from nanoshell.generation.cuts import (
        min_p as min_p,
        top_k as top_k,
        top_p as top_p,
        typical_p as typical_p,
    )
    from nanoshell.generation.dry import dry as dry
    from nanoshell.generation.mirostat import mirostat as mirostat
    from nanoshell.generation.penalties import (
        frequency_penalty as frequency_penalty,
        presence_penalty as presence_penalty,
        repeat_penalty as repeat_penalty,
    )
    from nanoshell.generation.request import (
        GeneratedToken as GeneratedToken,
        GenerationRequest as GenerationRequest,
        TokenScore as TokenScore,
        WrittenText as WrittenText,
    )
    from nanoshell.generation.row import Generation as Generation
    from nanoshell.generation.sampling import LogitsProcessor as LogitsProcessor, greedy as greedy
    from nanoshell.generation.temperature import (
        dynamic_temperature as dynamic_temperature,
        temperature as temperature,
    )
    from nanoshell.inspection.attention import (
        attending_layers as attending_layers,
        attention_layer as attention_layer,
        attention_map as attention_map,
    )
    from nanoshell.inspection.costs import (
        InferenceMemory as InferenceMemory,
        TokenCost as TokenCost,
        TrainingMemory as TrainingMemory,
        inference_memory as inference_memory,
        token_cost as token_cost,
        training_memory as training_memory,
    )
    from nanoshell.inspection.scores import (
        TokenLoss as TokenLoss,
        next_scores as next_scores,
        sampled_probabilities as sampled_probabilities,
        token_losses as token_losses,
    )
    from nanoshell.last import last_state as last_state
    from nanoshell.loading import LoadedModel as LoadedModel
    from nanoshell.model.attention import GroupedQueryAttention as GroupedQueryAttention
    from nanoshell.model.backend import (
        Backend as Backend,
        MemoryFigures as MemoryFigures,
        choose_backend as choose_backend,
    )
    from nanoshell.model.cache import LayerState as LayerState
    from nanoshell.model.config import ModelConfig as ModelConfig
    from nanoshell.model.layers import SquaredReLU as SquaredReLU, SwiGLU as SwiGLU
    from nanoshell.model.mamba1 import Mamba1 as Mamba1
    from nanoshell.model.mamba2 import Mamba2 as Mamba2
    from nanoshell.model.mamba3 import Mamba3 as Mamba3
    from nanoshell.model.mixer import (
        FeedForward as FeedForward,
        Mixer as Mixer,
        Router as Router,
        Routing as Routing,
        StepMixer as StepMixer,
    )
    from nanoshell.model.mla import MultiHeadLatentAttention as MultiHeadLatentAttention
    from nanoshell.model.moe import MixtureOfExperts as MixtureOfExperts
    from nanoshell.model.parameters import (
        ParameterSplit as ParameterSplit,
        parameter_split as parameter_split,
    )
    from nanoshell.model.transformer import count_parameters as count_parameters
    from nanoshell.model.weights import read_config as read_config
    from nanoshell.narrator import Narrator as Narrator, SilentNarrator as SilentNarrator
    from nanoshell.paths import cache_dir as cache_dir, config_dir as config_dir, data_dir as data_dir
    from nanoshell.plugin.checkup import Checkup as Checkup, check_plugins as check_plugins
    from nanoshell.plugin.discovery import PluginInfo as PluginInfo, installed_plugins as installed_plugins
    from nanoshell.plugin.hookspecs import (
        FaceName as FaceName,
        RegisterBackend as RegisterBackend,
        RegisterChatTemplate as RegisterChatTemplate,
        RegisterCommand as RegisterCommand,
        RegisterExporter as RegisterExporter,
        RegisterMixer as RegisterMixer,
        RegisterOptimizer as RegisterOptimizer,
        RegisterPanel as RegisterPanel,
        RegisterRunSection as RegisterRunSection,
        RegisterSampler as RegisterSampler,
        RegisterSource as RegisterSource,
        RegisterTokenizer as RegisterTokenizer,
        hookimpl as hookimpl,
    )
    from nanoshell.reply import Reply as Reply, ReplyOptions as ReplyOptions
    from nanoshell.runs.control import request as request, wait_for as wait_for
    from nanoshell.runs.directory import (
        RunDirectory as RunDirectory,
        RunStatus as RunStatus,
        find_run as find_run,
        list_runs as list_runs,
        remove_run as remove_run,
    )
    from nanoshell.runs.events import (
        append_line as append_line,
        comparable_evaluations as comparable_evaluations,
        effective_events as effective_events,
        follow as follow,
        read_events as read_events,
        read_lines as read_lines,
    )
    from nanoshell.runs.live import live_runs as live_runs
    from nanoshell.runs.locate import (
        ModelLocation as ModelLocation,
        last_model as last_model,
        model_name as model_name,
    )
    from nanoshell.runs.pruning import prune as prune
    from nanoshell.runs.telling import (
        rare_events as rare_events,
        step_event as step_event,
        tell as tell,
        tell_changes as tell_changes,
        tell_evaluation as tell_evaluation,
        tell_logged as tell_logged,
        without_echo as without_echo,
    )
    from nanoshell.session import Session as Session, open_session as open_session
    from nanoshell.settings import SettingsProblem as SettingsProblem
    from nanoshell.spelling import typed as typed
    from nanoshell.tokenizer.base import Tokenizer as Tokenizer
    from nanoshell.tokenizer.bpe import cl100k_base as cl100k_base
    from nanoshell.tokenizer.files import PortableTokenizer as PortableTokenizer
    from nanoshell.tokenizer.store import (
        TokenizerInfo as TokenizerInfo,
        TokenizerRecipe as TokenizerRecipe,
        find_tokenizer as find_tokenizer,
        list_tokenizers as list_tokenizers,
        remove_trained as remove_trained,
        source_of as source_of,
        trained_path as trained_path,
    )
    from nanoshell.tokenizer.streaming import StreamingDecoder as StreamingDecoder
    from nanoshell.training.automatic import choose_optimizer as choose_optimizer
    from nanoshell.training.compiled_step import run_warm_up as run_warm_up
    from nanoshell.training.distributed import (
        Placement as Placement,
        placement as placement,
        preparing as preparing,
    )
    from nanoshell.training.flops import flops_per_token as flops_per_token
    from nanoshell.training.follower import run_follower as run_follower
    from nanoshell.training.keys import (
        config_keys as config_keys,
        key_summaries as key_summaries,
        value_summaries as value_summaries,
    )
    from nanoshell.training.launch import TrainRequest as TrainRequest, start_run as start_run
    from nanoshell.training.muon import muon as muon
    from nanoshell.training.optimizer import adamw as adamw
    from nanoshell.training.presets import list_presets as list_presets, load_config as load_config
    from nanoshell.training.request import expected_vocabulary as expected_vocabulary
    from nanoshell.training.settable import SETTABLE as SETTABLE, settable_key as settable_key
    from nanoshell.training.worker import run_worker as run_worker

_HOME = {
    "Aside": "nanoshell.command.aside",
    "Backend": "nanoshell.model.backend",
    "Batch": "nanoshell.generation.batch",
    "COMMAND": "nanoshell.command.complete",
    "CONFIG_KEY": "nanoshell.command.complete",
    "CONVERSATION": "nanoshell.command.complete",
    "ChatTemplate": "nanoshell.chat.template",
    "CheckpointError": "nanoshell.errors",
    "Checkup": "nanoshell.plugin.checkup",
    "Choice": "nanoshell.command.complete",
    "CommandSheet": "nanoshell.command.spec",
    "ConfigError": "nanoshell.errors",
    "Conversation": "nanoshell.chat.conversation",
    "ConversationStore": "nanoshell.chat.history",
    "Corpus": "nanoshell.data.corpus",
    "CorpusStatistics": "nanoshell.data.statistics",
    "DEVICE": "nanoshell.command.complete",
    "DTYPES": "nanoshell.dtypes",
    "DTYPE_ALIASES": "nanoshell.dtypes",
    "DTYPE_WORDS": "nanoshell.dtypes",
    "DataError": "nanoshell.errors",
    "DataSource": "nanoshell.data.source",
    "DeviceError": "nanoshell.errors",
    "Document": "nanoshell.data.source",
    "Download": "nanoshell.data.download",
    "FaceName": "nanoshell.plugin.hookspecs",
    "FeedForward": "nanoshell.model.mixer",
    "GeneratedToken": "nanoshell.generation.request",
    "Generation": "nanoshell.generation.row",
    "GenerationRequest": "nanoshell.generation.request",
    "GroupedQueryAttention": "nanoshell.model.attention",
    "InferenceMemory": "nanoshell.inspection.costs",
    "Interrupted": "nanoshell.errors",
    "LEFT_BEHIND": "nanoshell.command.turn",
    "LayerState": "nanoshell.model.cache",
    "LeaveShell": "nanoshell.command.result",
    "LengthBin": "nanoshell.data.statistics",
    "Lengths": "nanoshell.data.statistics",
    "LoadedModel": "nanoshell.loading",
    "LogitsProcessor": "nanoshell.generation.sampling",
    "MODEL": "nanoshell.command.complete",
    "Mamba1": "nanoshell.model.mamba1",
    "Mamba2": "nanoshell.model.mamba2",
    "Mamba3": "nanoshell.model.mamba3",
    "MemoryFigures": "nanoshell.model.backend",
    "Message": "nanoshell.chat.template",
    "Mixer": "nanoshell.model.mixer",
    "MixtureOfExperts": "nanoshell.model.moe",
    "ModelConfig": "nanoshell.model.config",
    "ModelLocation": "nanoshell.runs.locate",
    "MultiHeadLatentAttention": "nanoshell.model.mla",
    "NameType": "nanoshell.command.complete",
    "NanoshellError": "nanoshell.errors",
    "Narrator": "nanoshell.narrator",
    "NetworkError": "nanoshell.errors",
    "Offered": "nanoshell.data.download",
    "Origin": "nanoshell.chat.template",
    "PLUGIN": "nanoshell.command.complete",
    "PRESET": "nanoshell.command.complete",
    "PRESET_OR_MODEL": "nanoshell.command.complete",
    "Paged": "nanoshell.command.pager",
    "ParameterSplit": "nanoshell.model.parameters",
    "Placement": "nanoshell.training.distributed",
    "PluginError": "nanoshell.errors",
    "PluginInfo": "nanoshell.plugin.discovery",
    "PortableTokenizer": "nanoshell.tokenizer.files",
    "RUN": "nanoshell.command.complete",
    "RegisterBackend": "nanoshell.plugin.hookspecs",
    "RegisterChatTemplate": "nanoshell.plugin.hookspecs",
    "RegisterCommand": "nanoshell.plugin.hookspecs",
    "RegisterExporter": "nanoshell.plugin.hookspecs",
    "RegisterMixer": "nanoshell.plugin.hookspecs",
    "RegisterOptimizer": "nanoshell.plugin.hookspecs",
    "RegisterPanel": "nanoshell.plugin.hookspecs",
    "RegisterRunSection": "nanoshell.plugin.hookspecs",
    "RegisterSampler": "nanoshell.plugin.hookspecs",
    "RegisterSource": "nanoshell.plugin.hookspecs",
    "RegisterTokenizer": "nanoshell.plugin.hookspecs",
    "RemoteSource": "nanoshell.data.source",
    "Reply": "nanoshell.reply",
    "ReplyDocument": "nanoshell.command.turn",
    "ReplyOptions": "nanoshell.reply",
    "ReplyStream": "nanoshell.command.turn",
    "RoleCount": "nanoshell.data.statistics",
    "RoleTemplate": "nanoshell.chat.template",
    "Router": "nanoshell.model.mixer",
    "Routing": "nanoshell.model.mixer",
    "RunDirectory": "nanoshell.runs.directory",
    "RunError": "nanoshell.errors",
    "RunStatus": "nanoshell.runs.directory",
    "SAMPLER_VALUE": "nanoshell.command.complete",
    "SETTABLE": "nanoshell.training.settable",
    "SETTING": "nanoshell.command.complete",
    "SETTING_VALUE": "nanoshell.command.complete",
    "SOURCE": "nanoshell.command.complete",
    "Screen": "nanoshell.command.result",
    "Session": "nanoshell.session",
    "SettingsProblem": "nanoshell.settings",
    "SilentNarrator": "nanoshell.narrator",
    "SourceInfo": "nanoshell.data.source",
    "SquaredReLU": "nanoshell.model.layers",
    "StepMixer": "nanoshell.model.mixer",
    "StorageError": "nanoshell.errors",
    "Stream": "nanoshell.command.result",
    "StreamingDecoder": "nanoshell.tokenizer.streaming",
    "SwiGLU": "nanoshell.model.layers",
    "TOKENIZER": "nanoshell.command.complete",
    "TRAINED_TOKENIZER": "nanoshell.command.complete",
    "TokenCost": "nanoshell.inspection.costs",
    "TokenCount": "nanoshell.data.statistics",
    "TokenLoss": "nanoshell.inspection.scores",
    "TokenScore": "nanoshell.generation.request",
    "Tokenizer": "nanoshell.tokenizer.base",
    "TokenizerError": "nanoshell.errors",
    "TokenizerInfo": "nanoshell.tokenizer.store",
    "TokenizerRecipe": "nanoshell.tokenizer.store",
    "TrainRequest": "nanoshell.training.launch",
    "TrainingMemory": "nanoshell.inspection.costs",
    "UnknownNameError": "nanoshell.errors",
    "UsageError": "nanoshell.errors",
    "WrittenText": "nanoshell.generation.request",
    "adamw": "nanoshell.training.optimizer",
    "answer_aside": "nanoshell.command.turn",
    "append_line": "nanoshell.runs.events",
    "atomic_write": "nanoshell.files",
    "attending_layers": "nanoshell.inspection.attention",
    "attention_layer": "nanoshell.inspection.attention",
    "attention_map": "nanoshell.inspection.attention",
    "awaited": "nanoshell.command.turn",
    "cache_dir": "nanoshell.paths",
    "check_plugins": "nanoshell.plugin.checkup",
    "check_tokens": "nanoshell.data.tokens",
    "checked_url": "nanoshell.data.download",
    "choose_backend": "nanoshell.model.backend",
    "choose_optimizer": "nanoshell.training.automatic",
    "cl100k_base": "nanoshell.tokenizer.bpe",
    "comparable_evaluations": "nanoshell.runs.events",
    "config_dir": "nanoshell.paths",
    "config_keys": "nanoshell.training.keys",
    "corpus_statistics": "nanoshell.data.statistics",
    "count_parameters": "nanoshell.model.transformer",
    "data_dir": "nanoshell.paths",
    "describe": "nanoshell.command.spec",
    "download": "nanoshell.data.download",
    "dry": "nanoshell.generation.dry",
    "dynamic_temperature": "nanoshell.generation.temperature",
    "edit_text": "nanoshell.command.editor",
    "effective_events": "nanoshell.runs.events",
    "encode_document": "nanoshell.data.encoding",
    "expected_vocabulary": "nanoshell.training.request",
    "find_download": "nanoshell.data.download",
    "find_run": "nanoshell.runs.directory",
    "find_tokenizer": "nanoshell.tokenizer.store",
    "flops_per_token": "nanoshell.training.flops",
    "follow": "nanoshell.runs.events",
    "frequency_penalty": "nanoshell.generation.penalties",
    "greedy": "nanoshell.generation.sampling",
    "help_text": "nanoshell.command.help",
    "hookimpl": "nanoshell.plugin.hookspecs",
    "import_conversation": "nanoshell.chat.transfer",
    "inference_memory": "nanoshell.inspection.costs",
    "installed_plugins": "nanoshell.plugin.discovery",
    "is_open_block": "nanoshell.command.words",
    "json_option": "nanoshell.command.result",
    "key_summaries": "nanoshell.training.keys",
    "last_model": "nanoshell.runs.locate",
    "last_state": "nanoshell.last",
    "list_presets": "nanoshell.training.presets",
    "list_runs": "nanoshell.runs.directory",
    "list_tokenizers": "nanoshell.tokenizer.store",
    "live_runs": "nanoshell.runs.live",
    "load_config": "nanoshell.training.presets",
    "messages_line": "nanoshell.chat.transfer",
    "min_p": "nanoshell.generation.cuts",
    "mirostat": "nanoshell.generation.mirostat",
    "model_name": "nanoshell.runs.locate",
    "muon": "nanoshell.training.muon",
    "nearest": "nanoshell.errors",
    "new_table": "nanoshell.command.tables",
    "next_scores": "nanoshell.inspection.scores",
    "offline_reason": "nanoshell.data.download",
    "on_interrupt": "nanoshell.command.interrupt",
    "open_session": "nanoshell.session",
    "open_source": "nanoshell.data.source",
    "open_tokens": "nanoshell.data.tokens",
    "parameter_split": "nanoshell.model.parameters",
    "placement": "nanoshell.training.distributed",
    "prepare_corpus": "nanoshell.data.corpus",
    "preparing": "nanoshell.training.distributed",
    "presence_penalty": "nanoshell.generation.penalties",
    "probe": "nanoshell.data.download",
    "prune": "nanoshell.runs.pruning",
    "rare_events": "nanoshell.runs.telling",
    "read_config": "nanoshell.model.weights",
    "read_documents": "nanoshell.data.reading",
    "read_events": "nanoshell.runs.events",
    "read_lines": "nanoshell.runs.events",
    "remove_run": "nanoshell.runs.directory",
    "remove_trained": "nanoshell.tokenizer.store",
    "renderable": "nanoshell.command.render",
    "repeat_penalty": "nanoshell.generation.penalties",
    "reply_document": "nanoshell.command.turn",
    "request": "nanoshell.runs.control",
    "role_ids": "nanoshell.chat.template",
    "run_editor": "nanoshell.command.editor",
    "run_follower": "nanoshell.training.follower",
    "run_warm_up": "nanoshell.training.compiled_step",
    "run_worker": "nanoshell.training.worker",
    "sampled_probabilities": "nanoshell.inspection.scores",
    "settable_key": "nanoshell.training.settable",
    "source_of": "nanoshell.tokenizer.store",
    "speed_note": "nanoshell.command.turn",
    "start_run": "nanoshell.training.launch",
    "stay_at_prompt": "nanoshell.command.result",
    "step_event": "nanoshell.runs.telling",
    "storage_error": "nanoshell.files",
    "tell": "nanoshell.runs.telling",
    "tell_changes": "nanoshell.runs.telling",
    "tell_evaluation": "nanoshell.runs.telling",
    "tell_logged": "nanoshell.runs.telling",
    "tell_slow": "nanoshell.command.turn",
    "temperature": "nanoshell.generation.temperature",
    "token_cost": "nanoshell.inspection.costs",
    "token_losses": "nanoshell.inspection.scores",
    "tokenize": "nanoshell.data.corpus",
    "top_k": "nanoshell.generation.cuts",
    "top_p": "nanoshell.generation.cuts",
    "train_tokenizer": "nanoshell.data.vocabulary",
    "trained_path": "nanoshell.tokenizer.store",
    "training_memory": "nanoshell.inspection.costs",
    "typed": "nanoshell.spelling",
    "typical_p": "nanoshell.generation.cuts",
    "unknown_command": "nanoshell.command.group",
    "unknown_name": "nanoshell.errors",
    "value_summaries": "nanoshell.training.keys",
    "wait_for": "nanoshell.runs.control",
    "without_echo": "nanoshell.runs.telling",
    "write_text": "nanoshell.files",
}

__all__ = ["API_VERSION", "__version__", *_HOME]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'nanoshell' has no attribute '{name}'")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
