"""Networks that take memory, or serve as baseline without it; one private file per backbone."""

from aimlib.backbones._mlp import MlpBackbone
from aimlib.backbones._resnet50 import ResNet50Backbone
from aimlib.backbones._small_resnet import SmallResNetBackbone
from aimlib.backbones._vgg16_bn import Vgg16BnBackbone
from aimlib.backbones.base import Backbone

__all__ = ["Backbone", "MlpBackbone", "ResNet50Backbone", "SmallResNetBackbone", "Vgg16BnBackbone"]
