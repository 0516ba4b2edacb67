"""Chains behind ``torch.optim``."""
