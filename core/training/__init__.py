"""Training: the home of torch. `trainer.train` is the entry; `contract` is what it shares with its callers."""
