"""One loop, stages x backbones (open issue; nothing here yet)."""
