"""One rank of a training run: ``torchrun … -m tasks.train.worker job.json``. Knows neither Prefect nor MLflow.

It reads its job, resumes at the newest good checkpoint, trains, and leaves ``events.jsonl`` as it goes and
``model.safetensors`` with ``result.json`` when it is done. Exit code 0 *and* ``result.json`` mean success.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from tasks.process import BOUND, die_with_parent


def main() -> None:
    """Train the job named on the command line, as the rank that torchrun says this is."""
    die_with_parent(int(os.environ[BOUND]))
    os.environ["LOCAL_SIZE"] = os.environ["LOCAL_WORLD_SIZE"]
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    from torch.distributed.elastic.multiprocessing.errors import record

    record(_train)(Path(sys.argv[1]))


def _train(job: Path) -> None:
    """Train; torchrun ends its log with what is raised here."""
    from tasks.train.config import Job
    from tasks.train.loop import Loop

    Loop(Job.load(job)).run()


if __name__ == "__main__":
    main()
