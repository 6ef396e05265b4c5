// The list of 8-bit kernels; tests/runtime/native/test_int8_kernels.py reads it and asks for a test of each.
#pragma once

#include "int8_layers.h"

namespace hswish {

struct Int8Kernels {
  const char* name;
  Products products;

  // Output channels [first, first + INT8_PANEL) (fewer at the end) of `pixels` pixels; residual may be null.
  void (*pointwise_bytes)(const PointwiseInt8&, Act, long first, const uint8_t* x, long x_stride, uint8_t* out,
                          long out_stride, const uint8_t* residual, long residual_stride, long pixels);
  // The same, but what the sums stand for: act(float(sum) * scale).
  void (*pointwise_floats)(const PointwiseInt8&, Act, long first, const uint8_t* x, long x_stride, float* out,
                           long out_stride, long pixels);
  // Expansion and depthwise of a panel; goes on from row `made` (0 at first), which it moves on.
  void (*int8_block_rows)(const BlockRowsInt8&, long& made);
  long (*int8_block_work)(const DepthwiseInt8&, const Geometry&);  // bytes of `work`
  // One row of the stem's output from three rows of bytes with their padding; each has 16 bytes to spare.
  void (*int8_stem_row)(const StemInt8&, Act, const uint8_t* const* rows, long columns, uint8_t* out);

  // Squeeze-and-excitation. out[p][c] = the byte for float(x[p][c] - gating.from) * gate[c] * gating.scale.
  void (*gate_bytes)(const uint8_t* x, const float* gate, const Gating&, long channels, long pixels, uint8_t* out);
  // sums[c] += x[p][c]
  void (*sum_bytes)(const uint8_t* x, long channels, long pixels, int32_t* sums);
  // out[i] = clamp(round(x[i] * inverse) + zero, 0, 255), n a multiple of 16.
  void (*to_bytes)(const float* x, float inverse, int zero, long n, uint8_t* out);
  // out[p][c] = table[c][x[p][c]]
  void (*look_up)(const uint8_t* x, const uint8_t* table, long planes, long pixels, uint8_t* out);
};

namespace generic { extern const Int8Kernels int8_table; }
namespace avx2 { extern const Int8Kernels int8_table; }
namespace avxvnni { extern const Int8Kernels int8_table; }
namespace avx512 { extern const Int8Kernels int8_table; }
namespace avx512vnni { extern const Int8Kernels int8_table; }
namespace avx512vbmi { extern const Int8Kernels int8_table; }
namespace neon { extern const Int8Kernels int8_table; }
namespace neondot { extern const Int8Kernels int8_table; }

}  // namespace hswish
