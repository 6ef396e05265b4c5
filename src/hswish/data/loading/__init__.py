"""Batches in an `order` that is known beforehand.

loader        for training, by processes that read and augment
held          for training, of pictures that lie on the device
eval_loader   for evaluation and calibration; no torch
"""
