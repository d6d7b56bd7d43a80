"""Programs that run a score distillation and leave a run folder behind."""
