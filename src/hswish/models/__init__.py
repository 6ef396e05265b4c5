"""torch modules built from `spec/architecture`: layers, networks, files."""

from hswish.models.backbone import FeatureExtractor, FeatureInfo
from hswish.models.checkpoint import load, save
from hswish.models.described import DescribedModule
from hswish.models.factory import create_model, list_models

__all__ = ["DescribedModule", "FeatureExtractor", "FeatureInfo", "create_model", "list_models", "load", "save"]
