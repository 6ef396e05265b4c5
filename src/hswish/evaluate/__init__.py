"""Evaluation of any engine on a data set: scores, figures, and pages to look at."""

from hswish.evaluate.augmented import Fed, augmented_page
from hswish.evaluate.class_names import match_classes
from hswish.evaluate.evaluate import evaluate
from hswish.evaluate.evaluation import Evaluation
from hswish.evaluate.figures import class_curves_picture, confusion_picture, curves_picture
from hswish.evaluate.pages import prediction_page
from hswish.evaluate.suspects import Suspect, Suspects, suspects_page, suspects_to_list

__all__ = [
    "Evaluation",
    "Fed",
    "Suspect",
    "Suspects",
    "augmented_page",
    "class_curves_picture",
    "confusion_picture",
    "curves_picture",
    "evaluate",
    "match_classes",
    "prediction_page",
    "suspects_page",
    "suspects_to_list",
]
