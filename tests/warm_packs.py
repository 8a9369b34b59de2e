"""Imported by `killing.Kitchen` and its like: loads what reads and writes clips and ledgers, so that forks need not."""

import av  # noqa: F401 - imported for the forks
import polars  # noqa: F401

from trajkit import depth, ledger, members, video  # noqa: F401
from trajkit.commands import pack  # noqa: F401

members.adapter(members.Record)
