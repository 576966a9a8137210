"""The small mill of these tests: its recipe, and the environment of a ``gristmill`` in a process of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECIPE = """
[demo]
port = {port}
render.modules = ["bisect", "csv", "glob", "json", "string", "textwrap"]

[[sources]]
type = "site"
name = "pydoc"
start = ["http://127.0.0.1:{port}/index.html"]
allow_private_addresses = true
delay_seconds = 0.0

[[sources]]
type = "files"
name = "stdlib"
paths = ["{{stdlib}}/json/*.py", "{{stdlib}}/[b-h]*sect.py", "{{stdlib}}/csv.py", "{{stdlib}}/fnmatch.py",
    "{{stdlib}}/glob.py", "{{stdlib}}/heapq.py", "{{stdlib}}/random.py", "{{stdlib}}/shutil.py",
    "{{stdlib}}/statistics.py", "{{stdlib}}/string.py", "{{stdlib}}/textwrap.py"]

[tokenizer]
vocab_size = 400

[encode]
held_out_permille = 300

[model]
n_layers = 2
d_model = 32
n_heads = 2
n_kv_heads = 1
d_ff = 64
max_position = 192

[pretrain]
name = "base"
sequence_length = 32
global_batch = 4
micro_batch = 2
ranks = 1
threads_per_rank = 1
compile = false
checkpoint_every = 5
schedule = {{steps = 10, warmup_steps = 2, decay_steps = 5}}

[finetune]
name = "chat"
sequence_length = 192
global_batch = 4
micro_batch = 2
ranks = 1
threads_per_rank = 1
compile = false
checkpoint_every = 5
schedule = {{steps = 5, warmup_steps = 1, decay_steps = 4}}

[evaluate]
sequence_length = 192
max_held_out_bytes = 60_000
max_conversations = 5
max_questions = 3
prompts = ["import "]
chat_prompts = 1
sampling.max_new_tokens = 8
threads = 1
"""


@dataclass(frozen=True)
class SmallMill:
    """A home in which the whole pipeline has run once.

    Attributes:
        home: its folder.
        recipe: the recipe's file.
        site: the demo site's address.
        said: standard output and error of that run.
    """

    home: Path
    recipe: Path
    site: str
    said: str


def environment(home: Path) -> dict[str, str]:
    """For a ``gristmill`` in a process of its own: this home, and no server that the caller may have."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    return {**kept, "GRISTMILL_HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
