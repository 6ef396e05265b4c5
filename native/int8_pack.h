// Packing of 8-bit weights, and the bounds within which their sums and rescaling are exact.
#pragma once

#include "int8_kernels.h"
#include "plan.h"

namespace hswish {

// A layer as Python hands it over: weights (n, taps) row by row; bias and scale (n); see Rescale.
struct LayerInt8 {
  const int8_t* weights;
  const int32_t* bias;
  const float* scale;
  long n, taps;
  float inverse;  // of the result's scale
  int zero, low;
};

// What packed layers have in common: bias and scale padded to whole groups, memory that copies share.
// `products` are those of the kernels that will take them.
struct PackedInt8 {
  PackedInt8() = default;
  PackedInt8(const LayerInt8& layer, int offset, long weight_bytes);
  int8_t* packed() const { return reinterpret_cast<int8_t*>(weights.get()); }
  const int32_t* biases() const { return reinterpret_cast<const int32_t*>(bias.get()); }
  Rescale rescale;
  Buffer weights, bias, scale;
};

struct PackedPointwiseInt8 : PackedInt8 {
  PackedPointwiseInt8() = default;
  PackedPointwiseInt8(const LayerInt8& layer, const Products& products);
  PointwiseInt8 op;
  long k = 0;
};

struct PackedDepthwiseInt8 : PackedInt8 {
  PackedDepthwiseInt8() = default;
  PackedDepthwiseInt8(const LayerInt8& layer, const Products& products, long kernel, long stride, long dilation);
  DepthwiseInt8 op;
};

struct PackedStemInt8 : PackedInt8 {
  PackedStemInt8() = default;
  // weights: (n, planes, 3, 3)
  PackedStemInt8(const LayerInt8& layer, const Products& products, long planes, long stride);
  StemInt8 op;
};

}  // namespace hswish
