"""nanoshell: take text, turn it into tokens, train a small language model, look inside it, and talk to it.

This module is the public API: what plugins, ours included, may import. Names are loaded when they are first
used, so that importing nanoshell costs nothing. What stands in a submodule alone may change at any time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nanoshell._names import HOME as _HOME
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
        RUN_OR_DIR as RUN_OR_DIR,
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
    from nanoshell.command.shells import completion_script as completion_script
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
    from nanoshell.dashboard.actions import Action as Action
    from nanoshell.dashboard.course import (
        Course as Course,
        Mark as Mark,
        SampleText as SampleText,
        Series as Series,
        Sight as Sight,
        Snapshot as Snapshot,
    )
    from nanoshell.dashboard.keyset import (
        check_dashboard_keys as check_dashboard_keys,
        dashboard_key_words as dashboard_key_words,
    )
    from nanoshell.dashboard.opening import (
        open_dashboard as open_dashboard,
        serve_dashboard as serve_dashboard,
    )
    from nanoshell.dashboard.panel import Desk as Desk, Panel as Panel
    from nanoshell.dashboard.panels.alerts import AlertsPanel as AlertsPanel
    from nanoshell.dashboard.panels.charts import ChartPanel as ChartPanel
    from nanoshell.dashboard.panels.chat import ChatPanel as ChatPanel
    from nanoshell.dashboard.panels.figures import Figure as Figure
    from nanoshell.dashboard.panels.kinds import chart_panel as chart_panel
    from nanoshell.dashboard.panels.log import LogPanel as LogPanel
    from nanoshell.dashboard.panels.overview import OverviewPanel as OverviewPanel
    from nanoshell.dashboard.panels.runs import RunsPanel as RunsPanel
    from nanoshell.dashboard.panels.samples import SamplesPanel as SamplesPanel
    from nanoshell.dashboard.panels.system import SystemPanel as SystemPanel
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
        MissingDataError as MissingDataError,
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
    from nanoshell.opening import open_session as open_session
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
    from nanoshell.runs.comparing import (
        Change as Change,
        run_changes as run_changes,
        run_settings as run_settings,
        setting_differences as setting_differences,
        setting_text as setting_text,
    )
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
    from nanoshell.session import Session as Session
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
    from nanoshell.wording import (
        human_bytes as human_bytes,
        human_count as human_count,
        human_seconds as human_seconds,
        human_time as human_time,
    )

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
