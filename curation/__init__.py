"""Decisions about data: attach, probe, score, repair, filter, balance, report (open issues; nothing here yet)."""
