"""Reading archives of images under limits: checks, decoding, packs and the cache of packs."""
