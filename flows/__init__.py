"""Prefect's room: order, retries, schedules and artifacts over the four verbs; no logic of its own.

Prefect reads `DO_NOT_TRACK` while it is imported, so it is the one thing that is set here, unless it is set.
"""

import os

os.environ.setdefault("DO_NOT_TRACK", "1")
