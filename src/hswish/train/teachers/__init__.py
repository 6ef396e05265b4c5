"""Distillation: networks whose answers another one learns from, one of ours or of another library."""
