// Masks at a picture's own size from logits of any runtime, as hswish.runtime.postprocess defines them to the bit.
#pragma once

#include <cstdint>

#include "layers.h"

namespace hswish {

// tests/runtime/native/test_masks.py asks for a test of each.
struct MaskKernels {
  const char* name;
  // One line of scores as wide as the picture: out[i] = line[first[i]] * (1 - weight[i]) + line[second[i]] * weight[i].
  void (*widen)(const Axis& across, const float* line, long width, float* out);
  // The class of each pixel whose top[c][i] * (1 - weight) + bottom[c][i] * weight is the highest, the first of equals;
  // classes are `stride` floats apart.
  void (*highest)(const float* top, const float* bottom, float weight, long classes, long stride, long width,
                  uint8_t* out);
};

namespace generic { extern const MaskKernels mask_table; }
namespace avx2 { extern const MaskKernels mask_table; }
namespace avx512 { extern const MaskKernels mask_table; }
namespace neon { extern const MaskKernels mask_table; }

}  // namespace hswish
