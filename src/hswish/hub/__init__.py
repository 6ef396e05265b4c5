"""Where model files come from: a path, a published name, the Hugging Face hub, the web. No torch."""

from hswish.hub.locate import locate
from hswish.hub.push import push

__all__ = ["locate", "push"]
