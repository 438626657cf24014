"""Fine-tuning: training data, objective, optimiser step, training loop, checkpoints."""
