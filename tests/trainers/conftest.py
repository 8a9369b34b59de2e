"""Lets the trainer's tests share what stands beside them (`import tiny`)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
