"""Evaluation of any engine on a data set: scores, figures, and pages to look at."""

from hswish.evaluate.class_names import match_classes
from hswish.evaluate.evaluate import evaluate
from hswish.evaluate.evaluation import Evaluation
from hswish.evaluate.figures import confusion_picture, curves_picture
from hswish.evaluate.pages import prediction_page

__all__ = ["Evaluation", "confusion_picture", "curves_picture", "evaluate", "match_classes", "prediction_page"]
