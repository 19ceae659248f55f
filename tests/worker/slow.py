"""An application that takes long to import, while a file says so."""

from __future__ import annotations

import os
import time
from pathlib import Path

if (path := Path(os.environ["SLOW_WHILE"])).exists():
    time.sleep(float(path.read_text()))

from tests.worker.rogue import *  # noqa: F403
