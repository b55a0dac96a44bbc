"""Where bytes are kept: archives, packs, checkpoints and artifacts, under keys that only `keys` builds."""
