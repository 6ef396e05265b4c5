"""What changes the weights: optimizers, the course of the learning rate, the average of the weights."""
