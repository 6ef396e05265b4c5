// Compiled once for each instruction set, as the engine's kernels are.
#include "kernels.h"

#include "depthwise.h"
#include "gate.h"
#include "norm_act.h"

namespace hswish::HSWISH_LEVEL::training {

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

const hswish::training::Kernels table = {
    TEXT(HSWISH_LEVEL), depthwise,    depthwise_input, depthwise_weights, moments,          affine,
    affine_sums,        affine_input, picture_sums,    picture_products,  gate,
};

}  // namespace hswish::HSWISH_LEVEL::training
